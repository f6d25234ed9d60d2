"""Bans as an administrator sees and lifts them. What bans, and when, is `policy.signin`'s."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network
from typing import Any

from postoffice.base.errors import InputError
from postoffice.operations.office import Office
from postoffice.policy.access import get_client_group
from postoffice.policy.counters import COUNTERS, Ban, Counters
from postoffice.trace.event_types import BAN_LIFTED
from postoffice.trace.events import Event
from postoffice.trace.journal import Journal

_COMMAND_SLOT = 254                         # of the trace; servers count from 0, the supervisor is 255


def list_bans(office: Office) -> list[Ban]:
    """The bans in force, oldest first."""
    counters = Counters(office.spool / COUNTERS)
    try:
        return counters.list_bans(time.time())
    finally:
        counters.close()


def lift_bans(office: Office, client: str, login: str | None, *, who: str) -> list[Ban]:
    """End the bans of a client: those of one account (``login``: as listed, or any address or login of it), or all.

    Its failures are forgotten too, so that the next slip does not bring the ban back. Returns the bans that were in
    force, perhaps none. Raises InputError for what is no address."""
    group = _parse_client(client)
    account = office.directory.find_login(login) if login else None
    now = time.time()
    counters = Counters(office.spool / COUNTERS)
    try:
        found = [ban for ban in counters.list_bans(now) if ban.client == group and (
            login is None or ban.login == login or (account is not None and ban.subject == str(account.id)))]
        for ban in found:
            counters.lift(ban)
        if login is None or account is not None:
            counters.lift(Ban(group, str(account.id) if account else None, "", now, now, ""))
    finally:
        counters.close()
    _record(office, found, now, who)
    return found


def describe(ban: Ban) -> dict[str, Any]:
    """A ban as JSON shows it; ``account`` null: all sign-ins of the client."""
    return {"client": ban.client, "account": ban.login if ban.subject is not None else None, "since": ban.since,
            "until": ban.until, "reason": ban.reason}


def _record(office: Office, lifted: list[Ban], now: float, who: str) -> None:
    if not lifted:
        return
    journal = Journal(office.spool / "trace", office.settings.current, time.time, slot=_COMMAND_SLOT)
    for ban in lifted:
        journal.record(Event(BAN_LIFTED, now, (ban.client, ban.login, who), client=ban.client))
    journal.close()


def _parse_client(text: str) -> str:
    try:
        if "/" in text:
            return str(ip_network(text, strict=False))
        return get_client_group(ip_address(text))
    except ValueError:
        raise InputError("client", f"{text} is no IP address.") from None

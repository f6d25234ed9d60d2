"""The rules of submission (RFC 6409): nothing at all for who has not signed in, and what a message of a user bears.

That the sender address belongs to the login is the sender check's (`policy.checks.sender`).
"""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.message.trace_fields import name_protocol
from postoffice.policy.facts import Facts
from postoffice.queue.intake import Source
from postoffice.settings import smtp_accept
from postoffice.smtp.protocol.events import Reply

_SIGN_IN = Reply(530, "5.7.0", ("Authentication required",))
_TLS_FIRST = Reply(530, "5.7.0", ("Must issue a STARTTLS command first",))


def refuse_stranger(facts: Facts, *, offered: bool) -> Reply | None:
    """The refusal for a client of a submission port that has not signed in (RFC 6409 §4.3); None: it may go on.
    ``offered``: whether a login is offered to it as it is connected now."""
    if not facts.submission or facts.signed_in is not None:
        return None
    return _SIGN_IN if offered or facts.secure else _TLS_FIRST


def build_source(facts: Facts, client: str, snapshot: Snapshot, *, utf8: bool) -> Source:
    """How the message came, for its Received field and the trace."""
    signed_in = facts.signed_in
    return Source(
        client, facts.helo, signed_in.login if signed_in is not None else "",
        name_protocol(extended=facts.extended, secure=facts.secure, authenticated=signed_in is not None, utf8=utf8),
        hidden=signed_in is not None and snapshot[smtp_accept.HIDE_CLIENT_ADDRESS])

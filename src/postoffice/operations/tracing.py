"""Asking the trace: the question in an administrator's words, the answer as values for page, command and API."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from postoffice.base.errors import InputError
from postoffice.base.ids import format_id, get_id_seconds, parse_id
from postoffice.trace import rows, search

STATUSES = ("delivered", "waiting", "failed", "refused", "discarded", "partial")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def get_trace_directory(spool: Path) -> Path:
    return spool / "trace"


def parse_moment(field: str, text: str, now_seconds: float) -> float:
    """Seconds since 1970 of ``2h`` (ago; s m h d w), ``2026-11-24`` or ``2026-11-24 12:30[:05]`` (local time).

    Raises InputError naming ``field``."""
    if match := re.fullmatch(r"(\d+)([smhdw])", text):
        return now_seconds - int(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise InputError(field, f"{text!r} is no time.",
                         "Write 2h, 3d, 2026-11-24 or '2026-11-24 12:30' (local time).") from None


def find_messages(spool: Path, query: search.Query) -> Iterator[rows.Row]:
    """The messages a query finds, newest first. Raises InputError for a status that does not exist."""
    if query.status and query.status not in STATUSES:
        raise InputError("--status", f"there is no status {query.status!r}.", "Use one of " + ", ".join(STATUSES) + ".")
    return search.find_messages(get_trace_directory(spool), query)


def get_message(spool: Path, text: str) -> rows.Row:
    """The row of a message id as replies and logs show it. Raises InputError when there is none."""
    try:
        message_id = parse_id(text.strip())
    except ValueError as error:
        raise InputError("ID", f"{text!r} is not a message id: {error}.",
                         "It has 13 letters and digits and stands in the server's replies and logs.") from None
    row = search.find_message(get_trace_directory(spool), message_id)
    if row is None:
        raise InputError("ID", f"no message {text} is known.",
                         "It may be older than the trace is kept (Log/Config/TraceExpiry).")
    return row


def describe(row: rows.Row) -> dict[str, Any]:
    """A message for JSON: ids as text, times in ISO 8601 local time."""
    summary = row.summary
    return {
        "id": format_id(summary.message_id),
        "time": format_time(get_id_seconds(summary.message_id)),
        "status": summary.status,
        "client": summary.client,
        "helo": summary.helo,
        "login": summary.login,
        "from": summary.sender,
        "to": summary.recipients,
        "subject": summary.subject,
        "message_id": summary.header_message_id,
        "size": summary.size,
    }


def describe_timeline(row: rows.Row) -> dict[str, Any]:
    """A message with every step, its sentences in both languages."""
    return describe(row) | {"steps": [describe_step(search.tell(step)) for step in row.steps]}


def describe_step(step: search.Step) -> dict[str, Any]:
    """One step for JSON."""
    return {"time": format_time(step.seconds), "module": step.module, "event": step.name, "values": step.values,
            "sentence": step.sentence, "ja": step.ja}


def list_client_steps(spool: Path, address: str, since: float, limit: int) -> list[search.Step]:
    """What a client did that brought no message, newest first. Raises InputError when the address is none."""
    try:
        client = str(ip_address(address.strip("[]")))
    except ValueError:
        raise InputError("ADDRESS", f"{address!r} is no IP address.") from None
    return search.find_client_steps(get_trace_directory(spool), client, since=since, limit=limit)


def format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def now() -> float:
    return time.time()

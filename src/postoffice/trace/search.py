"""Finding messages and telling their story: what `postoffice trace` and later its page show.

Reads the month files newest first, in slices, so that no statement stays open; never writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import msgspec

from postoffice.base.ids import get_id_seconds
from postoffice.trace import files, rows
from postoffice.trace.api import Summary
from postoffice.trace.event_types import find_event_type

_SLICE = 2000


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; empty fields do not restrict. Addresses match in part, without regard to case.

    ``since`` and ``until`` are seconds since 1970."""

    sender: str = ""
    recipient: str = ""
    client: str = ""
    status: str = ""
    text: str = ""
    since: float = 0
    until: float = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a timeline in an administrator's words."""

    seconds: float
    module: str
    name: str
    values: dict[str, str]
    sentence: str
    ja: str


def find_messages(directory: Path, query: Query) -> Iterator[rows.Row]:
    """The matching messages, newest first, at most ``limit``. An unreadable row is passed over, not an end."""
    left = query.limit
    for month in reversed(files.list_months(directory)):
        for row in _find_in_month(files.get_month_path(directory, month), query):
            yield row
            left -= 1
            if not left:
                return


def find_message(directory: Path, message_id: int) -> rows.Row | None:
    """The row of one message, with its later steps, in time order. An id that a refusal before DATA has shown belongs
    to no message: its row has the steps alone and the status "refused"."""
    found: rows.Row | None = None
    later: list[rows.Step] = []
    first = files.get_month(get_id_seconds(message_id))
    for month in files.list_months(directory):
        if month < first:
            continue
        connection = files.open_for_reading(files.get_month_path(directory, month))
        try:
            got = files.fetch_all(connection, "SELECT row FROM messages WHERE id=?", (message_id,))
            if got:
                found = rows.unpack_row(got[0][0])
            for (steps,) in files.fetch_all(connection, "SELECT steps FROM later WHERE id=?", (message_id,)):
                later.extend(rows.unpack_steps(steps))
        finally:
            connection.close()
    if found is None and later:
        values = tell(later[0]).values
        found = rows.Row(Summary(
            message_id, values.get("client", ""), values.get("helo", ""), "", values.get("sender", ""), [], "", "", 0,
            "refused"), [])
    if found is None:
        return None
    found.steps.extend(later)
    found.steps.sort(key=lambda step: step.seconds)
    return found


def find_client_steps(directory: Path, client: str, *, since: float = 0, limit: int = 100) -> list[Step]:
    """Events of a client that brought no message (refusals, sign-ins), newest first."""
    steps: list[Step] = []
    for month in reversed(files.list_months(directory)):
        connection = files.open_for_reading(files.get_month_path(directory, month))
        try:
            found = files.fetch_all(
                connection, "SELECT step FROM clients WHERE client=? AND seconds>=? ORDER BY seconds DESC LIMIT ?",
                (client, since, limit - len(steps)))
        finally:
            connection.close()
        steps.extend(tell(msgspec.msgpack.decode(step, type=rows.Step)) for (step,) in found)
        if len(steps) >= limit:
            break
    return steps


def tell(step: rows.Step) -> Step:
    """A stored step with its sentences. A step of an unknown (newer or older) event is told by its bare values."""
    row = find_event_type(step.module, step.name)
    names = row.fields if row else tuple(f"field{i}" for i in range(len(step.values)))
    values = dict(zip(names, step.values, strict=False))
    if row is None or len(values) < len(row.fields):
        bare = " ".join(step.values)
        return Step(step.seconds, step.module, step.name, values, bare, bare)
    return Step(step.seconds, step.module, step.name, values, row.sentence.format(**values), row.ja.format(**values))


def _find_in_month(path: Path, query: Query) -> Iterator[rows.Row]:
    connection = files.open_for_reading(path)
    wheres, bindings = _build_conditions(query)
    sql = f"SELECT id, status, row FROM messages WHERE id<? AND {wheres} ORDER BY id DESC LIMIT {_SLICE}"
    below = int(query.until * 1_000_000) << 8 if query.until else (1 << 63) - 1
    try:
        while True:
            found: list[tuple[int, str, bytes]] = files.fetch_all(connection, sql, (below, *bindings))
            for message_id, status, packed in found:
                below = message_id
                try:
                    row = rows.unpack_row(packed)
                except msgspec.DecodeError:
                    continue
                row.summary.status = status
                if _matches(row, query):
                    yield row
            if len(found) < _SLICE:
                return
    except apsw.SQLError as error:
        if "no such table" in str(error):       # the file was just being made
            return
        raise
    finally:
        connection.close()


def _build_conditions(query: Query) -> tuple[str, list[object]]:
    wheres, bindings = ["id>=?"], [int(query.since * 1_000_000) << 8]
    conditions: list[object] = list(bindings)
    for text in (query.sender, query.recipient, query.client, query.text):
        if text:
            wheres.append("instr(haystack, ?)")
            conditions.append(text.lower())
    if query.status:
        wheres.append("status=?")
        conditions.append(query.status)
    return " AND ".join(wheres), conditions


def _matches(row: rows.Row, query: Query) -> bool:
    """The haystack holds all fields; here each text must stand in its own."""
    summary = row.summary
    return (
        query.sender.lower() in summary.sender.lower()
        and (not query.recipient or any(query.recipient.lower() in one.lower() for one in summary.recipients))
        and (not query.client or summary.client == query.client or summary.client.startswith(query.client))
    )

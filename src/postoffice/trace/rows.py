"""The packed form of what the trace keeps: one row per message, later events beside it.

A row is MessagePack of (summary, steps); a step is (module, event name, seconds, values). Names, not numbers, stand in
the row, so that a file of an older version can always be read.
"""

from __future__ import annotations

import msgspec

from postoffice.trace.api import Summary
from postoffice.trace.events import Event


class Step(msgspec.Struct, array_like=True):
    """One event as stored. ``seconds`` since 1970 (UTC); ``values`` in the order of the event's fields, as text."""

    module: str
    name: str
    seconds: float
    values: list[str]


class Row(msgspec.Struct, array_like=True):
    """A message's row."""

    summary: Summary
    steps: list[Step]


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(Row).decode
_decode_steps = msgspec.msgpack.Decoder(list[Step]).decode


def build_step(event: Event) -> Step:
    """The stored form of an event."""
    row = event.type
    return Step(row.module, row.name, event.seconds, [str(value) for value in event.values])


def pack_row(summary: Summary, events: list[Event]) -> bytes:
    """A message's row as bytes."""
    return _encode((summary, [build_step(event) for event in events]))


def unpack_row(data: bytes) -> Row:
    """Raises msgspec.DecodeError when the bytes are no row."""
    return _decode_row(data)


def pack_steps(events: list[Event]) -> bytes:
    """Later events of a message."""
    return _encode([build_step(event) for event in events])


def unpack_steps(data: bytes) -> list[Step]:
    """Raises msgspec.DecodeError when the bytes are no steps."""
    return _decode_steps(data)


def build_haystack(summary: Summary) -> str:
    """What a search for a part of an address, an id or a subject looks through: lower case, one item a line."""
    return "\n".join((
        summary.client, summary.login, summary.sender, *summary.recipients, summary.header_message_id, summary.subject,
    )).lower()

"""The events: one table that names, documents and formats each. Plain log, trace and timeline derive from the rows.

An event is a fact with a time; what it means to an administrator is the row's sentence in both languages.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec


class Subject(enum.Enum):
    """What an event belongs to."""

    MESSAGE = "message"            # rides in the message's trace row
    CLIENT = "client"              # counted per client above a rate
    SERVER = "server"


@dataclass(frozen=True, slots=True, eq=False)      # rows are compared and hashed by identity
class EventType:
    """One row. ``module`` and ``name`` are the words of the plain log; ``fields`` name the values, in order."""

    module: str
    name: str
    subject: Subject
    fields: tuple[str, ...]
    doc: str
    sentence: str                  # str.format with the fields, English
    ja: str                        # the same, Japanese

    @property
    def switch(self) -> str:
        """The settings key that switches it off in the plain log."""
        return f"{self.module}/Log/{self.name}"


class Event(msgspec.Struct, frozen=True):
    """Something that happened. ``message_id`` is None for what brought no message; ``client`` an address or ""."""

    type: EventType
    seconds: float
    values: tuple[object, ...]
    message_id: int | None = None
    client: str = ""

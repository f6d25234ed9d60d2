"""The trace as its users see it; `trace.journal.Journal` is the real one."""

from __future__ import annotations

from typing import Protocol

import msgspec

from postoffice.trace.events import Event


class Summary(msgspec.Struct, array_like=True):
    """The head of a message's trace row: what is searched."""

    message_id: int
    client: str                    # address of the peer, "" for our own
    helo: str
    login: str                     # who authenticated, ""
    sender: str                    # "" is the null sender
    recipients: list[str]
    subject: str
    header_message_id: str
    size: int
    status: str                    # "delivered" "waiting" "failed" "refused" "discarded" "partial"


class Trace(Protocol):
    """Never blocks, never fails the caller: what cannot be written is counted and reported."""

    def record(self, event: Event) -> None:
        """Note an event: to the plain log if its switch is on, and to the trace."""

    def record_message(self, summary: Summary, events: list[Event], packed: bytes | None = None) -> None:
        """A message's row with its first events; called after its commit (or refusal after DATA). ``packed`` is what
        `pack_record` made of the same, where it has been made already."""

    def pack_record(self, summary: Summary, events: list[Event]) -> bytes:
        """The same row as bytes for `store.model.Arrival.record`, from which an unclean stop is made good."""

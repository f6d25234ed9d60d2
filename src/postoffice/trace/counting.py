"""Keeps a flood of events without messages from filling the disk: above a rate per client they are only counted.

Each client may cause ``rate`` events of one type a minute; the rest of that minute is told in one `COUNTED` event. A
new rate begins a new count at once. The number of clients watched is bounded; beyond it all new ones share one entry.
"""

from __future__ import annotations

from postoffice.trace.event_types import COUNTED
from postoffice.trace.events import Event

WINDOW_SECONDS = 60
_MAX_WATCHED = 10_000
_OTHERS = "(others)"


class ClientCounter:
    """Counts events per (client, event type) in windows of a minute."""

    def __init__(self) -> None:
        self._window = 0
        self._rate = 0
        self._seen: dict[tuple[str, str], int] = {}
        self._over: dict[tuple[str, str], int] = {}

    def admit(self, event: Event, rate: int) -> bool:
        """Whether the event is written; otherwise it is counted. ``rate`` 0 admits all."""
        if not rate:
            return True
        key = (event.client, event.type.switch)
        count = self._seen.get(key, 0)
        if not count and len(self._seen) >= _MAX_WATCHED:
            key = (_OTHERS, event.type.switch)
            count = self._seen.get(key, 0)
        self._seen[key] = count + 1
        if count < rate:
            return True
        self._over[key] = self._over.get(key, 0) + 1
        return False

    def settle(self, now_seconds: float, rate: int) -> list[Event]:
        """At the end of a window, or when the rate has changed: one event per client and type that went over; the
        counting starts anew."""
        window = int(now_seconds) // WINDOW_SECONDS
        if window == self._window and rate == self._rate:
            return []
        self._window, self._rate = window, rate
        over, self._over = self._over, {}
        self._seen = {}
        return [
            Event(COUNTED, now_seconds, (client, name, count, WINDOW_SECONDS), client=client)
            for (client, name), count in over.items()
        ]

"""Messages broken off in the middle, counted per client: who does it again and again waits before the next one.

Aborting just under a limit costs the client nothing and us its bytes each time. Nobody is banned for it: a bad line
looks the same. The number of clients watched is bounded; beyond it the oldest is forgotten.
"""

from __future__ import annotations

WINDOW_SECONDS = 600.0
FREE = 5                        # aborts within the window that cost nothing
MAX_DELAY_SECONDS = 10.0
_MAX_CLIENTS = 10_000


class Aborts:
    """One per process."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}       # client -> end of its window, aborts in it

    def note(self, client: str, now: float) -> int:
        """One more; ``now`` monotonic. Returns how many in the window."""
        until, count = self._seen.pop(client, (0.0, 0))
        if until <= now:
            until, count = now + WINDOW_SECONDS, 0
        if len(self._seen) >= _MAX_CLIENTS:
            del self._seen[next(iter(self._seen))]
        self._seen[client] = until, count + 1
        return count + 1

    def get_delay(self, client: str, now: float) -> float:
        """Seconds this client waits before its next message."""
        if not self._seen:
            return 0.0
        until, count = self._seen.get(client, (0.0, 0))
        return min(float(count - FREE), MAX_DELAY_SECONDS) if until > now and count > FREE else 0.0

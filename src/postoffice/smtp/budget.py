"""The memory budget: how many bytes of messages all sessions of a process hold together.

A session reserves before it takes bytes and gives back what it no longer holds. Whoever gets nothing refuses for the
time being (452) or moves its body to the disk: nobody waits for another session's memory, so none can block another.
"""

from __future__ import annotations


class MemoryBudget:
    """Counts bytes against a limit that may change with the settings."""

    def __init__(self) -> None:
        self.held_bytes = 0

    def reserve(self, size_bytes: int, limit_bytes: int) -> bool:
        """Take ``size_bytes`` if the sum stays within the limit."""
        if self.held_bytes + size_bytes > limit_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes

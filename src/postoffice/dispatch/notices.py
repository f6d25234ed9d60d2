"""Change notices between processes: one eventfd per process, made by Dispatch and inherited.

A notice says only "look at the databases": it coalesces, never fills and never blocks. Notices only hasten; whoever
needs a current answer compares generations in the database. eventfd(2).
"""

from __future__ import annotations

import os


class Notice:
    """One process's eventfd. Dispatch makes it and rings; the process itself waits for it to become readable."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.descriptor = descriptor

    def ring(self) -> None:
        """Wake the process. At the counter's end (2^64 - 2 unread) it is awake anyway."""
        try:
            os.eventfd_write(self.descriptor, 1)
        except BlockingIOError:
            return

    def take(self) -> bool:
        """Whether it rang since the last call."""
        try:
            return os.eventfd_read(self.descriptor) > 0
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self.descriptor)

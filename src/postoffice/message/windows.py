"""A file as if it were bytes, for the structure's single pass: find, count and slice through one window.

Invariant: memory stays at one window and the slice asked for, whatever the file's size.
"""

from __future__ import annotations

from collections.abc import Callable

WINDOW = 1 << 18


class Windows:
    """``read(offset, length)`` gives the file's bytes; ``size`` is what is looked at."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._start = 0
        self._data = b""

    def find(self, sub: bytes, start: int, end: int, /) -> int:
        """As ``bytes.find``, non-negative offsets only."""
        end = min(end, self._size)
        overlap = len(sub) - 1
        while start + len(sub) <= end:
            self._load(start)
            low = start - self._start
            found = self._data.find(sub, low, end - self._start)
            if found >= 0:
                return self._start + found
            following = self._start + len(self._data) - overlap
            if following <= start:
                return -1                      # the file is shorter than it should be
            start = following
        return -1

    def count(self, sub: bytes, start: int, end: int, /) -> int:
        """As ``bytes.count`` for bytes that do not overlap themselves."""
        end = min(end, self._size)
        overlap = len(sub) - 1
        total = 0
        while start + overlap < end:
            self._load(start)
            low = start - self._start
            total += self._data.count(sub, low, end - self._start)
            following = self._start + len(self._data) - overlap
            if following <= start:
                return total
            start = following
        return total

    def __getitem__(self, key: slice, /) -> bytes:
        start, end = key.start or 0, min(self._size if key.stop is None else key.stop, self._size)
        if end <= start:
            return b""
        if end - start > WINDOW:
            return self._read(start, end - start)
        if not (self._start <= start and end <= self._start + len(self._data)):
            self._start = start
            self._data = self._read(start, min(WINDOW, self._size - start))
        return self._data[start - self._start:end - self._start]

    def _load(self, position: int) -> None:
        """Have the window begin so that ``position`` lies in it with something after it."""
        if self._start <= position < self._start + len(self._data) - 1_024:
            return
        if self._start <= position and self._start + len(self._data) >= self._size and (
                position < self._start + len(self._data)):
            return
        self._start = position
        self._data = self._read(position, min(WINDOW, self._size - position))

"""Reading: the bytes of one placement from its prefix, its segment and, for a large one, its file.

Owns open file descriptors, never a transaction: a client may take an hour to fetch a message. A segment that is
removed meanwhile stays readable through the reader's descriptor. Small messages are read whole at once, through
descriptors kept open in `OpenSegments`; only a larger one's reader holds a descriptor of its own.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from postoffice.store.index import Location
from postoffice.store.segments import get_large_path, get_segment_name

_SCAN = 16 << 10
_WHOLE = 64 << 10               # up to this size a message is read at once
_KEPT = 64                      # segments kept open


class FileReader:
    """See `store.api.MessageReader`. ``front`` stands before what the file gives from ``start``. Raises OSError (EIO)
    when the file is shorter than the index says."""

    __slots__ = ("_fd", "_front", "_header_size", "_start", "size")

    def __init__(self, front: bytes, fd: int, start: int, size: int) -> None:
        self._front = front
        self._fd = fd
        self._start = start
        self._header_size = -1
        self.size = len(front) + size

    @property
    def header_size(self) -> int:
        """Offset of the first body byte, found once; the whole size when there is no blank line."""
        if self._header_size < 0:
            self._header_size = self._find_body()
        return self._header_size

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        front = self._front[offset:offset + length]
        rest = length - len(front)
        if not rest:
            return front
        data = os.pread(self._fd, rest, self._start + max(0, offset - len(self._front)))
        if len(data) < rest:
            raise OSError(errno.EIO, "the message is cut short on the disk")
        return front + data if front else data

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _find_body(self) -> int:
        offset = 0
        while offset < self.size:
            data = self.read(offset, _SCAN)
            found = data.find(b"\r\n\r\n")
            if found >= 0:
                return offset + found + 4
            # The blank line may lie across two reads.
            offset += max(1, len(data) - 3)
        return self.size


class OpenSegments:
    """The segments one store last read from, kept open, the least recently used closed first. Segment ids never
    repeat, so a descriptor never shows another segment's bytes. Used on one thread."""

    __slots__ = ("_directory", "_fds", "_limit")

    def __init__(self, directory: str, limit: int = _KEPT) -> None:
        self._directory = directory
        self._limit = limit
        self._fds: dict[int, int] = {}          # the most recently used last

    def get(self, segment: int) -> int:
        """A descriptor, valid until the next call. Raises FileNotFoundError when the file has been removed."""
        fd = self._fds.pop(segment, -1)
        if fd >= 0 and not os.fstat(fd).st_nlink:
            os.close(fd)
            fd = -1
        if fd < 0:
            fd = os.open(get_segment_name(self._directory, segment), os.O_RDONLY | os.O_CLOEXEC)
            if len(self._fds) >= self._limit:
                os.close(self._fds.pop(next(iter(self._fds))))
        self._fds[segment] = fd
        return fd

    def drop_removed(self) -> None:
        """Close those whose file has been removed: until then its disk space is not free."""
        for segment, fd in list(self._fds.items()):
            if not os.fstat(fd).st_nlink:
                del self._fds[segment]
                os.close(fd)

    def close(self) -> None:
        """Idempotent."""
        while self._fds:
            os.close(self._fds.popitem()[1])


def open_location(directory: str, location: Location, segments: OpenSegments) -> FileReader:
    """Open what the index names. Raises FileNotFoundError when the segment has gone meanwhile."""
    size = location.header_size + location.body_size
    if location.large is None and size <= _WHOLE:
        data = os.pread(segments.get(location.segment), size, location.header_start)
        if len(data) == size:
            return FileReader(location.prefix + data, -1, 0, 0)
        # Cut short: the reader below says so when it is read.
    fd = os.open(get_segment_name(directory, location.segment), os.O_RDONLY | os.O_CLOEXEC)
    if location.large is None:
        return FileReader(location.prefix, fd, location.header_start, location.header_size + location.body_size)
    try:
        header = os.pread(fd, location.header_size, location.header_start)
    finally:
        os.close(fd)
    fd = os.open(get_large_path(Path(directory), location.large), os.O_RDONLY | os.O_CLOEXEC)
    return FileReader(location.prefix + header, fd, 0, location.body_size)

"""Segments: append-only files of framed records, a heap of bytes that the index points into.

Owns the file formats under ``segments/`` and the names under ``large/``; which record lives is the index's business.
Each process writes one active segment; a sealed one never changes. A frame is magic, CRC-32, lengths, message id,
then four parts: ``meta`` (placements and numbers, packed; for a rebuild), ``record`` (what the trace needs),
``header`` (our trace header) and ``body`` as received. The CRC covers all that follows it.

Invariants: a segment's header and its name in the directory are synced before its first record; bytes before the
end that the index names never change; bytes after it mean nothing.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from postoffice.base.durable import Disk
from postoffice.base.ids import format_id, parse_id

_FILE_HEADER = struct.Struct("<8sQI12xI")       # magic, segment id, slot, CRC of what stands before
_FILE_MAGIC = b"POSEG\x01\r\n"
FIRST_OFFSET = _FILE_HEADER.size

_FRAME = struct.Struct("<4sIIIIIQ")             # magic, CRC, four lengths, message id
_FRAME_MAGIC = b"POrc"
_FRAME_SIZE = _FRAME.size
_LENGTHS = struct.Struct("<IIIIQ")
_CRC_START = 8

SERIAL_BITS = 20                                # segment id = incarnation << 20 | serial


class SegmentDamage(Exception):
    """A segment file is not what its name or the index says; ``str()`` tells what is wrong with it."""


class Framed(NamedTuple):
    """A record ready to be written."""

    buffers: tuple[bytes, ...]
    size: int              # of the whole frame
    header_start: int      # of the trace header, from the frame's first byte


@dataclass(frozen=True, slots=True)
class Frame:
    """A record as read back. ``body_start`` counts from the segment's first byte."""

    offset: int
    size: int
    message_id: int
    meta: bytes
    record: bytes
    header_size: int
    body_start: int
    body_size: int


def build_frame(message_id: int, meta: bytes, record: bytes, header: bytes, body: bytes) -> Framed:
    """Frame one record. Small parts are joined, a large body stays its own buffer."""
    lengths = _LENGTHS.pack(len(meta), len(record), len(header), len(body), message_id)
    front = lengths + meta + record + header
    crc = zlib.crc32(body, zlib.crc32(front))
    head = _FRAME_MAGIC + crc.to_bytes(4, "little") + front
    return Framed((head, body), len(head) + len(body), _FRAME_SIZE + len(meta) + len(record))


def get_segment_path(directory: Path, segment: int) -> Path:
    """Where a segment lies below the mailbox directory."""
    return Path(get_segment_name(str(directory), segment))


def get_segment_name(directory: str, segment: int) -> str:
    """The same as text, for the readers: a Path costs as much as the look-up of a message."""
    return f"{directory}/segments/{segment:016x}.seg"


def get_large_path(directory: Path, name: str) -> Path:
    """Where a large message's body lies below the mailbox directory."""
    return directory / "large" / name


def build_large_name(message_id: int) -> str:
    return format_id(message_id) + ".msg"


def parse_large_slot(name: str) -> int | None:
    """The slot of the process that made a large file; None when the name is not one of ours."""
    try:
        return parse_id(name.removesuffix(".msg")) & 0xFF
    except ValueError:
        return None


def list_segment_files(directory: Path) -> dict[int, Path]:
    """Segment id -> file, of all files that bear a segment's name."""
    found = {}
    for path in (directory / "segments").glob("*.seg"):
        try:
            segment = int(path.stem, 16)
        except ValueError:
            continue
        if path == get_segment_path(directory, segment):
            found[segment] = path
    return found


class ActiveSegment:
    """The segment this process appends to. Used by the committer's helper thread; ``end`` moves only with a commit."""

    __slots__ = ("_disk", "end", "fd", "id")

    def __init__(self, disk: Disk, segment: int, fd: int) -> None:
        self._disk = disk
        self.id = segment
        self.fd = fd
        self.end = FIRST_OFFSET

    @classmethod
    def create(cls, disk: Disk, directory: Path, segment: int, slot: int) -> ActiveSegment:
        """A new file with its header, synced, and its name synced. Raises OSError, leaving nothing behind."""
        path = get_segment_path(directory, segment)
        fd = disk.create(path)
        try:
            disk.step("segment-created")
            start = _FILE_HEADER.pack(_FILE_MAGIC, segment, slot, 0)[:-4]
            disk.write(fd, start + zlib.crc32(start).to_bytes(4, "little"))
            disk.step("segment-header-written")
            disk.sync(fd)
            disk.step("segment-header-synced")
            disk.sync_directory(path.parent)
            disk.step("segment-directory-synced")
        except OSError:
            os.close(fd)
            with suppress(OSError):     # what cannot be removed now the next start tidies
                disk.unlink(path)
            raise
        return cls(disk, segment, fd)

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def check_file_header(fd: int, segment: int) -> None:
    """Raises SegmentDamage when the open file is not that segment."""
    data = os.pread(fd, FIRST_OFFSET, 0)
    if len(data) < FIRST_OFFSET:
        raise SegmentDamage("its header is cut short")
    magic, number, _slot, crc = _FILE_HEADER.unpack(data)
    if magic != _FILE_MAGIC or zlib.crc32(data[:-4]) != crc:
        raise SegmentDamage("its header is damaged")
    if number != segment:
        raise SegmentDamage(f"its header names segment {number:x}")


def read_frame(fd: int, offset: int, *, check: bool = True) -> Frame:
    """The record at ``offset``; with ``check`` its CRC too. Raises SegmentDamage. Memory stays bounded by meta and
    record (and 1 MiB)."""
    head = os.pread(fd, _FRAME_SIZE, offset)
    if len(head) < _FRAME_SIZE:
        raise SegmentDamage(f"the record at {offset} is cut short")
    magic, crc, meta_size, record_size, header_size, body_size, message_id = _FRAME.unpack(head)
    if magic != _FRAME_MAGIC:
        raise SegmentDamage(f"no record begins at {offset}")
    front = os.pread(fd, meta_size + record_size, offset + _FRAME_SIZE)
    if len(front) < meta_size + record_size:
        raise SegmentDamage(f"the record at {offset} is cut short")
    start = offset + _FRAME_SIZE + len(front)
    if check and _read_crc(fd, start, header_size + body_size, zlib.crc32(head[_CRC_START:] + front)) != crc:
        raise SegmentDamage(f"the record at {offset} has a wrong CRC")
    return Frame(
        offset, _FRAME_SIZE + len(front) + header_size + body_size, message_id, front[:meta_size],
        front[meta_size:], header_size, start + header_size, body_size)


def iterate_frames(fd: int, start: int, end: int) -> Iterator[Frame]:
    """The records from ``start`` up to the committed ``end``. Raises SegmentDamage at the first that is not whole."""
    offset = max(start, FIRST_OFFSET)
    while offset < end:
        frame = read_frame(fd, offset, check=False)
        yield frame
        offset += frame.size


def read_file_crc(fd: int, size: int) -> int | None:
    """The CRC-32 of a file's first ``size`` bytes; None when it has fewer."""
    return _read_crc(fd, 0, size, 0)


def _read_crc(fd: int, start: int, size: int, crc: int) -> int | None:
    while size:
        data = os.pread(fd, min(size, 1 << 20), start)
        if not data:
            return None
        crc = zlib.crc32(data, crc)
        start += len(data)
        size -= len(data)
    return crc

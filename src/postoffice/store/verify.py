"""verify: whether index, segments and large files agree, told in words.

Owns the comparison; changes nothing. It also runs beside living processes: what belongs together inside the index is
judged in one snapshot, files are compared afterwards, and a difference with a file counts only if the index still says
so when asked again (mail may have been expunged meanwhile).
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from postoffice.store.index import INDEX_NAME, MessageRow, ReadIndex, list_differences
from postoffice.store.segments import (
    SERIAL_BITS,
    SegmentDamage,
    check_file_header,
    get_large_path,
    get_segment_path,
    list_segment_files,
    parse_large_slot,
    read_file_crc,
    read_frame,
)

_LIMIT = 100            # findings of one kind; more say nothing more


def verify(directory: Path) -> list[str]:
    """All differences found in a mailbox directory, one sentence each; empty when there is none.

    Reads every byte of mail once; blocks, so not on a loop's thread. A directory that never was a store has none.
    """
    path = directory / INDEX_NAME
    if not path.exists():
        return [f"{path} is missing, but there are segments"] if list_segment_files(directory) else []
    try:
        index = ReadIndex(path)
    except apsw.Error as error:
        return [f"index: it cannot be opened: {error}"]
    try:
        return _Verifier(directory, index).run()
    except apsw.Error as error:
        return [f"index: it cannot be read: {error}"]
    finally:
        index.close()


class _Verifier:
    def __init__(self, directory: Path, index: ReadIndex) -> None:
        self._directory = directory
        self._index = index
        self._found: list[str] = []
        self._open: tuple[int, int] | None = None       # (segment, descriptor), the last one used
        self._unusable: set[int] = set()

    def run(self) -> list[str]:
        self._found += list_differences(self._index.connection, _LIMIT)
        self._check_segment_files()
        self._check_messages()
        self._check_orphans()
        return self._found

    def _check_segment_files(self) -> None:
        for row in self._index.list_segments():
            try:
                fd = os.open(get_segment_path(self._directory, row.id), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if self._index.has_segment(row.id):
                    self._found.append(f"segment {row.id:x}: its file is missing")
                self._unusable.add(row.id)
                continue
            try:
                check_file_header(fd, row.id)
                if os.fstat(fd).st_size < row.end:
                    self._found.append(f"segment {row.id:x}: its file is shorter than its end {row.end}")
            except SegmentDamage as damage:
                self._found.append(f"segment {row.id:x}: {damage}")
            finally:
                os.close(fd)

    def _check_messages(self) -> None:
        after = 0
        try:
            while rows := self._index.list_messages(after):
                for row in rows:
                    finding = self._check_message(row)
                    if finding is not None and self._index.has_same_place(row):
                        self._found.append(f"message {row.id}: {finding}")
                after = rows[-1].id
        finally:
            self._close()

    def _check_message(self, row: MessageRow) -> str | None:
        if row.segment in self._unusable:
            return "its segment's file is missing"
        try:
            fd = self._open_segment(row.segment)
            frame = read_frame(fd, row.offset)
        except FileNotFoundError:
            return "its segment's file is missing"
        except SegmentDamage as damage:
            return f"{damage} in segment {row.segment:x}"
        if frame.message_id != row.id:
            return f"its record in segment {row.segment:x} is that of message {frame.message_id}"
        body_start = frame.body_start
        if (frame.size, body_start - frame.header_size, frame.header_size) != (
                row.length, row.header_start, row.header_size):
            return f"its record in segment {row.segment:x} has other sizes than the index says"
        if row.large is None:
            return None if frame.body_size == row.body_size else "its body has another size than the index says"
        return self._check_large(row)

    def _check_large(self, row: MessageRow) -> str | None:
        assert row.large is not None
        try:
            fd = os.open(get_large_path(self._directory, row.large), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return f"its file large/{row.large} is missing"
        try:
            if os.fstat(fd).st_size != row.body_size:
                return f"its file large/{row.large} has another size than the index says"
            if read_file_crc(fd, row.body_size) != row.large_crc:
                return f"its file large/{row.large} has a wrong CRC"
        finally:
            os.close(fd)
        return None

    def _check_orphans(self) -> None:
        """Files without a row. Not counted is what a living process may have begun, and what one that died left for
        the next start to tidy: its segments bear its incarnation, its large files its slot."""
        before = self._index.list_slots()
        # Names that are no segment's come from the first listing: a segment made since is only in the second.
        paths = list((self._directory / "segments").iterdir())
        segments = list_segment_files(self._directory)
        large = list((self._directory / "large").iterdir())
        # A process enters its slot before it makes a file; it may have started or ended during the listing.
        after = self._index.list_slots()
        incarnations = {*before.values(), *after.values()}
        slots = {*before, *after}
        for segment, path in segments.items():
            if (segment >> SERIAL_BITS not in incarnations and not self._index.has_segment(segment)
                    and path.exists()):
                self._found.append(f"segment {segment:x}: no row names its file")
        named = set(segments.values())
        for path in paths:
            if path not in named and path.exists():
                self._found.append(f"file segments/{path.name}: it is no segment")
        for path in large:
            if parse_large_slot(path.name) not in slots and not self._index.has_large(path.name) and path.exists():
                self._found.append(f"file large/{path.name}: no row names it")

    def _open_segment(self, segment: int) -> int:
        if self._open is not None and self._open[0] == segment:
            return self._open[1]
        self._close()
        fd = os.open(get_segment_path(self._directory, segment), os.O_RDONLY | os.O_CLOEXEC)
        self._open = segment, fd
        return fd

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

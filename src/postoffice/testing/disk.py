"""Power cuts simulated: record what processes ask of the disk, then give it back as a cut at any point could leave it.

Owns the recorder's log (`recorder.c`) and the rules of loss. Code under test runs unchanged under LD_PRELOAD, several
processes and SQLite included; nothing is run again for a cut.

Rules: a write lasts once a sync of its file that began after it has ended (a write with RWF_DSYNC when it returns); a
creation, rename or unlink lasts once a sync of its directory that began after it has ended. What does not last yet
may be there, be lost or, a write, be torn by sectors of 512 bytes, each independently of the others and of their order.
Shared memory (``-shm``) is lost always.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

_HEAD = struct.Struct("<IIQQII")
_SECTOR = 512
_SOURCE = Path(__file__).with_name("recorder.c")


class Kind(IntEnum):
    """As in the recorder."""

    WRITE = 1
    SYNCED_WRITE = 2
    TRUNCATE = 3
    CREATE = 4
    RENAME = 5
    UNLINK = 6
    SYNC_BEGIN = 7
    SYNC_END = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. ``offset`` is the new size of a truncation, 1 for a directory's creation."""

    kind: Kind
    thread: int
    inode: int
    offset: int
    path: str
    data: bytes


def build_recorder(directory: Path) -> Path:
    """Compile the recorder with ``cc``. Raises CalledProcessError or FileNotFoundError (no compiler)."""
    library = directory / "recorder.so"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-U_FILE_OFFSET_BITS", "-o", library, _SOURCE, "-ldl"],
        check=True, capture_output=True)
    return library


def build_environment(library: Path, directory: Path, log: Path) -> dict[str, str]:
    """What a process needs in its environment to be recorded below ``directory``."""
    return {"LD_PRELOAD": str(library), "RECORD_DIRECTORY": os.fspath(directory.resolve()), "RECORD_LOG": str(log)}


def read_log(log: Path) -> list[Entry]:
    """All entries, in the one order that all processes saw."""
    data = log.read_bytes()
    entries = []
    place = 0
    while place < len(data):
        kind, thread, inode, offset, path_size, data_size = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        path = data[place:place + path_size].decode()
        place += path_size
        entries.append(Entry(Kind(kind), thread, inode, offset, path, data[place:place + data_size]))
        place += data_size
    return entries


def list_present(directory: Path) -> list[Entry]:
    """Entries for what lies in a directory already, as if just written and synced: the start of a log whose
    processes found it there."""
    root = directory.resolve()
    entries = []
    places = [root, *sorted(root.rglob("*"))]
    for place in places:
        inode, path = place.stat().st_ino, os.fspath(place)
        if place != root:
            entries.append(Entry(Kind.CREATE, 0, inode, int(place.is_dir()), path, b""))
        if place.is_file():
            entries += [Entry(Kind.WRITE, 0, inode, 0, path, place.read_bytes()),
                        Entry(Kind.SYNC_BEGIN, 0, inode, 0, path, b""), Entry(Kind.SYNC_END, 0, inode, 0, path, b"")]
    for place in places:
        if place.is_dir():
            entries += [Entry(kind, 0, place.stat().st_ino, 0, os.fspath(place), b"")
                        for kind in (Kind.SYNC_BEGIN, Kind.SYNC_END)]
    return entries


@dataclass(slots=True)
class _File:
    """What was done to one file, oldest first, and which of it lasts."""

    writes: list[tuple[Entry, int]] = field(default_factory=list)       # (entry, position in the log)
    lasting: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Name:
    """One change of a directory: ``file`` None for a removal, ``moved`` the old name of a rename (which is atomic)."""

    position: int
    path: str
    file: _File | None
    moved: str = ""
    lasts: bool = False


class RecordedDisk:
    """A log, ready to be cut anywhere. Paths are given back below another directory than they were recorded in."""

    def __init__(self, entries: Sequence[Entry], directory: Path) -> None:
        self.entries = entries
        self._root = os.fspath(directory.resolve())

    def read_written(self, name: str, cut: int) -> bytes:
        """All that was written to a file of the root by then, lasting or not: the acknowledgements."""
        path = f"{self._root}/{name}"
        return b"".join(e.data for e in self.entries[:cut] if e.path == path and e.kind is Kind.WRITE)

    def give_back(self, cut: int, target: Path, chance: random.Random) -> None:
        """Make ``target`` what a power cut after ``cut`` entries could have left."""
        names = self._replay(cut)
        keep = chance.choice((0.0, 0.5, 0.9, 1.0))      # how much of what does not last is there
        files: dict[str, _File] = {}
        target.mkdir()
        for change in names:
            if not change.lasts and chance.random() >= keep:
                continue
            if change.file is None:
                files.pop(change.path, None)
            elif not change.moved or files.pop(change.moved, None) is not None:
                files[change.path] = change.file
        for path in sorted(files):
            place = target / path[len(self._root) + 1:]
            file = files[path]
            if not place.parent.is_dir():
                continue
            if file is _DIRECTORY:
                place.mkdir(exist_ok=True)
            elif not path.endswith("-shm"):
                place.write_bytes(_rebuild(file, keep, chance))

    def _replay(self, cut: int) -> list[_Name]:
        inodes: dict[int, _File] = {}
        by_path: dict[str, _File] = {}
        names: list[_Name] = []
        begun: dict[int, int] = {}
        for position, entry in enumerate(self.entries[:cut]):
            if entry.kind in (Kind.WRITE, Kind.SYNCED_WRITE, Kind.TRUNCATE):
                file = inodes.setdefault(entry.inode, _File())
                file.writes.append((entry, position))
                if entry.kind is Kind.SYNCED_WRITE:
                    file.lasting.add(position)
            elif entry.kind is Kind.CREATE:
                new = _DIRECTORY if entry.offset else _File()
                if new is not _DIRECTORY:
                    inodes[entry.inode] = new
                by_path[entry.path] = new
                names.append(_Name(position, entry.path, new))
            elif entry.kind is Kind.RENAME:
                moved = by_path.pop(entry.path)
                to = entry.data.decode()
                by_path[to] = moved
                names.append(_Name(position, to, moved, entry.path))
            elif entry.kind is Kind.UNLINK:
                by_path.pop(entry.path, None)
                names.append(_Name(position, entry.path, None))
            elif entry.kind is Kind.SYNC_BEGIN:
                begun[entry.thread] = position
            else:
                self._sync(entry, begun.pop(entry.thread), inodes, names)
        return names

    def _sync(self, entry: Entry, begun: int, inodes: dict[int, _File], names: list[_Name]) -> None:
        file = inodes.get(entry.inode)
        if file is not None:
            file.lasting.update(position for _, position in file.writes if position < begun)
        for change in names:
            if change.position < begun and os.path.dirname(change.path) == entry.path:
                change.lasts = True


_DIRECTORY = _File()


def _rebuild(file: _File, keep: float, chance: random.Random) -> bytes:
    data = bytearray()
    for entry, position in file.writes:
        lasts = position in file.lasting
        if not lasts and chance.random() >= keep:
            continue
        if entry.kind is Kind.TRUNCATE:
            del data[entry.offset:]
            data.extend(bytes(entry.offset - len(data)))
            continue
        if len(data) < entry.offset:
            data.extend(bytes(entry.offset - len(data)))
        if lasts or chance.random() < 0.6:
            data[entry.offset:entry.offset + len(entry.data)] = entry.data
        else:
            _tear(data, entry, chance)
    return bytes(data)


def _tear(data: bytearray, entry: Entry, chance: random.Random) -> None:
    """Some sectors of the write are there, the others hold what they held, or zeros beyond the old end."""
    end = entry.offset + len(entry.data)
    start = entry.offset
    while start < end:
        stop = min(end, (start // _SECTOR + 1) * _SECTOR)
        if chance.random() < 0.5:
            if len(data) < start:
                data.extend(bytes(start - len(data)))
            data[start:stop] = entry.data[start - entry.offset:stop - entry.offset]
        start = stop



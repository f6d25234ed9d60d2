"""Start of a store: slots, incarnations, tidying; and the repair of an index that met an I/O error.

Owns the lock file's bytes (0..255 the slots, then commit and checkpoint) and the names ``index.new`` and
``index.ready``. A slot's byte is held for the life of its process, so whether a process lives is the kernel's word.

Invariants: only a process that is alone removes what no row refers to; a living process's segment is never sealed by
another; a pending ``index.ready`` is finished before anybody reads the index.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from postoffice.base.durable import Disk
from postoffice.base.errors import PostOfficeError, TemporaryError
from postoffice.base.locks import LockFile
from postoffice.store.index import INDEX_NAME, State, WriteIndex, copy_index
from postoffice.store.segments import SERIAL_BITS, get_segment_path, list_segment_files, parse_large_slot

_log = logging.getLogger(__name__)

SLOTS = 256
COMMIT_BYTE = 256
CHECKPOINT_BYTE = 257
LOCK_NAME = "locks"
_READY = "index.ready"
_NEW = "index.new"


@dataclass(frozen=True, slots=True)
class Slot:
    """This process's place among those that have the mailbox directory open."""

    number: int
    lock: LockFile

    def list_living(self) -> set[int]:
        """The other slots whose processes live."""
        return {s for s in range(SLOTS) if s != self.number and self.lock.is_locked(s)}


def take_slot(directory: Path, number: int | None) -> Slot:
    """Hold the first free slot, or the one named, for life. Raises TemporaryError when it is taken."""
    lock = LockFile(directory / LOCK_NAME)
    for candidate in range(SLOTS) if number is None else (number,):
        if lock.try_lock(candidate):
            return Slot(candidate, lock)
    lock.close()
    raise TemporaryError(f"All slots of {directory} are taken." if number is None
                         else f"Slot {number} of {directory} is taken by another process.")


def check_index_present(directory: Path) -> None:
    """Refuse to begin a new index beside old segments: tidying would then remove all mail."""
    path = directory / INDEX_NAME
    if (not path.exists() or not path.stat().st_size) and list_segment_files(directory):
        raise PostOfficeError(f"{path} is missing, but {directory / 'segments'} holds mail.",
                              "Put the index back from a copy, or rebuild it; nothing was changed.")


def begin_incarnation(directory: Path, index: WriteIndex, slot: Slot, disk: Disk) -> tuple[int, bool]:
    """Register this start and seal what dead processes left, in one transaction, under the commit lock. Returns the
    first segment id of this incarnation and whether no other process lives."""
    living = slot.list_living()
    tidy_dead(directory, index, disk, slot.number, living)
    index.begin()
    try:
        state = index.get_state()
        incarnation = state.incarnation + 1
        index.set_state(State(state.commit, incarnation, state.uidvalidity, state.last_message))
        index.set_slot(slot.number, incarnation)
        if not living:
            index.keep_only_slot(slot.number)
        for segment, owner in index.list_open_segments():
            if owner not in living:
                index.seal_segment(segment)
        index.commit()
    except BaseException:
        index.rollback()
        raise
    disk.step("incarnation-committed")
    return incarnation << SERIAL_BITS | 1, not living


def end_incarnation(index: WriteIndex, slot: int, segment: int | None) -> None:
    """A clean end, under the commit lock: the last segment is sealed and the slot leaves nothing to tidy."""
    index.begin()
    try:
        index.delete_slot(slot)
        if segment is not None:
            index.seal_segment(segment)
        index.commit()
    except BaseException:
        index.rollback()
        raise


def tidy(directory: Path, index: WriteIndex, disk: Disk) -> int:
    """Remove segments and large files without a row; the caller is alone. Returns how many."""
    known = {get_segment_path(directory, segment) for segment in index.list_segment_ids()}
    dead = [path for path in (directory / "segments").iterdir() if path not in known]
    large = index.list_large_names()
    dead += [path for path in (directory / "large").iterdir() if path.name not in large]
    for path in dead:
        disk.unlink(path)
    if dead:
        _log.info("%d files without a row removed from %s", len(dead), directory)
    disk.step("tidied")
    return len(dead)


def tidy_dead(directory: Path, index: WriteIndex, disk: Disk, slot: int, living: Collection[int]) -> None:
    """Remove files without a row that dead processes left, beside ``living`` ones (slots, without the caller's own).

    Under the commit lock, before the caller's incarnation begins: a living process registers its incarnation under the
    lock before it makes a segment, so one that bears no living incarnation is nobody's. Large files bear slots alone:
    those of the caller's own slot are what its last process left."""
    begun = {index.find_incarnation(number) for number in living}
    known = index.list_segment_ids()
    dead = [path for segment, path in list_segment_files(directory).items()
            if segment >> SERIAL_BITS not in begun and segment not in known]
    dead += [path for path in (directory / "large").iterdir()
             if parse_large_slot(path.name) == slot and not index.has_large(path.name)]
    for path in dead:
        disk.unlink(path)
    if dead:
        _log.info("%d files without a row removed that dead processes had left", len(dead))


def forget_old_deliveries(index: WriteIndex, before: int) -> None:
    """Drop the memory of expunged deliveries of messages with ids below ``before``."""
    index.begin()
    try:
        index.forget_deliveries(None, before)
        index.commit()
    except BaseException:
        index.rollback()
        raise


def build_repair_check(directory: Path) -> Callable[[], bool]:
    """A quick question: has somebody died while repairing the index? Asked under the commit lock, before each batch:
    what is committed beside a pending copy would be lost."""
    ready, new, exists = str(directory / _READY), str(directory / _NEW), os.path.exists
    return lambda: exists(ready) or exists(new)


def mark_repair(directory: Path) -> None:
    """Leave word that the index met an I/O error: whoever commits next repairs it first, and nobody checkpoints."""
    os.close(os.open(directory / _NEW, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def repair_index(directory: Path, disk: Disk) -> None:
    """Copy the index and put the copy in its place, going on where an earlier repair has stopped. Called under the
    commit lock. A connection that met the error is to be closed afterwards, not before: what a failed COMMIT has left
    in the WAL counts as not committed only while somebody has the database open; the next to open it takes it over.

    A failed sync may leave SQLite's pages in any state; what it still reads is whole, so it is read once and written
    anew. Raises apsw.Error, OSError or PostOfficeError; then it may be tried again and nobody may use the index before.
    """
    index = directory / INDEX_NAME
    ready = directory / _READY
    with LockFile(directory / LOCK_NAME) as lock:
        lock.lock(CHECKPOINT_BYTE)
        if not ready.exists():
            _copy(index, directory / _NEW, disk)
            disk.rename(directory / _NEW, ready)
            disk.step("copy-ready")
        # The old WAL belongs to the old file: beside the new one it would be replayed into it.
        for suffix in ("-wal", "-shm"):
            disk.unlink(index.with_name(index.name + suffix))
        disk.sync_directory(directory)
        disk.step("old-wal-removed")
        disk.rename(ready, index)
        disk.step("copy-in-place")


def _copy(index: Path, new: Path, disk: Disk) -> None:
    """The file's being there marks the repair from its first moment on."""
    disk.unlink(new)
    copy_index(index, new)
    disk.step("copy-written")
    fd = os.open(new, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    disk.step("copy-synced")

"""EmbeddedStore: the real store, index and segments in the mailbox directory. See `store.api` and `docs/architecture`.

Owns putting the parts together: slot, index, active segment, committer, checkpointer, readers. Several processes may
have one directory open, and one process may open it twice. Reads happen on the caller's thread (the loop's) over one
connection and are done when the method returns.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from postoffice.base.clock import Clock, SystemClock
from postoffice.base.durable import DISK, Disk
from postoffice.base.errors import TemporaryError
from postoffice.store import checkpoint, recovery
from postoffice.store.committer import Committer, CommitterParts
from postoffice.store.index import INDEX_NAME, FolderRow, ReadIndex, WriteIndex, create_index
from postoffice.store.large import FileLargeWriter
from postoffice.store.lookahead import Lookahead
from postoffice.store.model import Change, Committed, Folder, Item, Usage
from postoffice.store.reading import FileReader, OpenSegments, open_location
from postoffice.store.segments import ActiveSegment, get_segment_path, iterate_frames

SEGMENT_SIZE = 64 << 20
_LARGE_THREADS = 4
_REMEMBERED_DAYS = 30           # longer than any queue retries a delivery

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How to open a store. ``release`` says whether a dead segment (id, slot) may be removed, which the trace decides.
    The rest are the parts a test may exchange."""

    segment_size: int = SEGMENT_SIZE
    spool: Path | None = None               # another file system whose free space counts
    release: Callable[[int, int], bool] = lambda segment, slot: True
    disk: Disk = DISK
    committer: Callable[[CommitterParts], Committer] = Committer
    open_index: Callable[[Path], WriteIndex] = WriteIndex
    checkpoint_frames: int = checkpoint.FRAMES
    checkpoint_synchronous: str = "FULL"
    checkpoint_vfs: str | None = None


class EmbeddedStore:
    """See `store.api.Store`. Made by `open`."""

    def __init__(
        self, directory: Path, slot: recovery.Slot, committer: Committer, checkpointer: checkpoint.Checkpointer,
        clock: Clock, disk: Disk, spool: Path | None = None,
    ) -> None:
        self.directory = directory
        self._disks = (directory,) if spool is None else (directory, spool)
        self._directory = str(directory)
        self._slot = slot
        self._committer = committer
        self._checkpointer = checkpointer
        self._clock = clock
        self._disk = disk
        self._pool = ThreadPoolExecutor(_LARGE_THREADS, "store-large")
        self._index_path = str(directory / INDEX_NAME)       # text: asked for at every read
        self._read_index = ReadIndex(directory / INDEX_NAME)
        self._segments = OpenSegments(self._directory)
        self._lookahead = Lookahead(lambda: committer.last_commit, clock.monotonic)
        self._free = (0, float("-inf"))
        self.submit: Callable[[Change], asyncio.Future[Committed]] = committer.submit
        self._closed = False

    @classmethod
    def open(
        cls, directory: Path, *, slot: int | None = None, clock: Clock | None = None,
        options: StoreOptions | None = None,
    ) -> EmbeddedStore:
        """Open the mailbox directory, made when missing. Blocks while another process starts or commits.

        Raises PostOfficeError (index missing beside segments, other format), TemporaryError (no slot free), OSError
        and apsw.Error.
        """
        clock = clock or SystemClock()
        options = options or StoreOptions()
        disk = options.disk
        for name in ("segments", "large"):
            disk.make_directory(directory / name)
        own = recovery.take_slot(directory, slot)
        disk.step("slot-taken")
        try:
            committer, checkpointer = _begin(directory, own, clock, options)
        except BaseException:
            own.lock.close()
            raise
        return cls(directory, own, committer, checkpointer, clock, disk, options.spool)

    @property
    def slot(self) -> int:
        """This process's number among those that have the directory open, 0..255."""
        return self._slot.number

    def get_position(self) -> Position:
        """(segment, offset) up to which this process's records are committed: what the trace keeps."""
        return self._committer.position

    def open_large(self, message_id: int) -> FileLargeWriter:
        return FileLargeWriter(self._pool, self._disk, self.directory, message_id)

    # Reading.

    def find_folder(self, account: int, name: str) -> Folder | None:
        row = self._reader().find_folder(account, name)
        return _show(row) if row else None

    def list_folders(self, account: int) -> list[Folder]:
        return [_show(row) for row in self._reader().list_folders(account)]

    def list_items(self, folder_id: int) -> list[Item]:
        reader = self._reader()
        uidvalidity = reader.get_uidvalidity(folder_id)
        return [
            Item(uid, message, size, f"{uidvalidity:x}.{uid:x}" if uidl is None else uidl, flags, date)
            for rows in reader.list_items(folder_id)
            for uid, message, size, uidl, flags, date in rows]

    def open_message(self, folder_id: int, uid: int) -> FileReader | None:
        """None when it is gone. Raises TemporaryError when its bytes are missing, which `verify` tells more about."""
        last = None
        while True:
            location = self._lookahead.find(self._reader(), folder_id, uid)
            if location is None:
                return None
            try:
                return open_location(self._directory, location, self._segments)
            except FileNotFoundError as error:
                self._lookahead.forget()
                # Expunged or moved to another segment since the row was read: then the row has changed too.
                if location == last:
                    raise TemporaryError(f"The file of message {location.message} is missing.") from error
                last = location

    def get_usage(self, account: int) -> Usage:
        return Usage(*self._reader().get_usage(account))

    def get_parsed(self, message_id: int) -> bytes | None:
        return self._reader().get_parsed(message_id)

    def get_free_bytes(self) -> int:
        now = self._clock.monotonic()
        if now - self._free[1] >= 1.0:
            self._segments.drop_removed()
            disks = [os.statvfs(path) for path in self._disks]
            self._free = min(disk.f_bavail * disk.f_frsize for disk in disks), now
        return self._free[0]

    def last_message_id(self) -> int:
        """The highest message id ever committed: the floor for new ids."""
        return self._reader().get_state().last_message

    def list_records(
        self, after: Position | None = None, *, slot: int | None = None,
    ) -> Iterator[tuple[Position, int, bytes]]:
        """See `store.api.Store`; with ``slot`` only what that slot's processes wrote, for positions are per slot. The
        position given with a record is that of its end: reading on from there repeats nothing."""
        for row in self._reader().list_segments():
            if (slot is not None and row.slot != slot) or (after is not None and row.id < after[0]):
                continue
            start = after[1] if after is not None and row.id == after[0] else 0
            try:
                fd = os.open(get_segment_path(self.directory, row.id), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue        # dead and removed since the row was read
            try:
                for frame in iterate_frames(fd, start, row.end):
                    yield (row.id, frame.offset + frame.size), frame.message_id, frame.record
            finally:
                os.close(fd)

    def list_slots(self) -> list[int]:
        """The slots that ever had this directory open: whose records the trace may still have to read."""
        return sorted(self._reader().list_slots())

    async def wait_idle(self) -> None:
        """Until no change waits or is under way."""
        await self._committer.wait_idle()

    async def close(self) -> None:
        """Finish what waits, refuse the rest, free the slot. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await self._committer.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._checkpointer.stop)
        await loop.run_in_executor(None, self._pool.shutdown)
        self._read_index.close()
        self._segments.close()
        self._slot.lock.close()

    def _reader(self) -> ReadIndex:
        if os.stat(self._index_path).st_ino != self._read_index.inode:
            # The index was copied after an I/O error; the old file no longer changes.
            self._read_index.close()
            self._read_index = ReadIndex(self.directory / INDEX_NAME)
        return self._read_index


def _begin(
    directory: Path, slot: recovery.Slot, clock: Clock, options: StoreOptions,
) -> tuple[Committer, checkpoint.Checkpointer]:
    """All that a start does under the commit lock: pending repair, index, incarnation, tidying, first segment."""
    disk = options.disk
    path = directory / INDEX_NAME
    slot.lock.lock(recovery.COMMIT_BYTE)
    try:
        if recovery.build_repair_check(directory)():
            recovery.repair_index(directory, disk)
        recovery.check_index_present(directory)
        create_index(path, disk)
        disk.step("index-created")
        index = options.open_index(path)
        try:
            first, alone = recovery.begin_incarnation(directory, index, slot, disk)
            if alone:
                recovery.tidy(directory, index, disk)
                before = int((clock.now() - _REMEMBERED_DAYS * 86_400) * 1_000_000) << 8
                recovery.forget_old_deliveries(index, max(0, before))
            segment = ActiveSegment.create(disk, directory, first, slot.number)
        except BaseException:
            index.close()
            raise
        checkpointer = checkpoint.Checkpointer(
            directory, disk, frames=options.checkpoint_frames, synchronous=options.checkpoint_synchronous,
            vfs=options.checkpoint_vfs)
        checkpointer.start()
        return options.committer(CommitterParts(
            directory, disk, clock, slot, index, options.open_index, segment, options.segment_size,
            options.release, checkpointer.note)), checkpointer
    finally:
        slot.lock.unlock(recovery.COMMIT_BYTE)


def _show(row: FolderRow) -> Folder:
    return Folder(row.id, row.account, row.name, row.uidvalidity, row.uidnext, row.messages, row.bytes)

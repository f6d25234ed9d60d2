"""Checkpoints: a thread with its own connection moves the WAL into the database, apart from the commit path.

Owns when and how: the committer tells the WAL's frame count after each commit (never the file's size, which does not
shrink); above a threshold a PASSIVE checkpoint runs without the commit lock, then a short RESTART under it between two
batches, so that the WAL stays small and no commit waits. RESTART rather than TRUNCATE, because a sync over blocks that
the file already has is cheaper (1,290 against 970 batches a second); a WAL that a long reader let grow is truncated.
One process checkpoints at a time.

Invariant: the connection has synchronous=FULL; one with less loses acknowledged mail although it never commits.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import apsw

from postoffice.base.durable import Disk
from postoffice.base.errors import PostOfficeError
from postoffice.base.locks import LockFile
from postoffice.store.index import INDEX_NAME, Checkpoint, checkpoint, open_connection
from postoffice.store.recovery import CHECKPOINT_BYTE, COMMIT_BYTE, LOCK_NAME, build_repair_check, mark_repair

_log = logging.getLogger(__name__)

FRAMES = 1000           # 4 MB of WAL
_MUCH = 8               # times that: only a reader that stays long lets it grow so far
_STOP_SECONDS = 5.0


class Checkpointer:
    """Start with `start`; `note` is called after each commit, from any thread."""

    def __init__(
        self, directory: Path, disk: Disk, *, frames: int = FRAMES, synchronous: str = "FULL", vfs: str | None = None,
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._frames = frames
        self._synchronous = synchronous
        self._vfs = vfs
        self._is_repair_pending = build_repair_check(directory)
        self._due = threading.Event()
        self._stopping = False
        self._threshold = frames
        self._noted = 0
        self._connection: apsw.Connection | None = None
        self._inode = 0
        self._thread = threading.Thread(target=self._serve, name="store-checkpoint", daemon=True)
        self.runs = 0

    def start(self) -> None:
        self._thread.start()

    def note(self, frames: int) -> None:
        """The WAL has this many frames now."""
        self._noted = frames
        if frames >= self._threshold:
            self._threshold = frames + self._frames     # not again before it has grown, whether this one works or not
            self._due.set()
        elif frames < self._frames:
            self._threshold = self._frames

    def stop(self) -> None:
        """End the thread, after a last checkpoint. Blocks shortly; a thread that waits for a lock is left to the end of
        the process. Idempotent."""
        self._stopping = True
        self._due.set()
        self._thread.join(_STOP_SECONDS)

    def _serve(self) -> None:
        with LockFile(self._directory / LOCK_NAME) as lock:
            while not self._stopping:
                self._due.wait()
                self._due.clear()
                try:
                    self._run(lock)
                except (apsw.Error, OSError, PostOfficeError) as error:
                    _log.error("a checkpoint of the index failed: %s", error)
                    self._close()
            self._close()

    def _run(self, lock: LockFile) -> None:
        if not lock.try_lock(CHECKPOINT_BYTE):
            return
        try:
            if self._is_repair_pending():
                return
            self._checkpoint(Checkpoint.PASSIVE)
        finally:
            # Never wait for the commit lock with this one held: a repair takes them in the other order.
            lock.unlock(CHECKPOINT_BYTE)
        self._disk.step("checkpoint-passive")
        if not self._stopping:
            lock.lock(COMMIT_BYTE)
        elif not lock.try_lock(COMMIT_BYTE):
            return
        try:
            if lock.try_lock(CHECKPOINT_BYTE) and not self._is_repair_pending():
                grown = self._stopping or self._noted > _MUCH * self._frames
                self._checkpoint(Checkpoint.TRUNCATE if grown else Checkpoint.RESTART)
                self.runs += 1
        finally:
            lock.unlock(CHECKPOINT_BYTE)
            lock.unlock(COMMIT_BYTE)
        self._disk.step("checkpoint-restarted")

    def _checkpoint(self, how: Checkpoint) -> None:
        try:
            checkpoint(self._open(), how)
        except apsw.IOError:
            # Pages that could not be synced may count as clean now: a later checkpoint would succeed and drop the WAL
            # that still has them.
            mark_repair(self._directory)
            raise

    def _open(self) -> apsw.Connection:
        path = self._directory / INDEX_NAME
        inode = os.stat(path).st_ino
        if self._connection is None or inode != self._inode:
            self._close()
            self._connection = open_connection(
                path, busy_milliseconds=0, synchronous=self._synchronous, vfs=self._vfs)
            self._inode = inode
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

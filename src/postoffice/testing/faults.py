"""Faults for the store's tests: a disk that is full or broken, a process that dies at a step, and the seven mistakes
that the power-cut checker must notice.

Everything here stands in for a part that the store takes as an argument (`StoreOptions`); nothing of it can be
reached by a setting. `KillDisk` ends the calling process.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from postoffice.base.durable import Disk
from postoffice.store.batch import Batch
from postoffice.store.committer import Committer, CommitterParts, Job
from postoffice.store.embedded import StoreOptions
from postoffice.store.index import WriteIndex


class KillDisk(Disk):
    """Dies by SIGKILL at the ``nth`` time that ``step`` is reached."""

    def __init__(self, step: str, nth: int = 1) -> None:
        self._step = step
        self._left = nth

    def step(self, name: str) -> None:
        if name == self._step:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


class RecordingDisk(Disk):
    """Notes every step that is reached."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)


class FaultyDisk(Disk):
    """Fails as told: ``fail("append", errno.ENOSPC, times=2, written=100)`` makes the next two appends write 100 bytes
    and then raise. Operations: create, append, write, sync, sync_directory, unlink, rename."""

    def __init__(self) -> None:
        self._plans: dict[str, list[tuple[int, int]]] = {}
        self.failed: list[str] = []

    def fail(self, operation: str, number: int, *, times: int = 1, written: int = 0) -> None:
        self._plans.setdefault(operation, []).extend([(number, written)] * times)

    def heal(self) -> None:
        self._plans.clear()

    def _take(self, operation: str) -> tuple[int, int] | None:
        plan = self._plans.get(operation)
        if not plan:
            return None
        self.failed.append(operation)
        return plan.pop(0)

    def _raise(self, operation: str) -> None:
        taken = self._take(operation)
        if taken:
            raise OSError(taken[0], os.strerror(taken[0]))

    def create(self, path: Path) -> int:
        self._raise("create")
        return super().create(path)

    def append(self, fd: int, buffers: Sequence[bytes], offset: int) -> None:
        taken = self._take("append")
        if taken:
            os.pwrite(fd, b"".join(buffers)[:taken[1]], offset)
            raise OSError(taken[0], os.strerror(taken[0]))
        super().append(fd, buffers, offset)

    def write(self, fd: int, data: bytes) -> None:
        taken = self._take("write")
        if taken:
            super().write(fd, data[:taken[1]])
            raise OSError(taken[0], os.strerror(taken[0]))
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self._raise("sync")
        super().sync(fd)

    def sync_directory(self, path: Path) -> None:
        self._raise("sync_directory")
        super().sync_directory(path)

    def unlink(self, path: Path) -> None:
        self._raise("unlink")
        super().unlink(path)

    def rename(self, source: Path, target: Path) -> None:
        self._raise("rename")
        super().rename(source, target)


class FaultyIndex(WriteIndex):
    """Its next COMMITs or BEGINs fail with the errors put into ``errors``, the transaction left as SQLite leaves it."""

    errors: dict[str, list[apsw.Error]]

    @classmethod
    def sharing(cls, errors: dict[str, list[apsw.Error]]) -> Callable[[Path], WriteIndex]:
        """How to open one for `StoreOptions.open_index`; ``errors`` maps "begin", "commit", "rollback" to errors."""
        def open_index(path: Path) -> WriteIndex:
            index = cls(path)
            index.errors = errors
            return index

        return open_index

    def _fail(self, operation: str) -> None:
        waiting = self.errors.get(operation)
        if waiting:
            raise waiting.pop(0)

    def begin(self) -> None:
        self._fail("begin")
        super().begin()

    def commit(self) -> None:
        self._fail("commit")
        super().commit()

    def rollback(self) -> None:
        self._fail("rollback")
        super().rollback()


class FaultyVfs(apsw.VFS):
    """SQLite's own file system calls, failing as told: ``fail("wal-sync")`` makes the next sync of a WAL an I/O error,
    ``fail("wal-write", full=True)`` the next write of one a full disk; "database-sync" and "database-write" likewise.
    Made for a test and closed by ``unregister``."""

    def __init__(self, name: str) -> None:
        self.plans: list[tuple[str, bool]] = []
        self.failed: list[str] = []
        super().__init__(name, base="")

    def fail(self, operation: str, *, full: bool = False) -> None:
        self.plans.append((operation, full))

    def take(self, operation: str) -> None:
        for plan in self.plans:
            if plan[0] == operation:
                self.plans.remove(plan)
                self.failed.append(operation)
                raise (apsw.FullError if plan[1] else apsw.IOError)(f"planted {operation}")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:     # noqa: N802
        return _FaultyVfsFile(self, name, flags)


class _FaultyVfsFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVfs, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._vfs = vfs
        self._kind = "wal" if flags[0] & apsw.SQLITE_OPEN_WAL else "database"
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:                        # noqa: N802
        self._vfs.take(f"{self._kind}-sync")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:         # noqa: N802
        self._vfs.take(f"{self._kind}-write")
        super().xWrite(data, offset)


# The mistakes. Each is a store that works until the power fails.


class _NoRecordSync(Disk):
    def append(self, fd: int, buffers: Sequence[bytes], offset: int) -> None:
        os.pwritev(fd, buffers, offset)


class _NoDirectorySync(Disk):
    """New segments and large files may be missing, though what is in them was synced."""

    def sync_directory(self, path: Path) -> None:
        if path.name not in ("segments", "large"):
            super().sync_directory(path)


class _NoSegmentHeaderSync(Disk):
    """The header is written, never synced; a record's own sync may leave the file's first block behind."""

    def sync(self, fd: int) -> None:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith(".seg"):
            super().sync(fd)


class _NoLargeSync(Disk):
    def sync(self, fd: int) -> None:
        if "/large/" not in os.readlink(f"/proc/self/fd/{fd}"):
            super().sync(fd)


class _EarlyCommitter(Committer):
    """Answers before anything is on the disk."""

    def _make_durable(self, job: Job) -> None:
        early = Job(job.batch, job.outcomes, job.waiting)
        self._call_loop(self._answer, early)
        super()._make_durable(job)

    def _answer(self, job: Job) -> None:
        for future, outcome in job.outcomes:
            if not future.done() and not isinstance(outcome, Exception):
                future.set_result(outcome)


class _IndexFirstCommitter(Committer):
    """Commits the row before the bytes that it names."""

    def _write(self, batch: Batch) -> None:
        self._index.commit()
        if batch.buffers:
            self._disk.append(self._segment.fd, batch.buffers, self._segment.end)


def _open_unsynced(path: Path) -> WriteIndex:
    return WriteIndex(path, synchronous="OFF")


def _early(parts: CommitterParts) -> Committer:
    return _EarlyCommitter(parts)


MISTAKES: dict[str, StoreOptions] = {
    "no segment sync": StoreOptions(disk=_NoRecordSync()),
    "reply before sync": StoreOptions(committer=_early),
    "no directory sync": StoreOptions(disk=_NoDirectorySync()),
    "index commit before segment sync": StoreOptions(committer=_IndexFirstCommitter),
    "segment header unsynced": StoreOptions(disk=_NoSegmentHeaderSync()),
    "index not FULL": StoreOptions(open_index=_open_unsynced, checkpoint_synchronous="OFF"),
    "large file unsynced": StoreOptions(disk=_NoLargeSync()),
}

DISK_FULL = errno.ENOSPC
BROKEN = errno.EIO

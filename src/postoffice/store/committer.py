"""The committer: gathers the changes of one process into batches and makes each durable in one go.

Owns the order of a batch: commit lock (tried at once by the loop; when another process has it the helper thread
waits), judging and rows on the loop, then in the helper thread the records by one synced write, then COMMIT with
synchronous=FULL, then the lock falls and all waiting futures are resolved by one hop to the loop. Bytes are on the
disk before the row that names them, the row before the answer. The loop never waits for the disk; a batch is what came
while the one before was at the disk.

Failures: ROLLBACK and a `StoreFailure` for the whole batch. After a failed write the segment is sealed and a new one
begun. After an I/O error of the index nobody may commit or checkpoint until the index has been copied
(`recovery.repair_index`): this process keeps the commit lock while it tries.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import apsw

from postoffice.base.clock import Clock
from postoffice.base.durable import Disk
from postoffice.base.errors import PostOfficeError, UsageError
from postoffice.base.locks import LockFile
from postoffice.store.batch import Batch, FolderCache
from postoffice.store.index import INDEX_NAME, WriteIndex
from postoffice.store.model import Arrival, Change, Committed, Failure, LargeFile, StoreFailure
from postoffice.store.recovery import COMMIT_BYTE, Slot, build_repair_check, end_incarnation, mark_repair, repair_index
from postoffice.store.segments import SERIAL_BITS, ActiveSegment, get_large_path, get_segment_path

_log = logging.getLogger(__name__)

_MAX_CHANGES = 400             # of one batch: bounds how long the loop prepares rows and the lock is held
_MAX_BYTES = 16 << 20
_REPAIR_PAUSE_SECONDS = 1.0
_END_PATIENCE_SECONDS = 3.0

Waiting = tuple[Change, "asyncio.Future[Committed]"]
Outcome = tuple["asyncio.Future[Committed]", "Committed | Exception"]


@dataclass(slots=True)
class CommitterParts:
    """What a committer works with. ``release`` says whether a dead segment (id, slot) may be unlinked: not before
    the trace has read it. ``after_commit`` is told the WAL's frames, in the helper thread."""

    directory: Path
    disk: Disk
    clock: Clock
    slot: Slot
    index: WriteIndex
    open_index: Callable[[Path], WriteIndex]
    segment: ActiveSegment
    segment_size: int
    release: Callable[[int, int], bool]
    after_commit: Callable[[int], None]


class Job:
    """A prepared batch on its way to the disk; ``batch`` is None when it could not be prepared."""

    __slots__ = ("batch", "error", "outcomes", "waiting")

    def __init__(self, batch: Batch | None, outcomes: list[Outcome], waiting: list[Waiting]) -> None:
        self.batch = batch
        self.outcomes = outcomes
        self.waiting = waiting
        self.error: Exception | None = None


class Committer:
    """One per process. `submit` and everything else public is called on the loop's thread.

    ``lock_patience_seconds``: what waits longer for the commit lock is refused; its holder hangs or repairs.
    """

    lock_patience_seconds = 30.0
    close_patience_seconds = 20.0

    def __init__(self, parts: CommitterParts) -> None:
        self._parts = parts
        self._disk = parts.disk
        self._index = parts.index
        self._segment = parts.segment
        # Texts, not Paths: they are asked for at every batch.
        self._index_path = str(parts.directory / INDEX_NAME)
        self._is_repair_pending = build_repair_check(parts.directory)
        self._pid = str(os.getpid())
        self._sealing: list[int] = []
        self._fresh = True                  # the active segment has no row yet
        self._failed = False                # the active segment must not be written again
        self._serial = parts.segment.id & ((1 << SERIAL_BITS) - 1)
        self._lock = LockFile(parts.slot.lock.path)
        self._folders = FolderCache()
        self._waiting: deque[Waiting] = deque()
        self._busy = False
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stop_repair = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="store-commit", daemon=True)
        self._thread.start()
        # The helper must get the interpreter back quickly while it holds the commit lock.
        sys.setswitchinterval(0.0001)

    @property
    def last_commit(self) -> int:
        """The number of this process's last commit."""
        return self._folders.commit

    @property
    def position(self) -> tuple[int, int]:
        """(segment, offset) up to which this process's records are committed."""
        return self._segment.id, self._segment.end

    def submit(self, change: Change) -> asyncio.Future[Committed]:
        """A future that gives `Committed` once the change is durable, or raises `StoreFailure`."""
        if self._stopping:
            refused: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreFailure(Failure.STOPPING))
            return refused
        return self._enqueue(change)

    def _enqueue(self, change: Change) -> asyncio.Future[Committed]:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Committed] = loop.create_future()
        self._waiting.append((change, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start)
        return future

    async def wait_idle(self) -> None:
        """Until nothing waits or is under way."""
        if self._busy:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter

    async def close(self) -> None:
        """Refuse new changes, finish those that wait, end the thread. Bounded by ``close_patience_seconds`` when the
        commit lock does not come: then what waits is refused and the thread left to the end of the process."""
        self._stopping = True
        try:
            await asyncio.wait_for(self.wait_idle(), self.close_patience_seconds)
        except TimeoutError:
            self._stop_repair.set()
            self._refuse_waiting()
            self._stop_patience()
            return
        self._stop_repair.set()
        self._jobs.put(self._end)
        self._jobs.put(None)
        while self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._index.close()
        self._segment.close()
        self._lock.close()

    # On the loop.

    def _start(self) -> None:
        if not self._waiting:
            self._busy = False
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)
            self._idle.clear()
        elif self._failed or self._segment.end >= self._parts.segment_size:
            self._jobs.put(self._roll)
        elif self._lock.try_lock(COMMIT_BYTE):
            self._prepare()
        else:
            assert self._loop is not None
            self._patience = self._loop.call_later(self.lock_patience_seconds, self._refuse_waiting)
            self._jobs.put(self._wait_for_lock)

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse_waiting(self) -> None:
        """The lock does not come: what waits is told to try again; we go on waiting for the lock."""
        _log.error("the commit lock was not free for %g s; its holder's pid stands in %s",
                   self.lock_patience_seconds, self._lock.path)
        assert self._loop is not None
        self._patience = self._loop.call_later(self.lock_patience_seconds, self._refuse_waiting)
        failure = StoreFailure(Failure.IO_ERROR, "the store is locked")
        waiting, self._waiting = self._waiting, deque()
        self._refuse_all(list(waiting), failure)

    def _prepare(self) -> None:
        """The lock is held: take what waits, judge it, write its rows, hand it to the helper."""
        self._stop_patience()
        if self._is_repair_pending():
            self._jobs.put(self._take_over_repair)
            return
        waiting = self._gather()
        outcomes: list[Outcome] = []
        try:
            if self._index_moved():
                self._reopen_index()
            self._index.begin()
            batch = Batch(
                self._index, self._folders, self._segment.id, self._segment.end, self._parts.clock.now())
            if self._folders.commit < 0:
                self._lock.write_note(self._pid)     # somebody else had the lock: now it is ours
            if self._fresh:
                self._index.insert_segment(self._segment.id, self._parts.slot.number, self._segment.end)
            self._apply(batch, waiting, outcomes)
            batch.finish()
            self._tend_segments(batch)
        except (apsw.Error, OSError) as error:
            self._put_failed(waiting, error)
        except Exception as error:      # noqa: BLE001 - a bug, logged: none of the batch may be half made
            _log.exception("a batch could not be prepared")
            self._put_failed(waiting, error)
        else:
            job = Job(batch, outcomes, waiting)
            self._jobs.put(lambda: self._make_durable(job))

    def _put_failed(self, waiting: list[Waiting], error: Exception) -> None:
        job = Job(None, [], waiting)
        job.error = error
        self._jobs.put(lambda: self._give_up(job))

    def _gather(self) -> list[Waiting]:
        taken: list[Waiting] = []
        size = 0
        waiting = self._waiting
        while waiting and len(taken) < _MAX_CHANGES and size < _MAX_BYTES:
            change, future = waiting.popleft()
            if future.cancelled():
                continue
            taken.append((change, future))
            if type(change) is Arrival and type(change.body) is bytes:
                size += len(change.body)
        return taken

    def _apply(self, batch: Batch, waiting: list[Waiting], outcomes: list[Outcome]) -> None:
        for change, future in waiting:
            try:
                outcomes.append((future, Committed(batch.commit, batch.apply(change))))
                if batch.rest is not None:
                    self._defer(batch.rest, outcomes)
                    batch.rest = None
            except (StoreFailure, UsageError) as refusal:
                outcomes.append((future, refusal))
                batch.dead_large.extend(self._find_unclaimed([(change, future)]))

    def _defer(self, rest: Change, outcomes: list[Outcome]) -> None:
        """A long removal goes on in the next batch, so that others need not wait for all of it."""
        future, outcome = outcomes.pop()
        assert isinstance(outcome, Committed)
        loop = self._loop
        assert loop is not None
        step: asyncio.Future[Committed] = loop.create_future()
        step.add_done_callback(lambda done: self._go_on(done, rest, future))
        outcomes.append((step, outcome))

    def _go_on(self, done: asyncio.Future[Committed], rest: Change, future: asyncio.Future[Committed]) -> None:
        if future.done():
            return
        removed = done.result().uids

        def finished(last: asyncio.Future[Committed]) -> None:
            if future.done():
                return
            failure = last.exception()
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(Committed(last.result().commit, removed + last.result().uids))

        self._enqueue(rest).add_done_callback(finished)

    def _find_unclaimed(self, waiting: list[Waiting]) -> list[str]:
        """Large files of refused arrivals that no row names (a repeated delivery may name a living one)."""
        return [
            change.body.name for change, _ in waiting
            if type(change) is Arrival and type(change.body) is LargeFile
            and not self._index.has_large(change.body.name)]

    def _tend_segments(self, batch: Batch) -> None:
        """Seal what was left behind, drop the rows of segments that are wholly dead."""
        for segment in self._sealing:
            self._index.seal_segment(segment)
        if self._sealing or batch.has_freed:
            for segment, slot in self._index.list_dead_segments():
                if self._parts.release(segment, slot):
                    self._index.delete_segment(segment)
                    batch.dead_segments.append(segment)

    def _finish(self, job: Job) -> None:
        """One hop resolves the whole batch; what waits is begun after the answers are out."""
        if job.error is None:
            for future, outcome in job.outcomes:
                if future.done():
                    continue
                if isinstance(outcome, Committed):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)
        else:
            self._refuse_all(job.waiting, _describe(job.error))
        assert self._loop is not None
        self._loop.call_soon(self._start)

    def _refuse_all(self, waiting: list[Waiting], failure: StoreFailure) -> None:
        for _change, future in waiting:
            if not future.done():
                # An exception of its own for each: raising one object in many tasks mixes their tracebacks.
                future.set_exception(StoreFailure(failure.failure, failure.detail))

    def _index_moved(self) -> bool:
        """Whether another process has put a repaired copy in the index's place."""
        return os.stat(self._index_path).st_ino != self._index.inode

    def _reopen_index(self) -> None:
        self._index.close()
        self._folders.clear()
        self._index = self._parts.open_index(Path(self._index_path))

    # In the helper thread.

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _call_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            _log.error("the event loop ended before the store was closed")

    def _wait_for_lock(self) -> None:
        self._lock.lock(COMMIT_BYTE)
        self._call_loop(self._prepare)

    def _end(self) -> None:
        """A clean end: the segment is sealed, one without a record removed. What fails here the next start tidies."""
        if not self._lock.try_lock_for(COMMIT_BYTE, _END_PATIENCE_SECONDS):
            return
        try:
            if self._is_repair_pending():
                return
            if self._index_moved():
                self._reopen_index()
            if self._fresh:                     # before the slot is given up: from then on nothing tells whose it was
                self._unlink([self._segment.id], [])
            end_incarnation(self._index, self._parts.slot.number, None if self._fresh else self._segment.id)
        except (apsw.Error, OSError) as error:
            _log.error("the store could not be ended cleanly: %s", error)
        finally:
            self._lock.unlock(COMMIT_BYTE)

    def _write(self, batch: Batch) -> None:
        """The two syncs, in the order that everything rests on."""
        if batch.buffers:
            self._disk.append(self._segment.fd, batch.buffers, self._segment.end)
            self._disk.step("records-synced")
        self._index.commit()

    def _make_durable(self, job: Job) -> None:
        batch = job.batch
        assert batch is not None
        try:
            self._disk.step("rows-prepared")
            self._write(batch)
        except (apsw.Error, OSError) as error:
            job.error = error
        except Exception as error:      # noqa: BLE001 - a bug, logged: temporary for whoever waits
            _log.exception("a batch could not be written")
            job.error = error
        if job.error is not None:
            self._give_up(job)
            return
        self._segment.end = batch.end
        self._folders.commit = batch.commit
        self._fresh = False
        self._sealing.clear()
        self._disk.step("index-committed")
        self._lock.unlock(COMMIT_BYTE)
        self._call_loop(self._finish, job)
        self._parts.after_commit(self._index.frames)
        if batch.dead_segments or batch.dead_large:
            self._unlink(batch.dead_segments, batch.dead_large)

    def _give_up(self, job: Job) -> None:
        """Roll back, learn what broke, answer the batch."""
        error = job.error
        assert error is not None
        _log.error("a batch of %d changes failed: %s", len(job.waiting), error)
        self._folders.clear()
        if isinstance(error, OSError):
            self._failed = True
        broken = isinstance(error, apsw.IOError)
        try:
            self._index.rollback()
        except apsw.Error as rollback_error:
            _log.error("the rollback failed too: %s", rollback_error)
            broken = True
        if not broken:
            unclaimed = self._find_unclaimed(job.waiting)
            self._lock.unlock(COMMIT_BYTE)
            self._call_loop(self._finish, job)
            self._unlink([], unclaimed)
            return
        self._call_loop(self._refuse_all, job.waiting, _describe(error))
        try:
            mark_repair(self._parts.directory)
        except OSError as mark_error:
            _log.error("the index's fault cannot be marked: %s", mark_error)
        self._repair()
        self._lock.unlock(COMMIT_BYTE)
        self._call_loop(self._finish, job)

    def _take_over_repair(self) -> None:
        """A process died while it repaired the index; the lock is ours, so its work is too."""
        self._repair()
        self._folders.clear()
        if self._stop_repair.is_set():
            self._lock.unlock(COMMIT_BYTE)
            self._call_loop(self._start)
        else:
            self._call_loop(self._prepare)

    def _repair(self) -> None:
        """The index met an I/O error: copy it before anybody commits or checkpoints again. The commit lock stays
        held; what other processes have waiting is refused by their patience."""
        broken = self._index
        while not self._stop_repair.is_set():
            try:
                repair_index(self._parts.directory, self._disk)
                self._index = self._parts.open_index(Path(self._index_path))
                broken.close()
            except (apsw.Error, OSError, PostOfficeError) as error:
                _log.critical("the index cannot be repaired now, no mail is taken: %s", error)
                self._call_loop(self._refuse_broken)
                self._stop_repair.wait(_REPAIR_PAUSE_SECONDS)
            else:
                _log.warning("the index met an input/output error and was copied anew")
                return

    def _refuse_broken(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._refuse_all(list(waiting), StoreFailure(Failure.IO_ERROR, "the index is being repaired"))
        if self._stopping:
            self._stop_repair.set()

    def _roll(self) -> None:
        """Begin a new segment; the old one is sealed by the next batch."""
        segment = (self._segment.id >> SERIAL_BITS << SERIAL_BITS) | self._serial + 1
        try:
            self._serial += 1
            new = ActiveSegment.create(self._disk, self._parts.directory, segment, self._parts.slot.number)
        except OSError as error:
            _log.error("a new segment cannot be begun: %s", error)
            self._call_loop(self._roll_failed, error)
            return
        if self._fresh:
            self._unlink([self._segment.id], [])        # failed at its first record: no row names it
        else:
            self._sealing.append(self._segment.id)
        self._segment.close()
        self._segment = new
        self._fresh = True
        self._failed = False
        self._call_loop(self._start)

    def _roll_failed(self, error: OSError) -> None:
        self._refuse_all(self._gather(), _describe(error))
        self._start()

    def _unlink(self, segments: list[int], large: list[str]) -> None:
        paths = [get_segment_path(self._parts.directory, s) for s in segments]
        paths += [get_large_path(self._parts.directory, name) for name in large]
        for path in paths:
            try:
                self._disk.unlink(path)
            except OSError as error:
                _log.error("%s cannot be removed: %s", path, error)
        self._disk.step("dead-unlinked")


def _describe(error: Exception) -> StoreFailure:
    if isinstance(error, StoreFailure):
        return error
    full = isinstance(error, apsw.FullError) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
    return StoreFailure(Failure.DISK_FULL if full else Failure.IO_ERROR, str(error))

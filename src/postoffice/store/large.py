"""Large messages: a body over 1 MiB streams into a file of its own while it arrives, off the loop, in constant memory.

Owns the writing of files under ``large/``; a message's row names the file later. Invariant: `LargeWriter.finish` gives
a `LargeFile` only after the bytes and the directory are synced, outside the commit lock. A file that no row comes to
name is removed by whoever gave up, or by the next start that is alone.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from postoffice.base.durable import Disk
from postoffice.store.model import Failure, LargeFile, StoreFailure
from postoffice.store.segments import build_large_name, get_large_path

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class FileLargeWriter:
    """See `store.api.LargeWriter`. A failed `write` or `finish` raises StoreFailure; then only `discard` is left."""

    def __init__(self, pool: ThreadPoolExecutor, disk: Disk, directory: Path, message_id: int) -> None:
        self._pool = pool
        self._disk = disk
        self._name = build_large_name(message_id)
        self._path = get_large_path(directory, self._name)
        # A cancelled `write` may still be running in the pool when `discard` comes.
        self._guard = threading.Lock()
        self._fd = -1
        self._size = 0
        self._crc = 0
        self._given_up = False
        self._finished = False

    async def write(self, chunks: Sequence[bytes]) -> None:
        await self._run(lambda: self._write(chunks))

    async def examine(self, work: Callable[[Callable[[int, int], bytes]], _T]) -> _T:
        return await self._run(lambda: self._examine(work))

    async def finish(self) -> LargeFile:
        return await self._run(self._finish)

    def discard(self) -> None:
        """Give up: the file is removed. After `finish` the file belongs to the change that names it, and the store
        removes it when that change is refused; then this does nothing."""
        if not self._finished and not self._given_up:
            self._given_up = True
            self._pool.submit(self._discard)

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise StoreFailure(Failure.DISK_FULL if full else Failure.IO_ERROR, str(error)) from error

    def _write(self, chunks: Sequence[bytes]) -> None:
        with self._guard:
            if self._given_up:
                return
            if self._fd < 0:
                self._fd = self._disk.create(self._path)
                self._disk.step("large-created")
            for chunk in chunks:
                self._disk.write(self._fd, chunk)
                self._crc = zlib.crc32(chunk, self._crc)
                self._size += len(chunk)
            self._disk.step("large-written")

    def _examine(self, work: Callable[[Callable[[int, int], bytes]], _T]) -> _T:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return work(lambda offset, length: os.pread(descriptor, length, offset))
        finally:
            os.close(descriptor)

    def _finish(self) -> LargeFile:
        self._write(())
        with self._guard:
            self._disk.sync(self._fd)
            self._disk.step("large-synced")
            self._disk.sync_directory(self._path.parent)
            self._disk.step("large-directory-synced")
            self._finished = True
            self._close()
            return LargeFile(self._name, self._size, self._crc)

    def _discard(self) -> None:
        with self._guard:
            if self._fd >= 0:
                self._close()
                try:
                    self._disk.unlink(self._path)
                except OSError as error:
                    _log.error("%s cannot be removed: %s", self._path, error)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

"""What reaches the disk and stays there: the only place that renames files, and where syncs are spelled out.

`Disk` is the real one. It is a class so that tests can stand between: a subclass kills the process at a named step,
answers ENOSPC or EIO, or leaves a sync out to prove that the power-cut checker notices. Programs use it as it is.

Invariants: a file is synced before it is renamed to its final name, and the directory after; a created file's
directory is synced before anything refers to it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_IOV_MAX = 1024
_DSYNC: int = getattr(os, "RWF_DSYNC", 0)


class Disk:
    """Durable file operations. All block; all raise OSError."""

    __slots__ = ()

    def step(self, name: str) -> None:
        """A durable step named ``name`` has just been taken. Crash tests override this; here it does nothing."""

    def create(self, path: Path) -> int:
        """A new file, opened for reading and writing. FileExistsError when there is one already."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def append(self, fd: int, buffers: Sequence[bytes], offset: int) -> None:
        """Write ``buffers`` at ``offset`` and have them on the disk on return: one system call where the kernel
        takes it whole."""
        total = sum(map(len, buffers))
        if _DSYNC and len(buffers) <= _IOV_MAX:
            written = os.pwritev(fd, buffers, offset, _DSYNC)
            if written == total:
                return
        else:
            written = 0
        rest = memoryview(b"".join(buffers))
        while written < total:
            written += os.pwrite(fd, rest[written:], offset + written)
        self.sync(fd)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data`` at the file's position; not synced."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest):]

    def sync(self, fd: int) -> None:
        """The file's bytes and size are on the disk on return."""
        os.fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        """The names in the directory are on the disk on return."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a directory and sync it. The source's bytes must have been synced before."""
        os.rename(source, target)
        self.sync_directory(target.parent)

    def unlink(self, path: Path) -> None:
        """Remove a file; a missing one is no error. Not synced: what no row refers to may come back."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents as far as missing, each one's name synced."""
        if not path.is_dir():
            self.make_directory(path.parent)
            path.mkdir(mode=0o700, exist_ok=True)
            self.sync_directory(path.parent)

    def write_file_atomically(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """``path`` holds either what it held before or all of ``data``, whatever happens meanwhile."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            try:
                os.fchmod(fd, mode)
                self.write(fd, data)
                self.sync(fd)
            finally:
                os.close(fd)
            self.step("file-synced")
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.step("file-renamed")
        self.sync_directory(path.parent)
        self.step("file-finished")


DISK = Disk()
write_file_atomically = DISK.write_file_atomically
sync_directory = DISK.sync_directory
make_directory = DISK.make_directory

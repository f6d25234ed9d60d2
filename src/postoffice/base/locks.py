"""Kernel byte-range locks on open file descriptions (OFD, Linux 3.15): between processes and within one.

Owns how a lock is taken; which byte of which file means what is its user's business. An OFD lock belongs to one
`open`: two `LockFile`s of one process exclude each other like two processes do, closing another descriptor of the
file drops nothing (as `lockf` would), and the kernel frees it when its holder dies. Never fork without exec: a child
would keep its parent's locks.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path
from types import TracebackType

# struct flock: type, whence, start, length, pid (0 for OFD), padding.
_FLOCK = struct.Struct("@hhqqi4x")


class LockFile:
    """One open file description on a lock file, made when missing. Locks single bytes; blocking calls may be made
    from any thread and release the interpreter."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.path = path

    def try_lock(self, byte: int = 0) -> bool:
        """Take the lock if it is free. True when held now (also when this object held it already)."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _pack(fcntl.F_WRLCK, byte))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def lock(self, byte: int = 0) -> None:
        """Wait until the lock is ours. Blocks the calling thread: never on the loop."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, _pack(fcntl.F_WRLCK, byte))

    def try_lock_for(self, byte: int, seconds: float) -> bool:
        """Try until it is ours or the time is up. Blocks the calling thread; for ends that must not hang."""
        deadline = time.monotonic() + seconds
        while not self.try_lock(byte):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def unlock(self, byte: int = 0) -> None:
        """Give the lock up; nothing happens when it is not held."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _pack(fcntl.F_UNLCK, byte))

    def is_locked(self, byte: int = 0) -> bool:
        """Whether another open file description (of any process) holds the lock."""
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _pack(fcntl.F_WRLCK, byte))
        assert isinstance(answer, bytes)
        kind: int = _FLOCK.unpack(answer)[0]
        return kind != fcntl.F_UNLCK

    def write_note(self, text: str) -> None:
        """Leave a word in the file (the holder's pid), for a human or the supervisor. Not durable."""
        os.pwrite(self._fd, text.encode().ljust(32), 0)

    def close(self) -> None:
        """Drop all locks taken through this object. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> LockFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None,
    ) -> None:
        self.close()


def try_hold(path: Path, byte: int = 0) -> LockFile | None:
    """A `LockFile` of its own that holds ``byte``, to be closed to free it; None when somebody else has it."""
    lock = LockFile(path)
    if lock.try_lock(byte):
        return lock
    lock.close()
    return None


def _pack(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)

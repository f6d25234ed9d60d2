"""Who works on the spool: its owner. Root becomes the owner before a file is opened; anybody else is refused.

A command keeps the way back to its caller for one purpose: files named on a command line are read as the caller.
Owns the effective user and group of a command's process; the server's own, complete drop is `dispatch.privileges`.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postoffice.base.errors import InputError, PostOfficeError


def get_user_name(uid: int) -> str:
    """The name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"number {uid}"


def get_caller_name() -> str:
    """Who called the command, for the history: the user behind sudo where there is one."""
    return os.environ.get("SUDO_USER") or get_user_name(os.getuid())


def find_owner(path: Path) -> tuple[int, int]:
    """User and group id of a file or directory. Raises OSError."""
    status = path.stat()
    return status.st_uid, status.st_gid


def become_owner(path: Path) -> None:
    """Work as the owner of ``path`` from now on. Root becomes it, the owner is it; anybody else is refused."""
    check_may_work(path)
    uid, gid = find_owner(path)
    if os.geteuid() == uid:
        return
    _set_effective(uid, gid, os.getgrouplist(pwd.getpwuid(uid).pw_name, gid) if _has_name(uid) else [gid])


def check_may_work(path: Path) -> None:
    """Raises PostOfficeError for everybody but root and the owner of ``path``."""
    uid, _gid = find_owner(path)
    current = os.geteuid()
    if current not in (0, uid):
        owner = get_user_name(uid)
        raise PostOfficeError(
            f"The spool {path} belongs to {owner}, and you are {get_user_name(current)}.",
            f"Run the command as {owner} or as root (sudo -u {owner} ...).")


@contextmanager
def as_owner(path: Path) -> Iterator[None]:
    """For the time of the block work as the owner of ``path``; afterwards as before."""
    before = os.geteuid()
    become_owner(path)
    try:
        yield
    finally:
        if os.geteuid() != before:
            _become_caller()


@contextmanager
def as_caller() -> Iterator[None]:
    """For the time of the block be who called the command (root), not the spool's owner."""
    if os.getuid() != 0 or os.geteuid() == 0:
        yield
        return
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    _become_caller()
    try:
        yield
    finally:
        _set_effective(uid, gid, groups)


def read_as_caller(path: Path, field: str) -> bytes:
    """A file named on the command line, read with the caller's rights. Raises InputError naming ``field``."""
    with as_caller():
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(field, f"{path} cannot be read: {error.strerror}.") from None


def _become_caller() -> None:
    os.seteuid(0)
    os.setegid(os.getgid())


def _set_effective(uid: int, gid: int, groups: list[int]) -> None:
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True

"""Whether a user can get where the server has to: the interpreter, the program, the directories.

Answers with the directory in the way, judged by mode bits, owner and groups; what the kernel says beyond that (ACLs,
mount options) shows when it is tried.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

import postoffice
from postoffice.base.errors import PostOfficeError
from postoffice.operations.caller import get_user_name

_READ, _WRITE, _EXECUTE = 4, 2, 1


def check_program(uid: int, gid: int) -> None:
    """Whether the user can run this interpreter with this program. Raises PostOfficeError naming the obstacle."""
    for path in (Path(sys.executable), Path(sys.executable).resolve(), Path(os.__file__), Path(postoffice.__file__),
                 *_list_packages()):
        blocked = find_blocked(path, uid, gid)
        if blocked is not None:
            raise PostOfficeError(
                f"The user {get_user_name(uid)}, as whom the server runs, cannot reach {path}: "
                f"{blocked} is in the way.",
                f"Install Python and Post.Office where everybody may read (such as /opt), or: chmod a+rx {blocked}")


def check_directories(uid: int, gid: int, directories: Iterable[tuple[str, Path]], *,
                      may_make: bool = False) -> None:
    """Whether the user can write in each directory (or in its nearest existing parent make it).

    ``directories``: what it is ("mailbox directory") and where. ``may_make``: root makes what is missing and
    gives it to the user, who needs only a way there. Raises PostOfficeError naming what is in the way."""
    user = get_user_name(uid)
    for what, directory in directories:
        existing = directory
        while not existing.exists():
            existing = existing.parent
        blocked = find_blocked(existing, uid, gid)
        if blocked is not None and (may_make or blocked != existing):
            raise PostOfficeError(f"The {what} {directory} cannot be reached by the user {user}: "
                                  f"{blocked} is in the way.", f"Choose another directory, or: chmod a+x {blocked}")
        if may_make and existing != directory:
            continue
        if not existing.is_dir():
            raise PostOfficeError(f"The {what} {directory} cannot be used: {existing} is not a directory.",
                                  "Choose another directory.")
        if not _may(existing.stat(), uid, _list_groups(uid, gid), _WRITE | _EXECUTE):
            raise PostOfficeError(f"The {what} {directory} cannot be written by the user {user}: "
                                  f"{existing} is in the way.",
                                  f"Choose another directory, or: chown {user} {existing}")


def find_blocked(path: Path, uid: int, gid: int) -> Path | None:
    """The first directory on the way to ``path``, or the path itself, that the user may not pass (or read)."""
    groups = _list_groups(uid, gid)
    absolute = path.absolute()
    for directory in reversed(absolute.parents):
        if not _may(directory.stat(), uid, groups, _EXECUTE):
            return directory
    status = absolute.stat()
    wanted = _EXECUTE if stat.S_ISDIR(status.st_mode) else _READ
    return None if _may(status, uid, groups, wanted) else absolute


def _may(status: os.stat_result, uid: int, groups: set[int], wanted: int) -> bool:
    if uid == 0:
        return True
    if status.st_uid == uid:
        bits = status.st_mode >> 6
    elif status.st_gid in groups:
        bits = status.st_mode >> 3
    else:
        bits = status.st_mode
    return bits & wanted == wanted


def _list_groups(uid: int, gid: int) -> set[int]:
    try:
        return set(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return {gid}


def _list_packages() -> list[Path]:
    import apsw

    return [Path(apsw.__file__)]

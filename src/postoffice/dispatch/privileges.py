"""Dropping root for good: the process becomes the spool's owner and keeps one capability, CAP_NET_BIND_SERVICE.

Capabilities belong to threads: this runs before any thread is started. The order of the steps matters (each needs a
right that a later one takes). Where the drop fails the server refuses to start. Children are started by exec without
ambient capabilities and so have none. capabilities(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import pwd

from postoffice.base.errors import PostOfficeError

CAP_NET_BIND_SERVICE = 10
_LAST_CAP = 63
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 4, 8, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop_root(uid: int, gid: int) -> None:
    """Become user ``uid``, ``gid`` with CAP_NET_BIND_SERVICE (if we have it) and nothing else.

    Raises PostOfficeError when a step is refused; the process must then not go on."""
    permitted = get_permitted()
    try:
        _prctl(_PR_SET_KEEPCAPS, 1)
        for capability in range(_LAST_CAP + 1):
            if capability != CAP_NET_BIND_SERVICE and _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
                _prctl(_PR_CAPBSET_DROP, capability)
        os.setgroups(_list_groups(uid, gid))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _set_capabilities(permitted & (1 << CAP_NET_BIND_SERVICE))
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        forbid_new_privileges()
        _prctl(_PR_SET_DUMPABLE, 1)             # a change of user cleared it: debuggers and /proc need it
    except OSError as error:
        raise PostOfficeError(
            f"The privileges of root cannot be given up here ({error.strerror}), and the server does not run as root.",
            "Start it as the owner of the spool, or give the container the capabilities SETUID, SETGID and SETPCAP."
        ) from None
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise PostOfficeError("The privileges of root have not been given up; the server does not run as root.")


def forbid_new_privileges() -> None:
    """No program started from here on gains rights by set-user-id bits."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def clear_ambient() -> None:
    """Ambient capabilities (a service manager may have given some) pass through exec: our children get none."""
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def die_with_parent(signal_number: int) -> None:
    """Get this signal as soon as the parent has ended, however it ended. prctl(2), PR_SET_PDEATHSIG."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def get_permitted() -> int:
    """The permitted capabilities of this thread, as bits."""
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if _libc.capget(ctypes.byref(header), ctypes.byref(sets)):
        return 0
    return int(sets[0].permitted) | int(sets[1].permitted) << 32


def _set_capabilities(bits: int) -> None:
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    for index in range(2):
        word = bits >> 32 * index & 0xFFFFFFFF
        sets[index].effective = sets[index].permitted = word
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(sets)))


def _prctl(option: int, first: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(first), 0, 0, 0))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _list_groups(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]

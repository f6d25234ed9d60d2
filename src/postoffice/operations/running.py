"""Talking to the running server: one request and one answer over ``<spool>/control``, a line of JSON each.

What only running processes know or can do goes this way (status, stop, ports, "does every process obey?"); all else is
in the databases. The other end is `dispatch.control`.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from postoffice.base.errors import PostOfficeError

CONTROL_NAME = "control"
_CREDENTIALS = struct.Struct("@iII")    # pid, uid, gid: unix(7), SO_PEERCRED
_ANSWER_SECONDS = 45.0                  # longer than a graceful stop may take


def connect(spool: Path) -> socket.socket | None:
    """A connection to the running server, or None when none runs."""
    try:
        directory = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # A socket's path may have 107 bytes, a spool's more: the way over the descriptor is always short.
        connection.connect(f"/proc/self/fd/{directory}/{CONTROL_NAME}")
    except (FileNotFoundError, ConnectionRefusedError, PermissionError):
        connection.close()
        return None
    finally:
        os.close(directory)
    return connection


def is_running(spool: Path) -> bool:
    """Whether a server answers for this spool."""
    connection = connect(spool)
    if connection is None:
        return False
    connection.close()
    return True


def find_server_pid(spool: Path) -> int | None:
    """The pid of Dispatch, as the kernel says it for the other end of its socket; None when no server runs."""
    connection = connect(spool)
    if connection is None:
        return None
    with connection:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(packed)[0])


def ask(spool: Path, request: str, *, seconds: float = _ANSWER_SECONDS, **parameters: Any) -> dict[str, Any]:
    """Send a request and wait for its answer. Raises PostOfficeError when no server runs, when it does not answer in
    time and when it answers with an error."""
    connection = connect(spool)
    if connection is None:
        raise PostOfficeError("The server is not running.", "Start it with: postoffice start")
    with connection:
        connection.settimeout(seconds)
        try:
            connection.sendall(json.dumps({"request": request} | parameters).encode() + b"\n")
            line = _read_line(connection)
        except TimeoutError:
            raise PostOfficeError(f"The server has not answered within {seconds:.0f} seconds.",
                                  "See what it is doing with: postoffice status") from None
        except OSError:
            line = b""
    if not line:
        raise PostOfficeError("The server ended before it answered.", "Look at: postoffice status")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise PostOfficeError(answer["error"])
    return answer


def _read_line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data

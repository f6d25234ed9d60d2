"""The channel between Dispatch and one child: packets of JSON over a SOCK_SEQPACKET pair, sockets passed along.

Owns the framing alone. Dispatch's end never blocks: a child that does not read is a child that does not answer, and
the supervisor sees that by its deadlines.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

_MAX_PACKET = 128 * 1024
_MAX_DESCRIPTORS = 64

Message = dict[str, Any]


class Channel:
    """One end. Closing it tells the other."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> bool:
        """Send a packet. False when the other end is gone or does not read."""
        data = json.dumps(message).encode()
        try:
            if sockets:
                socket.send_fds(self._end, [data], [one.fileno() for one in sockets])
            else:
                self._end.send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self) -> tuple[Message | None, list[int]]:
        """The next packet with its descriptors; (None, []) when the other end has closed.

        Raises BlockingIOError when nothing is there."""
        try:
            data, descriptors, _flags, _address = socket.recv_fds(self._end, _MAX_PACKET, _MAX_DESCRIPTORS)
        except ConnectionResetError:
            return None, []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)       # Python 3.11 passes no flag for it to the kernel
        if not data:
            return None, []
        return json.loads(data), descriptors

    def close(self) -> None:
        self._end.close()


def open_channel_pair() -> tuple[Channel, socket.socket]:
    """Dispatch's end and the raw end to pass to a child."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(ours), theirs


def adopt(descriptor: int) -> Channel:
    """A child's end, inherited by number."""
    os.set_inheritable(descriptor, False)
    return Channel(socket.socket(fileno=descriptor))

"""The dialogues of `tests/dialogues/pop3`: with a session in memory and with a server on a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from postoffice.pop3.session import Pop3Session
from postoffice.testing.dialogues import Dialogue, list_dialogues, run_dialogue
from postoffice.testing.streams import MemoryWire
from tests.unit.test_pop3_live import Server, server

__all__ = ["server"]            # fixture

DIALOGUES = list_dialogues(Path(__file__).parent.parent / "dialogues" / "pop3")
BODIES = (b"Subject: one\r\n\r\nfirst\r\n", b"Subject: dots\r\n\r\n.\r\n..x\r\nlast\r\n")


class MemoryPeer:
    """A `testing.dialogues.Peer`: a session on a wire in memory, its tasks run between the lines."""

    def __init__(self, session: Pop3Session, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wire = MemoryWire()
        self._got = b""
        self._wire.open(session)
        self._take()

    def send(self, data: bytes) -> None:
        async def give() -> None:
            self._wire.give(data)
            for _ in range(10):
                await asyncio.sleep(0)
        self._loop.run_until_complete(give())
        self._take()

    def read_line(self) -> bytes | None:
        line, end, self._got = self._got.partition(b"\r\n")
        assert end or self._wire.closed, "nothing is said, and the connection stands"
        return line + end if end else None

    def _take(self) -> None:
        self._got += self._wire.take()


class SocketPeer:
    """A `testing.dialogues.Peer` over a connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read_line(self) -> bytes | None:
        return self._file.readline() or None

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def filled(server: Server) -> Iterator[Server]:
    for body in BODIES:
        server.put(body)
    yield server


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_on_a_socket(filled: Server, dialogue: Dialogue) -> None:
    peer = SocketPeer(filled.port)
    try:
        run_dialogue(dialogue, peer)
    finally:
        peer.close()


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_in_memory(filled: Server, dialogue: Dialogue) -> None:
    with asyncio.Runner() as runner:
        run_dialogue(dialogue, MemoryPeer(Pop3Session(filled.services), runner.get_loop()))


def test_there_are_dialogues() -> None:
    assert len(DIALOGUES) >= 5

"""A4, A10, A12, A17, A22 and E63 as far as they concern POP3: bytes beside STLS, endless and 8-bit lines, broken SASL, slow clients."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postoffice.base.clock import SystemClock
from postoffice.pop3.maildrop import Maildrops
from postoffice.pop3.services import Rules, Services
from postoffice.pop3.session import SIGN_IN_SECONDS, Pop3Session
from postoffice.store.memory import MemoryStore
from postoffice.testing.fakes import MemoryTrace
from postoffice.testing.signin import FakeSignIn
from postoffice.testing.streams import MemoryWire


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(MemoryStore(), FakeSignIn({"alice": "secret"}), Maildrops(tmp_path), MemoryTrace(), SystemClock(),
                    lambda: Rules("mail.example.test"))


Dialogue = Callable[[bytes], list[bytes]]


async def converse(services: Services, *pieces: bytes) -> bytes:
    wire = MemoryWire()
    wire.open(Pop3Session(services))
    wire.take()
    got = b""
    for piece in pieces:
        wire.give(piece)
        for _ in range(10):
            await asyncio.sleep(0)
        got += wire.take()
    return got


def test_a4_what_came_with_stls_is_nobodys(services: Services) -> None:
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        wire = MemoryWire()
        wire.open(Pop3Session(replace(services, context=lambda: context)))
        wire.take()
        wire.give(b"USER alice\r\nSTLS\r\nUSER mallory\r\nPASS x\r\nQU")
        assert wire.take() == b"+OK\r\n+OK Begin TLS\r\n"
        wire.secure()
        assert wire.take() == b"" and not wire.closed
        wire.give(b"PASS secret\r\n")
        assert wire.take().startswith(b"-ERR USER comes first"), "USER from before TLS is forgotten, half a line too"

    asyncio.run(main())


def test_a10_a_line_without_end(services: Services) -> None:
    async def main() -> None:
        session, wire = Pop3Session(services), MemoryWire()
        wire.open(session)
        wire.take()
        for _ in range(100):
            wire.give(b"A" * 65536)
        assert wire.closed and wire.take() == b"-ERR Line too long\r\n"
        assert session._engine.buffered == 0

    asyncio.run(main())


@pytest.mark.parametrize("line", [
    b"USER al\0ice", b"USER \xff\xfe", b"USER alice\x07", b"US\0ER alice", b"\xe3\x83\xa6 alice", b"USER \x1b[2J", b"PASS \0",
])
def test_a12_nul_and_8_bit(services: Services, line: bytes) -> None:
    got = asyncio.run(converse(services, line + b"\r\nNOOP x\r\n"))
    assert got.count(b"-ERR") == 2 and line[5:] not in got


@pytest.mark.parametrize("pieces", [
    (b"AUTH PLAIN\r\n", b"*\r\n"),
    (b"AUTH PLAIN\r\n", b"rubbish!\r\n"),
    (b"AUTH PLAIN =\r\n",),
    (b"AUTH PLAIN\r\n", b"\r\n"),
    (b"AUTH PLAIN %b\r\n" % base64.b64encode(b"\0al\0ice\0secret"),),
    (b"AUTH PLAIN %b\r\n" % base64.b64encode(b"mallory\0alice\0secret"),),
    (b"AUTH PLAIN %b\r\n" % base64.b64encode(b"\0\0secret"),),
    (b"AUTH PLAIN %b\r\n" % base64.b64encode(b"\0\xff\0secret"),),
    (b"AUTH PLAIN\r\n", base64.b64encode(b"\0alice\0" + b"x" * 7_500) + b"\r\n"),
    (b"AUTH LOGIN\r\n",),
    (b"AUTH PLAIN AA==\r\n", b"AUTH\0PLAIN\r\n"),
])
def test_a17_broken_sasl(services: Services, pieces: tuple[bytes, ...]) -> None:
    async def main() -> None:
        got = await converse(services, *pieces, b"STAT\r\n", b"CAPA\r\n")
        lines = [line for line in got.split(b"\r\n") if line != b"+ "]
        assert lines[0].startswith(b"-ERR") and b"+OK" in lines, "refused, and the session goes on"
        assert not isinstance(services.signin, FakeSignIn) or services.signin.tried == []

    asyncio.run(main())


def test_a17_before_tls_and_twice(services: Services) -> None:
    plain = b"AUTH PLAIN %b\r\n" % base64.b64encode(b"\0alice\0secret")
    got = asyncio.run(converse(services, plain, plain))
    assert got.startswith(b"+OK 0 messages") and got.endswith(b"-ERR Already signed in\r\n")
    services.maildrops.release(1)
    strict = replace(services, signin=FakeSignIn({"alice": "secret"}, clear_allowed=False))
    got = asyncio.run(converse(strict, plain, b"AUTH PLAIN\r\n", b"AUTH\r\n", b"USER alice\r\nPASS secret\r\n"))
    assert got.count(b"-ERR Sign-in needs TLS here\r\n") == 5 == got.count(b"\r\n")


def test_a22_who_does_not_sign_in_gets_no_more_time_by_talking(services: Services) -> None:
    async def main() -> None:
        wire = MemoryWire()
        wire.open(Pop3Session(services))
        assert wire.deadline == SIGN_IN_SECONDS
        wire.deadline = -1.0            # as noted on the wire; a later call would show
        wire.give(b"CAPA\r\nUSER alice\r\n")
        assert wire.deadline == -1.0
        wire.give(b"PASS secret\r\n")
        for _ in range(10):
            await asyncio.sleep(0)
        assert wire.deadline == 600.0

    asyncio.run(main())


@pytest.mark.parametrize("name", ["x" * 400, "%", "*", "../alice", "alice ", "ＡＬＩＣＥ", "alice@example.test@x"])
def test_e63_odd_names_are_only_wrong(services: Services, name: str) -> None:
    got = asyncio.run(converse(services, f"USER {name}\r\nPASS secret\r\n".encode()))
    assert got == b"+OK\r\n-ERR [AUTH] Wrong name or password\r\n"

"""POP3 sessions on a wire in memory: what a client sees, what the store and the lock see."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from postoffice.base.clock import SystemClock
from postoffice.policy.api import SignInFailure
from postoffice.pop3.answers import format_greeting
from postoffice.pop3.maildrop import Maildrops
from postoffice.pop3.protocol.commands import VERBS
from postoffice.pop3.services import Rules, Services
from postoffice.pop3.session import _HANDLERS, Pop3Session
from postoffice.store.memory import MemoryStore
from postoffice.store.model import Arrival, Failure, Placement
from postoffice.testing.fakes import MemoryTrace
from postoffice.testing.signin import FakeSignIn
from postoffice.testing.streams import TLS, MemoryWire


@dataclass
class Office:
    """A store, two accounts and what sessions need."""

    services: Services
    store: MemoryStore
    signin: FakeSignIn
    trace: MemoryTrace

    def open(self, wire: MemoryWire | None = None) -> MemoryWire:
        wire = wire or MemoryWire()
        wire.open(Pop3Session(self.services))
        return wire


@pytest.fixture
def office(tmp_path: Path) -> Office:
    store, signin, trace = MemoryStore(), FakeSignIn({"alice": "secret pass", "bob": "hidden"}), MemoryTrace()
    rules = Rules("mail.example.test")
    services = Services(store, signin, Maildrops(tmp_path), trace, SystemClock(), lambda: rules)    # type: ignore[arg-type]
    return Office(services, store, signin, trace)


async def put(store: MemoryStore, *bodies: bytes, account: int = 1) -> None:
    for body in bodies:
        put.number += 1     # type: ignore[attr-defined]
        await store.submit(Arrival(put.number, 0.0, b"", body, b"", 1, (Placement(account),)))    # type: ignore[attr-defined, misc]

put.number = 100            # type: ignore[attr-defined]


async def settle() -> None:
    """Let tasks and callbacks that are ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ask(wire: MemoryWire, data: bytes) -> bytes:
    wire.give(data)
    await settle()
    return wire.take()


async def sign_in(wire: MemoryWire, login: bytes = b"alice", password: bytes = b"secret pass") -> bytes:
    return await ask(wire, b"USER %b\r\nPASS %b\r\n" % (login, password))


Run = Callable[[], None]
ONE = b"Subject: one\r\n\r\nfirst\r\n"
DOTS = b"Subject: dots\r\n\r\n.\r\n..x\r\nlast\r\n"


def test_every_command_has_a_handler() -> None:
    assert set(_HANDLERS) == {verb.name for verb in VERBS}


def test_a_whole_session(office: Office) -> None:
    async def run() -> None:
        await put(office.store, ONE, DOTS)
        wire = office.open()
        assert wire.take() == b"+OK mail.example.test POP3 server (Post.Office) ready\r\n"
        assert await sign_in(wire) == b"+OK\r\n+OK 2 messages (%d octets)\r\n" % (len(ONE) + len(DOTS))
        assert await ask(wire, b"STAT\r\n") == b"+OK 2 %d\r\n" % (len(ONE) + len(DOTS))
        assert await ask(wire, b"list\r\n") == b"+OK 2 messages (%d octets)\r\n1 %d\r\n2 %d\r\n.\r\n" % (
            len(ONE) + len(DOTS), len(ONE), len(DOTS))
        assert await ask(wire, b"RETR 2\r\n") == (
            b"+OK %d octets\r\nSubject: dots\r\n\r\n..\r\n...x\r\nlast\r\n.\r\n" % len(DOTS))
        assert await ask(wire, b"TOP 2 1\r\n") == b"+OK\r\nSubject: dots\r\n\r\n..\r\n.\r\n"
        assert await ask(wire, b"TOP 1 0\r\n") == b"+OK\r\nSubject: one\r\n\r\n.\r\n"
        assert await ask(wire, b"TOP 1 99\r\n") == b"+OK\r\n" + ONE + b".\r\n"
        assert await ask(wire, b"DELE 1\r\n") == b"+OK\r\n"
        assert (await ask(wire, b"RETR 1\r\n")).startswith(b"-ERR No such message")
        assert (await ask(wire, b"DELE 1\r\n")).startswith(b"-ERR")
        assert await ask(wire, b"STAT\r\n") == b"+OK 1 %d\r\n" % len(DOTS)
        assert await ask(wire, b"LIST 2\r\n") == b"+OK 2 %d\r\n" % len(DOTS)
        assert (await ask(wire, b"UIDL 1\r\n")).startswith(b"-ERR")
        assert await ask(wire, b"QUIT\r\n") == b"+OK Bye\r\n"
        assert wire.closed
        wire.lose()
        again = office.open()
        again.take()
        assert b"1 messages" in await sign_in(again)
        assert [e.type.name for e in office.trace.events].count("Deleted") == 1
        assert [e.values[2:5] for e in office.trace.events if e.type.name == "Closed"] == [(1, 1, len(DOTS))]

    asyncio.run(run())


def test_uidl_is_the_same_in_every_session(office: Office) -> None:
    async def run() -> None:
        await put(office.store, ONE, DOTS)
        seen = []
        for _ in range(2):
            wire = office.open()
            await sign_in(wire)
            seen.append(await ask(wire, b"UIDL\r\n"))
            await ask(wire, b"QUIT\r\n")
        assert seen[0] == seen[1]
        assert len({line.split()[1] for line in seen[0].split(b"\r\n")[1:3]}) == 2

    asyncio.run(run())


def test_capabilities_follow_state_and_tls(office: Office) -> None:
    async def run() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        office.services = replace(office.services, context=lambda: context)
        office.signin.clear_allowed = False
        wire = office.open()
        wire.take()
        clear = (await ask(wire, b"CAPA\r\n")).split(b"\r\n")
        assert b"STLS" in clear and b"USER" not in clear and b"IMPLEMENTATION Post.Office" in clear
        assert not any(line.startswith(b"SASL") for line in clear)
        assert (await ask(wire, b"USER alice\r\nPASS secret pass\r\nAUTH PLAIN AGEAYg==\r\n")).count(b"-ERR") == 3
        assert office.signin.tried == []
        assert await ask(wire, b"STLS\r\nUSER injected\r\n") == b"+OK Begin TLS\r\n"
        assert wire.starting is context
        wire.secure()
        assert wire.take() == b"", "the injected USER must not be answered"
        secure = (await ask(wire, b"CAPA\r\n")).split(b"\r\n")
        assert b"STLS" not in secure and b"USER" in secure and b"SASL PLAIN SCRAM-SHA-256" in secure
        assert (await ask(wire, b"PASS secret pass\r\n")).startswith(b"-ERR USER comes first")
        assert (await ask(wire, b"STLS\r\n")).startswith(b"-ERR")
        assert b"messages" in await sign_in(wire)
        inside = (await ask(wire, b"CAPA\r\n")).split(b"\r\n")
        assert b"USER" not in inside and b"STLS" not in inside and b"TOP" in inside and b"EXPIRE NEVER" in inside

    asyncio.run(run())


@pytest.mark.parametrize(("failure", "start"), [
    (SignInFailure.WRONG, b"-ERR [AUTH] "), (SignInFailure.BANNED, b"-ERR [AUTH] "),
    (SignInFailure.BUSY, b"-ERR [SYS/TEMP] "), (SignInFailure.ACCESS, b"-ERR [SYS/PERM] "),
])
def test_refused_sign_in(office: Office, failure: SignInFailure, start: bytes) -> None:
    async def run() -> None:
        office.signin.failure = failure
        wire = office.open()
        wire.take()
        assert (await sign_in(wire)).removeprefix(b"+OK\r\n").startswith(start)
        assert (await ask(wire, b"STAT\r\n")).startswith(b"-ERR Sign in first")
        office.signin.failure = None
        assert b"+OK 0 messages" in await sign_in(wire)

    asyncio.run(run())


def test_an_exception_in_sign_in_is_temporary(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        office.signin.error = RuntimeError("secret internals")
        wire = office.open()
        wire.take()
        reply = await sign_in(wire)
        assert b"-ERR [SYS/TEMP]" in reply and b"internals" not in reply
        assert "secret internals" in caplog.text
        office.signin.error = None
        assert b"+OK 0 messages" in await sign_in(wire)

    asyncio.run(run())


def test_auth_plain(office: Office) -> None:
    async def run() -> None:
        for line in (b"AUTH PLAIN AGFsaWNlAHNlY3JldCBwYXNz\r\n", b"auth plain\r\nAGFsaWNlAHNlY3JldCBwYXNz\r\n",
                     b"AUTH PLAIN YWxpY2UAYWxpY2UAc2VjcmV0IHBhc3M=\r\n"):
            wire = office.open()
            wire.take()
            assert (await ask(wire, line)).removeprefix(b"+ \r\n").startswith(b"+OK 0 messages"), line
            await ask(wire, b"QUIT\r\n")
        wire = office.open()
        wire.take()
        assert (await ask(wire, b"AUTH PLAIN\r\n*\r\n")).startswith(b"+ \r\n-ERR")
        assert (await ask(wire, b"AUTH PLAIN !!!\r\n")).startswith(b"-ERR Invalid base64")
        assert (await ask(wire, b"AUTH PLAIN =\r\n")).startswith(b"-ERR [AUTH]")
        # authzid of somebody else
        assert (await ask(wire, b"AUTH PLAIN Ym9iAGFsaWNlAHNlY3JldCBwYXNz\r\n")).startswith(b"-ERR [AUTH]")
        assert (await ask(wire, b"AUTH NTLM\r\n")).startswith(b"-ERR Unknown mechanism")
        assert await ask(wire, b"AUTH\r\n") == b"+OK\r\nPLAIN\r\nSCRAM-SHA-256\r\n.\r\n"
        assert (await ask(wire, b"AUTH PLAIN\r\n" + b"A" * 4000 + b"\r\n")).startswith(b"+ \r\n-ERR Line too long")

    asyncio.run(run())


def scram(login: str, password: str, *, server: Callable[[bytes], bytes]) -> bytes:
    """A SCRAM-SHA-256 client (RFC 7677); ``server`` sends a line's data and gives the next challenge's."""
    first = f"n={login},r=clientnonce"
    reply = server(b"n,," + first.encode()).decode()
    fields = dict(part.split("=", 1) for part in reply.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without = f"c=biws,r={fields['r']}"
    signed = f"{first},{reply},{without}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    final = server(f"{without},p={base64.b64encode(proof).decode()}".encode())
    if final.startswith(b"v="):
        assert base64.b64decode(final[2:]) == hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    return final


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(("login", "password", "works"), [
    ("alice", "secret pass", True), ("alice", "wrong", False), ("nobody", "secret pass", False)])
def test_auth_scram(office: Office, login: str, password: str, works: bool, initial: bool) -> None:
    async def run() -> None:
        wire = office.open()
        wire.take()
        if not initial:
            assert await ask(wire, b"AUTH SCRAM-SHA-256\r\n") == b"+ \r\n"
        lead = [b"AUTH SCRAM-SHA-256 " if initial else b""]
        said: list[bytes] = []
        loop = asyncio.get_running_loop()

        def server(data: bytes) -> bytes:
            line = (lead.pop() if lead else b"") + base64.b64encode(data) + b"\r\n"
            reply = asyncio.run_coroutine_threadsafe(ask(wire, line), loop).result(10)
            said.append(reply)
            return base64.b64decode(reply[2:]) if reply.startswith(b"+ ") else reply

        final = await asyncio.to_thread(scram, login, password, server=server)
        if works:
            assert final.startswith(b"v=") and office.services.maildrops.try_take(1), "not yet signed in"
            office.services.maildrops.release(1)
            assert (await ask(wire, b"\r\n")).startswith(b"+OK 0 messages")
            assert await ask(wire, b"STAT\r\n") == b"+OK 0 0\r\n"
        else:
            assert final.startswith(b"-ERR [AUTH]")
            assert (await ask(wire, b"STAT\r\n")).startswith(b"-ERR Sign in first")

    asyncio.run(run())


@pytest.mark.parametrize(("answer", "start"), [(b"*\r\n", b"-ERR [AUTH] Cancelled"), (b"AAAA\r\n", b"-ERR [AUTH]"), (b"%\r\n", b"-ERR")])
def test_auth_scram_left_at_the_last_word(office: Office, answer: bytes, start: bytes) -> None:
    async def run() -> None:
        wire = office.open()
        loop = asyncio.get_running_loop()
        lead = [b"AUTH SCRAM-SHA-256 "]

        def server(data: bytes) -> bytes:
            line = (lead.pop() if lead else b"") + base64.b64encode(data) + b"\r\n"
            return base64.b64decode(asyncio.run_coroutine_threadsafe(ask(wire, line), loop).result(10)[2:])

        wire.take()
        assert (await asyncio.to_thread(scram, "alice", "secret pass", server=server)).startswith(b"v=")
        assert (await ask(wire, answer)).startswith(start)
        assert (await ask(wire, b"\r\n")).startswith(b"-ERR Unknown command")
        assert (await ask(wire, b"STAT\r\n")).startswith(b"-ERR Sign in first")

    asyncio.run(run())


def test_one_session_at_a_time(office: Office, tmp_path: Path) -> None:
    async def run() -> None:
        first, second = office.open(), office.open()
        await sign_in(first)
        assert b"-ERR [IN-USE]" in await sign_in(second)
        assert b"+OK 0 messages" in await sign_in(second, b"bob", b"hidden"), "another account is free"
        other_process = Maildrops(tmp_path)
        assert not other_process.try_take(1)
        assert await ask(first, b"QUIT\r\n") == b"+OK Bye\r\n"
        assert other_process.try_take(1), "free when QUIT is answered"
        other_process.close()
        third = office.open()
        assert b"+OK 0 messages" in await sign_in(third)
        third.lose()
        fourth = office.open()
        assert b"+OK 0 messages" in await sign_in(fourth), "free when the connection is lost"

    asyncio.run(run())


def test_the_lock_is_free_before_quit_is_answered(office: Office) -> None:
    class WatchingWire(MemoryWire):
        def write(self, data: bytes) -> None:
            if data.endswith(b"Bye\r\n"):
                free.append(office.services.maildrops.try_take(1))
            super().write(data)

    free: list[bool] = []

    async def run() -> None:
        await put(office.store, ONE)
        wire = office.open(WatchingWire())
        await sign_in(wire)
        await ask(wire, b"DELE 1\r\nQUIT\r\n")

    asyncio.run(run())
    assert free == [True]


def test_failed_removal_removes_nothing(office: Office) -> None:
    async def run() -> None:
        await put(office.store, ONE)
        wire = office.open()
        await sign_in(wire)
        office.store.fail(Failure.DISK_FULL)
        assert (await ask(wire, b"DELE 1\r\nQUIT\r\n")).startswith(b"+OK\r\n-ERR [SYS/TEMP]")
        assert wire.closed
        assert b"+OK 1 messages" in await sign_in(office.open())

    asyncio.run(run())


def test_quit_waits_for_the_removal(office: Office) -> None:
    async def run() -> None:
        await put(office.store, ONE)
        wire = office.open()
        await sign_in(wire)
        office.store.hold()
        assert await ask(wire, b"DELE 1\r\nQUIT\r\n") == b"+OK\r\n"
        assert not office.services.maildrops.try_take(1)
        wire.lose()
        office.store.release()
        await settle()
        assert office.services.maildrops.try_take(1), "free although the client did not wait"

    asyncio.run(run())


@pytest.mark.parametrize("ending", ["lost", "expired", "peer_closed", "shut_down", "rset"])
def test_nothing_is_removed_without_quit(office: Office, ending: str) -> None:
    async def run() -> None:
        await put(office.store, ONE)
        wire = office.open()
        assert isinstance(wire.session, Pop3Session)
        await sign_in(wire)
        await ask(wire, b"DELE 1\r\n")
        if ending == "lost":
            wire.lose()
        elif ending == "rset":
            assert b"+OK 1 messages" in await ask(wire, b"RSET\r\nQUIT\r\n")
        else:
            getattr(wire.session, ending)()
            assert wire.closed
            assert wire.take().startswith(b"-ERR [SYS/TEMP]") == (ending == "shut_down")
        assert b"+OK 1 messages" in await sign_in(office.open())

    asyncio.run(run())


def test_long_messages_follow_the_client(office: Office) -> None:
    body = b"Subject: long\r\n\r\n" + b".0123456789\r\n" * 100_000

    async def run() -> None:
        await put(office.store, body, ONE)
        wire = office.open(MemoryWire(high_water=100_000))
        await sign_in(wire)
        wire.give(b"RETR 1\r\nRETR 2\r\n")
        got = []
        while piece := wire.take():
            assert len(piece) < 300_000
            got.append(piece)
        want = b"+OK %d octets\r\n" % len(body) + body.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        want += b"+OK %d octets\r\n" % len(ONE) + ONE + b".\r\n"
        assert b"".join(got) == want and len(got) > 5
        assert (await ask(wire, b"TOP 1 2\r\n")).count(b"..0123456789\r\n") == 2

    asyncio.run(run())


def test_a_client_that_does_not_read_is_not_read(office: Office) -> None:
    async def run() -> None:
        await put(office.store, b"\r\n" + b"x" * 60_000 + b"\r\n")
        wire = office.open(MemoryWire(high_water=50_000))
        await sign_in(wire)
        wire.give(b"RETR 1\r\n" * 2_000)
        assert wire.paused
        count = 0
        while data := wire.take():
            count += data.count(b"+OK")
            await settle()
        assert count == 2_000 and not wire.paused

    asyncio.run(run())


def test_pipelined_replies_are_joined(office: Office) -> None:
    async def run() -> None:
        await put(office.store, *[ONE] * 10)
        wire = office.open()
        await sign_in(wire)
        before = wire.writes
        wire.give(b"".join(b"RETR %d\r\n" % n for n in range(1, 11)))
        assert wire.writes == before + 1
        assert wire.take().count(b"+OK 23 octets") == 10

    asyncio.run(run())


def test_a_vanished_message(office: Office) -> None:
    async def run() -> None:
        from postoffice.store.model import Expunge
        await put(office.store, ONE, DOTS)
        wire = office.open()
        await sign_in(wire)
        folder = office.store.find_folder(1, "INBOX")
        assert folder is not None
        uid = office.store.list_items(folder.id)[0].uid
        await office.store.submit(Expunge(folder.id, (uid,)))       # type: ignore[misc]
        assert await ask(wire, b"RETR 1\r\n") == b"-ERR The message is gone\r\n"
        assert (await ask(wire, b"RETR 2\r\n")).startswith(b"+OK")
        assert await ask(wire, b"DELE 1\r\nQUIT\r\n") == b"+OK\r\n+OK Bye\r\n"

    asyncio.run(run())


def test_a_withdrawn_right_ends_the_session(office: Office) -> None:
    async def run() -> None:
        await put(office.store, ONE, b"\r\n" + b"x" * 500_000)
        idle, reading = office.open(), office.open(MemoryWire(high_water=70_000))
        await sign_in(idle, b"bob", b"hidden")
        await sign_in(reading)
        reading.give(b"RETR 2\r\n")
        for wire in (idle, reading):
            assert isinstance(wire.session, Pop3Session)
            wire.session.recheck()
            assert not wire.closed
        office.signin.revoked |= {1, 2}
        for wire in (idle, reading):
            assert isinstance(wire.session, Pop3Session)
            wire.session.recheck()
        assert idle.closed and idle.take().startswith(b"-ERR [AUTH]")
        assert reading.aborted
        office.signin.revoked.clear()
        assert b"+OK 2 messages" in await sign_in(office.open())

    asyncio.run(run())


def test_commands_sent_before_the_end_are_answered(office: Office) -> None:
    async def run() -> None:
        await put(office.store, ONE)
        wire = office.open()
        wire.take()
        assert isinstance(wire.session, Pop3Session)
        wire.give(b"USER alice\r\nPASS secret pass\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
        wire.session.peer_closed()
        await settle()
        assert wire.take().count(b"+OK") == 5
        assert wire.closed
        assert b"+OK 0 messages" in await sign_in(office.open())

    asyncio.run(run())


def test_shut_down_lets_a_message_finish(office: Office) -> None:
    async def run() -> None:
        await put(office.store, b"\r\n" + b"x" * 200_000)
        wire = office.open(MemoryWire(high_water=70_000))
        await sign_in(wire)
        wire.give(b"RETR 1\r\nNOOP\r\n")
        assert isinstance(wire.session, Pop3Session)
        wire.session.shut_down()
        assert not wire.closed
        got = b""
        while data := wire.take():
            got += data
        assert got.count(b"x") == 200_000 and b"\r\n.\r\n" in got
        assert got.endswith(b"-ERR [SYS/TEMP] The server is stopping\r\n") and wire.closed

    asyncio.run(run())


def test_polling_too_often(office: Office) -> None:
    rules = Rules("mail.example.test", min_poll_seconds=300)
    office.services = replace(office.services, rules=lambda: rules)

    async def run() -> None:
        wire = office.open()
        assert b"LOGIN-DELAY 300" in await ask(wire, b"CAPA\r\n")
        assert b"+OK 0 messages" in await sign_in(wire)
        await ask(wire, b"QUIT\r\n")
        again = office.open()
        again.take()
        assert b"-ERR [LOGIN-DELAY]" in await sign_in(again)
        assert (await ask(again, b"STAT\r\n")).startswith(b"-ERR")
        assert b"+OK 0 messages" in await sign_in(office.open(), b"bob", b"hidden")

    asyncio.run(run())


def test_a_client_that_is_not_admitted(office: Office) -> None:
    rules = Rules("mail.example.test", admits=lambda client: str(client) != "192.0.2.7")
    office.services = replace(office.services, rules=lambda: rules)
    wire = office.open()
    assert wire.take().startswith(b"-ERR [SYS/PERM]") and wire.closed


def test_too_many_bad_commands(office: Office) -> None:
    async def run() -> None:
        wire = office.open()
        wire.take()
        reply = await ask(wire, b"WHAT\r\n" * 40)
        assert reply.count(b"-ERR") == 26 and wire.closed
        assert "ProtocolError" in [e.type.name for e in office.trace.events]

    asyncio.run(run())


def test_a_failing_store_is_temporary_trouble(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        await put(office.store, ONE)
        wire = office.open()
        await sign_in(wire)
        whole = office.store.open_message
        office.store.open_message = None        # type: ignore[assignment, method-assign]   # any bug will do
        assert (await ask(wire, b"RETR 1\r\n")).startswith(b"-ERR [SYS/TEMP]")
        office.store.open_message = whole       # type: ignore[method-assign]
        assert (await ask(wire, b"RETR 1\r\n")).startswith(b"+OK")
        assert "RETR failed" in caplog.text

    asyncio.run(run())


def test_greetings() -> None:
    assert format_greeting(Rules("h", banner="Hello <1.2@h>"), "1.0", 0.0) == b"+OK Hello (1.2@h)\r\n"
    assert format_greeting(Rules("h", compatible_banner=True), "1.0", 0.0).startswith(
        b"+OK h POP3 server (Post.Office v1.0 release ")
    assert b"1.0" not in format_greeting(Rules("h"), "1.0", 0.0)


def test_implicit_tls_counts_as_secure(office: Office) -> None:
    office.signin.clear_allowed = False

    async def run() -> None:
        assert b"+OK 0 messages" in await sign_in(office.open(MemoryWire(tls=TLS)))

    asyncio.run(run())

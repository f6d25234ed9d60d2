"""Attack cases A6, A11, A14, A15, A16 and A17 against a whole session in memory."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest

from postoffice.smtp.aborts import FREE
from postoffice.testing.smtp_rig import SmtpRig
from postoffice.testing.streams import TLS
from postoffice.trace import event_types as events

TARO = "taro@example.test"
BODY = b"Subject: one\r\n\r\nHello.\r\n"


def run(test: Callable[[SmtpRig], Awaitable[None]], **settings: str) -> SmtpRig:
    rigs: list[SmtpRig] = []

    async def main() -> None:
        rigs.append(SmtpRig(settings))
        await test(rigs[0])

    asyncio.run(main())
    return rigs[0]


def test_a06_nothing_survives_a_message_refused_after_the_dot() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        loop = b"Received: from a by b; x\r\n" * 31
        assert (await client.send(TARO, body=loop + BODY)).startswith("554 5.4.6 ")
        assert (await client.say(f"RCPT TO:<{TARO}>")).startswith("503 ")
        assert (await client.say("DATA")).startswith("503 ")
        # The filters start from zero: the next message is judged by itself.
        assert (await client.send(TARO)).startswith("250 ")
        assert client.session.facts.parsed is None and client.session.facts.sender is None

    rig = run(test)
    assert [summary.status for summary, _ in rig.trace.messages] == ["refused", "delivered"]


def test_a11_who_aborts_again_and_again_is_counted_and_slowed() -> None:
    async def test(rig: SmtpRig) -> None:
        for _ in range(FREE + 1):
            client = rig.connect()
            await client.ehlo()
            await client.begin(TARO)
            assert (await client.say("DATA")).startswith("354 ")
            await client.say(b"Subject: never ends\r\n" * 2_000)
            client.wire.lose()
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        assert await client.say("DATA") == ""           # not yet
        other = rig.connect(client="192.0.2.8")
        await other.ehlo()
        assert (await other.send(TARO)).startswith("250 ")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 5
        while not (reply := await client.wait(1)) and loop.time() < deadline:
            await asyncio.sleep(0.01)
        assert reply.startswith("354 ")
        assert (await client.say(BODY + b".\r\n")).startswith("250 ")
        assert rig.services.budget.held_bytes == 0

    rig = run(test)
    assert len(rig.trace.list_values(events.SMTP_ABORTED)) == FREE + 1
    assert len(rig.read(2)) == 2


@pytest.mark.parametrize(("announced", "limit", "code"), [
    ("0", "1000", "250"), ("1", "1000", "250"), ("999", "1000", "250"), ("1001", "1000", "552"),
    (str(2**64), "1000", "5"), ("-1", "1000", "501"), ("", "1000", "501"), ("1e3", "1000", "501"),
    ("99999999", "0", "250"),
])
def test_a14_announced_sizes(announced: str, limit: str, code: str) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        assert (await client.say(f"MAIL FROM:<a@example.org> SIZE={announced}")).startswith(code)

    run(test, MessageSize=limit)


@pytest.mark.parametrize("announced", ["", " SIZE=1", " SIZE=1000"])
@pytest.mark.parametrize(("size", "code"), [(1000, "250"), (1001, "552 5.3.4")])
def test_a14_what_arrives_is_judged_whatever_was_announced(announced: str, size: int, code: str) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.say("MAIL FROM:<a@example.org>" + announced)
        await client.say(f"RCPT TO:<{TARO}>")
        await client.say("DATA")
        assert (await client.say(b"x" * (size - 2) + b"\r\n.\r\n")).startswith(code)
        assert len(rig.read(2)) == (code == "250")
        assert rig.services.budget.held_bytes == 0

    run(test, MessageSize="1000")


def test_a14_no_limit_is_no_limit() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        assert "250-SIZE 0\r\n" in await client.ehlo()
        assert (await client.send(TARO)).startswith("250 ")

    run(test, MessageSize="0")


def test_a15_order() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        client.take()
        assert (await client.say("MAIL FROM:<a@example.org>")).startswith("503 ")
        await client.ehlo()
        assert (await client.say(f"RCPT TO:<{TARO}>")).startswith("503 ")
        assert (await client.say("MAIL FROM:<a@example.org>")).startswith("250 ")
        assert (await client.say("MAIL FROM:<b@example.org>")).startswith("503 ")
        await client.say(f"RCPT TO:<{TARO}>")
        await client.say("DATA")
        # Commands in the middle of a body are text.
        reply = await client.say(b"HELO x\r\nRSET\r\nQUIT\r\n.\r\n")
        assert reply.startswith("250 ") and not client.closed
        (copy,) = rig.read(2)
        assert copy.endswith(b"HELO x\r\nRSET\r\nQUIT\r\n") and copy.startswith(b"Return-Path: <a@example.org>")
        # RSET and EHLO end a transaction.
        for line in ("RSET", "EHLO again"):
            await client.begin(TARO)
            await client.say(line)
            assert (await client.say("DATA")).startswith("503 ")

    run(test)


def test_a15_quit_with_pending_data() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        await client.say("DATA")
        rig.store.hold()
        assert await client.say(BODY + b".\r\nQUIT\r\nNOOP\r\n") == ""
        rig.store.release()
        answer = await client.wait()
        assert [line[:3] for line in answer.splitlines()] == ["250", "221"] and client.closed
        assert len(rig.read(2)) == 1

    run(test)


@pytest.mark.parametrize(("address", "code"), [
    ("@a.example,@b.example:taro@example.test", "250"),        # a source route is dropped
    ("taro%example.org@example.test", "550 5.1.1"),            # the percent hack reaches nobody
    ("example.org!taro@example.test", "550 5.1.1"),
    ('""@example.test', "501"),
    ("x@[192.0.2.99]", "550 5.7.1"),
    ("x@[IPv6:2001:db8::99]", "550 5.7.1"),
    ("x@[IPv6:zz]", "501"),
    ("y" * 65 + "@example.test", "501"),
    ("x@" + "y" * 64 + ".example", "501"),
    ("x@" + "y.a" * 90, "501"),
    ("@example.test:taro@example.org", "550 5.7.1"),           # the route does not make it ours
])
def test_a16_addresses(address: str, code: str) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        assert (await client.begin(address))[1].startswith(code)

    run(test)


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("initial", [
    "=", "!!!!", encode(b"\0taro"), encode(b"\0ta\0ro\0taro-secret"), encode(b"hanako\0taro\0taro-secret"),
    encode(b"\0taro\0"), encode(b"\0\xff\0taro-secret"), encode(b"\0" + b"x" * 10_000 + b"\0y"),
])
@pytest.mark.parametrize("immediate", [True, False])
def test_a17_broken_plain(initial: str, immediate: bool) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        await client.ehlo()
        if immediate:
            reply = await client.say(f"AUTH PLAIN {initial}")
        else:
            assert (await client.say("AUTH PLAIN")).startswith("334 ")
            reply = await client.say("" if initial == "=" else initial)
        assert reply.startswith(("501 ", "500 ")), reply
        assert rig.signin.tried == []
        if not client.closed:
            assert (await client.say(f"MAIL FROM:<{TARO}>")).startswith("530 ")
            assert (await client.say(f"AUTH PLAIN {encode(b'%ctaro%ctaro-secret' % (0, 0))}")).startswith("235 ")

    run(test)


def test_a17_cancel_twice_and_out_of_place() -> None:
    async def test(rig: SmtpRig) -> None:
        right = encode(b"\0taro\0taro-secret")
        client = rig.connect(submission=True, tls=TLS)
        await client.ehlo()
        await client.say("AUTH PLAIN")
        assert (await client.say("*")).startswith("501 ")
        assert (await client.say(right)).startswith("500 ")         # no longer an answer
        assert (await client.say(f"AUTH PLAIN {right}")).startswith("235 ")
        assert (await client.say(f"AUTH PLAIN {right}")).startswith("503 ")
        # In a transaction.
        other = rig.connect(tls=TLS)
        await other.ehlo()
        await other.begin()
        assert (await other.say(f"AUTH PLAIN {right}")).startswith("503 ")
        # In clear, where it is not offered.
        rig.signin.clear_allowed = False
        clear = rig.connect(submission=True)
        await clear.ehlo()
        assert (await clear.say(f"AUTH PLAIN {right}")).startswith(("502 ", "538 "))
        assert len(rig.signin.tried) == 1

    run(test)


def test_a17_talk_behind_auth_ends_the_connection() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect(submission=True, tls=TLS)
        await client.ehlo()
        rig.signin.gate = asyncio.Event()
        await client.say(f"AUTH PLAIN {encode(b'%ctaro%ctaro-secret' % (0, 0))}")
        await client.say(f"MAIL FROM:<{TARO}>")
        rig.signin.gate.set()
        await client.wait()
        assert client.closed

    run(test)

"""An SMTP session with everything around it in memory: greeting, transactions, bodies, and when 250 is said."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from postoffice.message.parsed import unpack_parsed
from postoffice.smtp.body import LARGE_BYTES
from postoffice.store.model import Failure
from postoffice.testing.smtp_rig import SmtpRig
from postoffice.trace import event_types as events

TARO = "taro@example.test"
BODY = b"Subject: one\r\n\r\nHello.\r\n"
ID = r"[0-9A-HJKMNP-TV-Z]{13}"


def run(test: Callable[[SmtpRig], Awaitable[None]], **settings: str) -> SmtpRig:
    rigs: list[SmtpRig] = []

    async def main() -> None:
        rigs.append(SmtpRig(settings))
        await test(rigs[0])

    asyncio.run(main())
    return rigs[0]


def test_greeting_names_host_and_no_version() -> None:
    async def test(rig: SmtpRig) -> None:
        greeting = rig.connect().take()
        assert re.fullmatch(rf"220 mail\.example\.test ESMTP server ready {ID}\r\n", greeting)
        rig.change({"CompatibleBanner": "yes"})
        assert re.fullmatch(
            r"220 mail\.example\.test ESMTP server \(Post\.Office v0\.0 release \S+ ID# \S+\) ready .*\r\n",
            rig.connect().take())
        rig.change({"HideHostname": "yes"})
        assert rig.connect().take().startswith("220 example.test ESMTP")

    run(test)


def test_a_message_arrives() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        reply = await client.send(TARO, body=BODY)
        found = re.fullmatch(rf"250 2\.0\.0 Message accepted, id ({ID})\r\n", reply)
        assert found is not None
        (copy,) = rig.read(2)
        assert f"with ESMTP id {found[1]} for <{TARO}>;".encode() in copy and copy.endswith(BODY)
        assert (await client.say("QUIT")).startswith("221 ") and client.closed

    rig = run(test)
    ((summary, _),) = rig.trace.messages
    assert summary.client == "192.0.2.7" and summary.helo == "client.example.org"


@pytest.mark.parametrize(("greeting", "protocol"), [("HELO x", b"with SMTP id"), ("EHLO x", b"with ESMTP id")])
def test_protocol_words(greeting: str, protocol: bytes) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        client.take()
        await client.say(greeting)
        await client.send(TARO)
        assert protocol in rig.read(2)[0]

    run(test)


def test_250_waits_for_the_disk() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        rig.store.hold()
        assert await client.send(TARO) == ""
        assert rig.read(2) == []
        rig.store.release()
        assert (await client.wait()).startswith("250 2.0.0 ")
        assert len(rig.read(2)) == 1

    run(test)


@pytest.mark.parametrize(("failure", "reply"), [
    (Failure.DISK_FULL, "452 4.3.1 "), (Failure.IO_ERROR, "451 4.3.0 "), (Failure.STOPPING, "451 4.3.0 ")])
def test_a_failing_store_is_temporary_and_leaves_nothing(failure: Failure, reply: str) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        rig.store.fail(failure)
        answer = await client.send(TARO)
        assert answer.startswith(reply) and re.search(rf"\(id {ID}\)", answer)
        # Nothing of the transaction is left.
        assert (await client.say(f"RCPT TO:<{TARO}>")).startswith("503 ")
        assert (await client.send(TARO)).startswith("250 ")
        assert len(rig.read(2)) == 1

    run(test)


def test_pipelining_is_answered_with_one_write() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        before = client.wire.writes
        answer = await client.say(f"MAIL FROM:<a@example.org>\r\nRCPT TO:<{TARO}>\r\nRCPT TO:<no@example.test>\r\nDATA")
        assert [line[:3] for line in answer.splitlines()] == ["250", "250", "550", "354"]
        assert client.wire.writes == before + 1
        # The body, and the next transaction in one segment.
        answer = await client.say(BODY + f".\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<{TARO}>\r\nDATA\r\n".encode())
        assert [line[:3] for line in answer.splitlines()] == ["250", "250", "250", "354"]
        assert client.wire.writes == before + 2
        assert (await client.say(BODY + b".\r\nQUIT\r\n")).count("\r\n") == 2
        assert len(rig.read(2)) == 2

    run(test)


def test_bdat() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        assert (await client.say(b"BDAT 10\r\nSubject: t")).startswith("250 ")
        assert (await client.say(b"BDAT 13 LAST\r\nwo\r\n\r\nHello\r\n")).startswith("250 2.0.0 Message accepted")
        assert rig.read(2)[0].endswith(b"\r\nSubject: two\r\n\r\nHello\r\n")

    run(test)


def test_unknown_and_foreign_recipients() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        _, unknown, foreign = await client.begin("no@example.test", "x@example.org")
        assert re.fullmatch(rf"550 5\.1\.1 .* \(id {ID}\)\r\n", unknown)
        assert re.fullmatch(rf"550 5\.7\.1 .* \(id {ID}\)\r\n", foreign)
        assert (await client.say("DATA")).startswith("554 ")

    rig = run(test)
    checks = [values[-1] for values in rig.trace.list_values(events.REFUSED_RECIPIENT)]
    assert checks == ["recipient", "relay"]


def test_ids_in_refusals_are_those_of_the_trace() -> None:
    async def test(rig: SmtpRig) -> None:
        from postoffice.base.ids import format_id
        client = rig.connect()
        await client.ehlo()
        _, refusal = await client.begin("no@example.test")
        (event,) = [event for event in rig.trace.events if event.type is events.REFUSED_RECIPIENT]
        assert event.message_id is not None and format_id(event.message_id) in refusal
        # Before there is a message it is the session's.
        (connected,) = [event for event in rig.trace.events if event.type is events.SMTP_CONNECTED]
        assert connected.message_id is not None
        other = await rig.connect().say("NONSENSE")
        client2 = [event for event in rig.trace.events if event.type is events.SMTP_CONNECTED][1]
        assert client2.message_id is not None and format_id(client2.message_id) in other

    run(test)


def test_every_reply_above_399_bears_an_id() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        client.take()
        for line in ("MAIL FROM:<a@b.example>", "NONSENSE", "EXPN x", "ETRN x", "EHLO", "EHLO x", "DATA", "BDAT 0 LAST",
                     "MAIL FROM:<a@b.example> SIZE=99999999999", "MAIL FROM:<@>", "RCPT TO:<x>", "AUTH NONE",
                     "STARTTLS", "MAIL FROM:<a@b.example>", "RCPT TO:<no@example.test>", "MAIL FROM:<a@b.example>"):
            for reply in (await client.say(line)).splitlines():
                assert int(reply[:3]) < 400 or re.search(rf"\(id {ID}\)$", reply), (line, reply)

    run(test)


@pytest.mark.parametrize("size", [LARGE_BYTES - 1000, LARGE_BYTES + 1000, 3 * LARGE_BYTES])
def test_large_bodies_arrive_whole(size: int) -> None:
    line = b"0123456789abcdef" * 4 + b"\r\n"
    body = b"Subject: large\r\nReturn-Path: <x@example.org>\r\n\r\n" + line * (size // len(line))

    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        await client.say("DATA")
        data = body + b".\r\n"
        for start in range(0, len(data), 60_000):
            reply = await client.say(data[start:start + 60_000])
        assert reply.startswith("250 2.0.0 "), reply
        assert rig.services.budget.held_bytes == 0
        (copy,) = rig.read(2)
        assert copy.endswith(body.replace(b"Return-Path: <x@example.org>\r\n", b""))
        ((_, number, _),) = rig.store.list_records(None)
        parsed = rig.store.get_parsed(number)
        assert parsed is not None
        assert unpack_parsed(parsed).envelope.subject == "large"
        assert unpack_parsed(parsed).size == len(body) - len(b"Return-Path: <x@example.org>\r\n")

    rig = run(test)
    assert bool(rig.store.large) is (size > LARGE_BYTES)


def test_vanished_recipients_at_the_end() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        await client.say("DATA")
        rig.directory.put(replace(rig.directory.accounts[2], enabled=False))
        assert (await client.say(BODY + b".\r\n")).startswith("550 5.1.1 ")

    run(test)


def test_a_lost_connection_during_the_commit_loses_no_mail() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        rig.store.hold()
        await client.send(TARO)
        client.wire.lose()
        rig.store.release()
        await client.wait()
        assert len(rig.read(2)) == 1 and rig.services.budget.held_bytes == 0

    rig = run(test)
    assert rig.trace.list_values(events.SMTP_ABORTED) == []
    assert len(rig.trace.messages) == 1


def test_an_aborted_message_is_told_and_forgotten() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        await client.say("DATA")
        await client.say(BODY * 5000)
        client.wire.lose()
        await client.wait()
        assert rig.read(2) == [] and rig.services.budget.held_bytes == 0

    rig = run(test)
    ((client, sender, size),) = rig.trace.list_values(events.SMTP_ABORTED)
    assert (client, sender) == ("192.0.2.7", "a@example.org") and isinstance(size, int) and size > 0


def test_ending_the_own_side_still_gets_the_answers() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        await client.say("DATA")
        rig.store.hold()
        await client.say(BODY + b".\r\n")
        client.session.peer_closed()
        assert not client.closed
        rig.store.release()
        assert (await client.wait()).startswith("250 ") and client.closed

    run(test)


def test_a_bug_in_a_service_is_temporary(caplog: pytest.LogCaptureFixture) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin()
        rig.directory.broken = RuntimeError("secret detail")
        answer = await client.say(f"RCPT TO:<{TARO}>")
        assert answer.startswith("451 4.3.0 ") and "secret" not in answer
        rig.directory.broken = None
        assert (await client.say("RSET")).startswith("250 ")
        assert (await client.send(TARO)).startswith("250 ")

    run(test)
    assert "secret detail" in caplog.text

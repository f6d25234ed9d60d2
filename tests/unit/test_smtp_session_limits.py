"""Limits, time-outs, switches and the end of an SMTP session; memory and large bodies that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from postoffice.smtp.aborts import FREE, MAX_DELAY_SECONDS, WINDOW_SECONDS, Aborts
from postoffice.smtp.body import LARGE_BYTES, Body
from postoffice.smtp.budget import MemoryBudget
from postoffice.smtp.listener import SmtpListener, get_limits
from postoffice.store.memory import MemoryStore
from postoffice.store.model import Failure, StoreFailure
from postoffice.testing.smtp_rig import SmtpRig
from postoffice.tls.acceptor import Refusal
from postoffice.trace import event_types as events

TARO = "taro@example.test"
BODY = b"Subject: one\r\n\r\nHello.\r\n"

T = TypeVar("T")


def run(test: Callable[[SmtpRig], Awaitable[None]], **settings: str) -> SmtpRig:
    rigs: list[SmtpRig] = []

    async def main() -> None:
        rigs.append(SmtpRig(settings))
        await test(rigs[0])

    asyncio.run(main())
    return rigs[0]


def test_too_many_bad_commands() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        client.take()
        assert (await client.say("ONE")).startswith("500 ")
        assert (await client.say("TWO")).startswith("500 ")
        assert (await client.say("THREE")).startswith("421 4.7.0 ") and client.closed

    rig = run(test, MaxBadCommands="3")
    assert len(rig.trace.list_values(events.SMTP_VIOLATION)) == 1


def test_refused_recipients_are_no_bad_commands() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(*["no@example.test"] * 10)
        assert not client.closed

    run(test, MaxBadCommands="3")


def test_too_many_recipients() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        replies = await client.begin(TARO, "hanako@example.test", "boss@example.test")
        assert [reply[:9] for reply in replies[1:]] == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]
        # Those that were accepted get their mail.
        await client.say("DATA")
        assert (await client.say(BODY + b".\r\n")).startswith("250 ")
        assert [len(rig.read(number)) for number in (1, 2, 3)] == [0, 1, 1]

    run(test, MaxRecipients="2")


def test_time_outs() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        assert client.wire.deadline == 60
        await client.ehlo()
        rig.clock.seconds += 90             # of the 100 of the whole session
        await client.say("NOOP")
        assert client.wire.deadline == 10
        client.session.expired()
        assert client.take().startswith("250 2.0.0") is False
        assert client.closed

    run(test, TimeoutCommand="60", TimeoutSession="100")


def test_a_client_never_times_out_while_we_keep_it_waiting() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        rig.store.hold()
        await client.send(TARO)
        client.session.expired()
        assert not client.closed
        rig.store.release()
        assert (await client.wait()).startswith("250 ")
        client.session.expired()
        assert client.take().startswith("421 4.4.2 ") and client.closed

    run(test)


def test_shutting_down() -> None:
    async def test(rig: SmtpRig) -> None:
        idle, sending, committing = rig.connect(), rig.connect(), rig.connect()
        for client in (idle, sending, committing):
            await client.ehlo()
        await sending.begin(TARO)
        await sending.say("DATA")
        await sending.say(b"Subject: half\r\n")
        rig.store.hold()
        await committing.send(TARO)
        for client in (idle, sending, committing):
            client.session.shut_down()
        assert idle.take().startswith("421 4.3.2 ") and idle.closed
        assert not sending.closed and not committing.closed
        rig.store.release()
        answer = await committing.wait()
        assert [line[:3] for line in answer.splitlines()] == ["250", "421"] and committing.closed
        answer = await sending.say(b"\r\nHello.\r\n.\r\n")
        assert [line[:3] for line in answer.splitlines()] == ["250", "421"] and sending.closed
        assert len(rig.read(2)) == 2

    run(test)


def test_a_crash_is_said_as_temporary() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        client.session.crashed()
        assert client.take().startswith("421 4.3.0 ") and client.closed

    run(test)


@pytest.mark.parametrize(("key", "keyword", "line", "code"), [
    ("AllowSIZE", "SIZE", "MAIL FROM:<a@b.example> SIZE=1", "555"),
    ("AllowBDAT", "CHUNKING", "BDAT 0 LAST", "502"),
    ("AllowHELP", "HELP", "HELP", "502"),
])
def test_switched_off_extensions(key: str, keyword: str, line: str, code: str) -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        assert keyword in await client.ehlo()
        rig.change({key: "no"})
        assert keyword not in await client.ehlo()
        assert (await client.say(line)).startswith(code)

    run(test)


def test_ehlo_off() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        assert (await client.ehlo()).startswith("502 5.5.1 ")
        assert (await client.say("HELO client.example.org")).startswith("250 ")
        assert (await client.send(TARO)).startswith("250 ")

    run(test, AllowEHLO="no")


def test_vrfy() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        known, unknown = await client.say(f"VRFY {TARO}"), await client.say("VRFY no@example.test")
        assert known.startswith("252 ") and known == unknown
        rig.change({"AllowVRFY": "yes"})
        assert await client.say(f"VRFY {TARO}") == "250 2.1.5 Taro <taro@example.test>\r\n"
        assert (await client.say("VRFY <taro@example.test>")).startswith("250 ")
        assert (await client.say("VRFY taro")).startswith("250 ")
        assert (await client.say("VRFY no@example.test")).startswith("550 5.1.1 ")
        assert (await client.say("VRFY x@example.org")).startswith("252 ")

    run(test)


def test_expn() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        assert (await client.say("EXPN postmaster")).startswith("502 ")
        rig.change({"AllowEXPN": "yes"})
        await client.ehlo()
        rig.directory.groups["postmaster", "example.test"] = (1, 2)
        assert await client.say("EXPN postmaster@example.test") == (
            "250-2.1.5 Boss <boss@example.test>\r\n250 2.1.5 Taro <taro@example.test>\r\n")
        assert (await client.say("EXPN no@example.test")).startswith("550 ")

    run(test)


def test_names_in_answers_cannot_end_the_line() -> None:
    async def test(rig: SmtpRig) -> None:
        rig.directory.put(replace(rig.directory.accounts[2], name='Ta"ro\r\n250 <太郎>'))
        client = rig.connect()
        await client.ehlo()
        assert (await client.say(f"VRFY {TARO}")).count("\r\n") == 1

    run(test, AllowVRFY="yes")


@pytest.mark.parametrize(("reply", "code"), [("temporary", "452 4.2.2 "), ("permanent", "552 5.2.2 ")])
def test_quota_at_rcpt_with_size(reply: str, code: str) -> None:
    async def test(rig: SmtpRig) -> None:
        rig.directory.put(replace(rig.directory.accounts[2], mailbox_limit=5_000))
        client = rig.connect()
        await client.ehlo()
        await client.say("MAIL FROM:<a@example.org> SIZE=6000")
        assert (await client.say(f"RCPT TO:<{TARO}>")).startswith(code)
        await client.say("RSET")
        # What was accepted may overshoot.
        await client.begin(TARO)
        await client.say("DATA")
        assert (await client.say(BODY * 1000 + b".\r\n")).startswith("250 ")
        assert (await client.begin(TARO))[1].startswith(code)

    run(test, QuotaReply=reply)


def test_little_disk_is_told_at_mail() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        rig.store.free_bytes = 1_000
        assert (await client.say("MAIL FROM:<a@example.org>")).startswith("452 4.3.1 ")
        rig.store.free_bytes = 1 << 40
        assert (await client.send(TARO)).startswith("250 ")

    run(test)


def test_no_memory_left() -> None:
    async def test(rig: SmtpRig) -> None:
        rig.services.budget.held_bytes = 1 << 20
        for start in ("DATA", "BDAT 10 LAST\r\n0123456789"):
            client = rig.connect()
            await client.ehlo()
            await client.begin(TARO)
            line = start.encode() + (b"" if "BDAT" in start else b"\r\n")
            assert (await client.say(line)).startswith("452 4.3.1 ")
            assert (await client.say("NOOP")).startswith("250 ")
        rig.services.budget.held_bytes = 0
        assert (await client.send(TARO)).startswith("250 ")
        assert rig.services.budget.held_bytes == 0

    run(test, MaxMemory="1048576")


def test_a_liar_about_size_spills_to_the_disk_when_memory_is_short() -> None:
    async def main() -> None:
        store, budget = MemoryStore(), MemoryBudget()
        body = Body(store, budget, 100_000, 7)
        assert body.reserve(10) and budget.held_bytes == 10
        assert not body.add([b"x" * 50_000]) and budget.held_bytes == 50_000
        assert body.add([b"y" * 60_000])            # the budget has no more
        await body.write_out()
        assert budget.held_bytes == 50_000
        file = await body.finish()
        assert file is not None and file.size == 110_000 and body.size == 110_000
        body.drop()
        assert budget.held_bytes == 0 and store.large

    asyncio.run(main())


class FailingWriter:
    """A `LargeWriter` on a disk that is full (or has a bug)."""

    def __init__(self, error: Exception, *, at_finish: bool) -> None:
        self.error = error
        self.at_finish = at_finish
        self.discarded = False

    async def write(self, chunks: list[bytes]) -> None:
        if not self.at_finish:
            raise self.error
        self.data = getattr(self, "data", b"") + b"".join(chunks)

    async def examine(self, work: Callable[[Callable[[int, int], bytes]], T]) -> T:
        return work(lambda offset, length: self.data[offset : offset + length])

    async def finish(self) -> object:
        raise self.error

    def discard(self) -> None:
        self.discarded = True


@pytest.mark.parametrize("at_finish", [False, True])
@pytest.mark.parametrize(("error", "code"), [
    (StoreFailure(Failure.DISK_FULL), "452 4.3.1 "), (StoreFailure(Failure.IO_ERROR), "451 4.3.0 "),
    (RuntimeError("secret detail"), "451 4.3.0 ")])
def test_a_large_body_that_cannot_be_written(error: Exception, code: str, at_finish: bool) -> None:
    async def test(rig: SmtpRig) -> None:
        writer = FailingWriter(error, at_finish=at_finish)
        rig.store.open_large = lambda _number: writer  # type: ignore[method-assign,assignment,return-value]
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        await client.say("DATA")
        data = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * (2 * LARGE_BYTES // 12) + b".\r\n"
        for start in range(0, len(data), 60_000):
            reply = await client.say(data[start:start + 60_000])
        assert reply.startswith(code) and "secret" not in reply
        assert writer.discarded and rig.services.budget.held_bytes == 0
        assert rig.read(2) == []
        assert (await client.send(TARO)).startswith("250 ")

    run(test)


def test_a_large_loop_is_refused_and_its_file_thrown_away() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        await client.begin(TARO)
        await client.say("DATA")
        data = b"Received: from a by b; x\r\n" * 31 + b"\r\n" + b"0123456789\r\n" * (LARGE_BYTES // 10) + b".\r\n"
        for start in range(0, len(data), 60_000):
            reply = await client.say(data[start:start + 60_000])
        assert reply.startswith("554 5.4.6 ")
        assert rig.store.large == {} and rig.services.budget.held_bytes == 0

    run(test)


def test_aborts_are_counted_in_a_window() -> None:
    aborts = Aborts()
    for number in range(FREE):
        assert aborts.note("a", 100.0 + number) == number + 1
    assert aborts.get_delay("a", 110.0) == 0
    aborts.note("a", 110.0)
    assert aborts.get_delay("a", 110.0) == 1 and aborts.get_delay("b", 110.0) == 0
    for _ in range(100):
        aborts.note("a", 120.0)
    assert aborts.get_delay("a", 120.0) == MAX_DELAY_SECONDS
    assert aborts.get_delay("a", 100.0 + WINDOW_SECONDS) == 0
    assert aborts.note("a", 100.0 + WINDOW_SECONDS) == 1


def test_the_listener() -> None:
    async def test(rig: SmtpRig) -> None:
        listener = SmtpListener(rig.services, submission=True)
        assert listener.refuse(Refusal.TOO_MANY_FROM_CLIENT).startswith(b"421 4.7.0 ")
        assert listener.refuse(Refusal.STOPPING).startswith(b"421 4.3.2 ")
        assert (get_limits(rig.services).total, get_limits(rig.services).per_client) == (7, 3)

    run(test, MaxSessions="7", MaxSessionsPerClient="3")


def test_pipelined_input_is_bounded_while_busy() -> None:
    async def test(rig: SmtpRig) -> None:
        client = rig.connect()
        await client.ehlo()
        rig.store.hold()
        await client.send(TARO)
        await client.say(b"NOOP\r\n" * 20_000)
        assert client.wire.paused
        rig.store.release()
        for _ in range(200):
            await client.wait(3)
        assert not client.wire.paused

    run(test)

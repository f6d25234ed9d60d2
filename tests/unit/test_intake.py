"""Intake: one change per message, nothing acknowledged that is not durable, and the trace knows all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address

import msgspec
import pytest

from postoffice.base.ids import format_id
from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.delivery.local import LocalDelivery
from postoffice.message.address import parse_address
from postoffice.message.envelope import Envelope, Recipient
from postoffice.message.parsed import unpack_parsed
from postoffice.policy.checks.order import CHECKS
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.pipeline import Pipeline
from postoffice.queue.intake import Accepted, Incoming, Intake, OfficeNames, Outcome, Prepared, Refused, Source
from postoffice.queue.router import Agent
from postoffice.store.memory import MemoryStore
from postoffice.store.model import INBOX, Failure
from postoffice.testing.fakes import FakeClock, FakeDirectory, MemoryTrace
from postoffice.testing.signin import build_account
from postoffice.trace import event_types as events
from postoffice.trace.rows import unpack_row

REGISTRY = build_registry()
SNAPSHOT = Snapshot.of(REGISTRY, {})
MESSAGE = b"From: a@example.org\r\nSubject: one\r\nMessage-ID: <1@example.org>\r\n\r\nHello.\r\n"
ID = 7 << 40


class Rig:
    """An intake with everything around it in memory. The first account is Postmaster."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.directory = FakeDirectory([build_account(1, "boss"), build_account(2, "taro"), build_account(3, "hanako")])
        self.trace = MemoryTrace()
        self.clock = FakeClock()
        pipeline = Pipeline(CHECKS, Sources(self.directory, self.store))
        self.intake = Intake(
            self.store, self.directory, self.trace, pipeline, {Agent.LOCAL: LocalDelivery()}, self.clock,
            OfficeNames(lambda _snapshot: "mail.example.test"))

    def build(self, *recipients: str, body: bytes = MESSAGE, sender: str | None = "a@example.org", **more: object) -> Incoming:
        envelope = Envelope(
            None if sender is None else parse_address(sender, utf8=True),
            tuple(Recipient(parse_address(one)) for one in recipients))
        incoming = Incoming(
            ID, Source("192.0.2.7", "client.example.org", "", "ESMTP"), envelope, body, len(body), SNAPSHOT,
            facts=Facts(ip_address("192.0.2.7")))
        return msgspec.structs.replace(incoming, **more)

    async def take(self, *recipients: str, **more: object) -> Outcome:
        return await self.intake.accept(self.build(*recipients, **more))  # type: ignore[arg-type]

    def read(self, account: int) -> list[bytes]:
        folder = self.store.find_folder(account, INBOX)
        found = []
        for item in self.store.list_items(folder.id) if folder else []:
            reader = self.store.open_message(folder.id, item.uid)  # type: ignore[union-attr]
            assert reader is not None
            found.append(reader.read(0, 1 << 20))
        return found


def run(test: Callable[[Rig], Awaitable[None]]) -> Rig:
    rig = Rig()

    async def main() -> None:
        await test(rig)

    asyncio.run(main())
    return rig


def test_a_message_is_placed_and_traced() -> None:
    async def test(rig: Rig) -> None:
        assert await rig.take("taro@example.test") == Accepted(ID)

    rig = run(test)
    (copy,) = rig.read(2)
    prefix, received, rest = copy.partition(b"Received: ")
    assert prefix == b"Return-Path: <a@example.org>\r\nDelivered-To: taro@example.test\r\n"
    assert rest.endswith(MESSAGE)
    header = rest.removesuffix(MESSAGE)
    assert header.startswith(b"from client.example.org ([192.0.2.7]) by mail.example.test\r\n")
    assert f"with ESMTP id {format_id(ID)} for <taro@example.test>;".encode() in header
    ((summary, told),) = rig.trace.messages
    assert (summary.status, summary.sender, summary.recipients, summary.subject) == (
        "delivered", "a@example.org", ["taro@example.test"], "one")
    assert [event.type for event in told] == [events.ACCEPTED, events.DELIVERED]
    assert told[1].values == ("taro@example.test", "taro@example.test", INBOX)


def test_what_is_stored_beside_it() -> None:
    async def test(rig: Rig) -> None:
        await rig.take("taro@example.test")

    rig = run(test)
    parsed = rig.store.get_parsed(ID)
    assert parsed is not None and unpack_parsed(parsed).envelope.subject == "one"
    ((_position, number, record),) = rig.store.list_records(None)
    assert number == ID and unpack_row(record).summary.recipients == ["taro@example.test"]


def test_the_received_field_names_a_single_recipient_only() -> None:
    async def test(rig: Rig) -> None:
        await rig.take("taro@example.test", "hanako@example.test")

    rig = run(test)
    assert b" for <" not in rig.read(2)[0] and b" for <" not in rig.read(3)[0]


def test_a_hidden_client_stands_nowhere() -> None:
    async def test(rig: Rig) -> None:
        source = Source("192.0.2.7", "laptop.example.org", "taro", "ESMTPSA", hidden=True)
        await rig.take("taro@example.test", source=source)

    copy = run(test).read(2)[0]
    assert b"192.0.2.7" not in copy and b"laptop" not in copy and b"ESMTPSA" in copy


def test_an_account_gets_one_copy() -> None:
    async def test(rig: Rig) -> None:
        rig.directory.put(replace(rig.directory.accounts[2], addresses=("second@example.test",)))
        rig.directory.groups["postmaster", "example.test"] = (1, 2)
        recipients = ("taro@example.test", "second@example.test", "postmaster@example.test", "taro@example.test")
        prepared = rig.intake.prepare(rig.build(*recipients))
        assert isinstance(prepared, Prepared)
        assert [placement.account for placement in prepared.placements] == [2, 1]
        await rig.take(*recipients)

    rig = run(test)
    assert len(rig.read(2)) == 1 and len(rig.read(1)) == 1
    delivered = rig.trace.list_values(events.DELIVERED)
    assert [values[:2] for values in delivered] == [
        ("taro@example.test", "taro@example.test"), ("second@example.test", "taro@example.test"),
        ("postmaster@example.test", "boss@example.test"), ("postmaster@example.test", "taro@example.test"),
        ("taro@example.test", "taro@example.test")]


@pytest.mark.parametrize("field", [
    b"Return-Path: <spoof@example.org>\r\n", b"RETURN-PATH: <spoof@example.org>\r\n",
    b"return-path:\r\n <spoof@example.org>\r\n",
])
def test_an_incoming_return_path_is_removed(field: bytes) -> None:
    async def test(rig: Rig) -> None:
        await rig.take("taro@example.test", body=field + b"X-A: 1\r\n" + field + MESSAGE, sender=None)

    copy = run(test).read(2)[0]
    assert b"spoof" not in copy
    assert copy.startswith(b"Return-Path: <>\r\n") and copy.endswith(b"X-A: 1\r\n" + MESSAGE)


def test_return_path_in_the_text_stays() -> None:
    body = MESSAGE + b"Return-Path: <quoted@example.org>\r\n"

    async def test(rig: Rig) -> None:
        await rig.take("taro@example.test", body=body)

    assert run(test).read(2)[0].endswith(body)


@pytest.mark.parametrize(("failure", "code", "enhanced"), [
    (Failure.DISK_FULL, 452, "4.3.1"), (Failure.IO_ERROR, 451, "4.3.0"), (Failure.STOPPING, 451, "4.3.0"),
])
def test_a_store_that_fails_is_temporary(failure: Failure, code: int, enhanced: str) -> None:
    async def test(rig: Rig) -> None:
        rig.store.fail(failure)
        outcome = await rig.take("taro@example.test")
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.enhanced) == (code, enhanced)

    rig = run(test)
    assert rig.read(2) == []
    assert [summary.status for summary, _ in rig.trace.messages] == ["refused"]


def test_nothing_is_said_before_it_is_durable() -> None:
    async def test(rig: Rig) -> None:
        rig.store.hold()
        outcome = rig.intake.accept(rig.build("taro@example.test"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not outcome.done() and rig.trace.messages == []
        rig.store.release()
        assert await outcome == Accepted(ID)

    run(test)


def test_a_bug_is_temporary_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def test(rig: Rig) -> None:
        rig.directory.broken = RuntimeError("secret detail")
        outcome = await rig.take("taro@example.test")
        assert isinstance(outcome, Refused) and outcome.code == 451
        assert "secret" not in outcome.text + outcome.reason

    rig = run(test)
    assert rig.read(2) == [] and "secret detail" in caplog.text


def test_recipients_gone_since_rcpt() -> None:
    async def test(rig: Rig) -> None:
        incoming = rig.build("taro@example.test", "hanako@example.test")
        resolutions = tuple(rig.directory.resolve(one.address) for one in incoming.envelope.recipients)
        incoming = msgspec.structs.replace(incoming, resolutions=resolutions, generation=rig.directory.get_generation())
        rig.directory.remove(2)
        assert isinstance(await rig.intake.accept(incoming), Accepted)
        # One of two: its copy goes to Postmaster, the trace says so.
        assert len(rig.read(2)) == 0 and len(rig.read(3)) == 1 and len(rig.read(1)) == 1
        assert b"Delivered-To: taro@example.test" in rig.read(1)[0]
        ((summary, _),) = rig.trace.messages
        assert summary.status == "partial" and rig.trace.list_values(events.NOT_DELIVERED)
        rig.directory.remove(3)
        outcome = await rig.intake.accept(msgspec.structs.replace(incoming, message_id=ID + 1))
        assert isinstance(outcome, Refused) and (outcome.code, outcome.enhanced) == (550, "5.1.1")
        assert len(rig.read(1)) == 1

    run(test)


def test_an_unchanged_directory_is_not_asked_again() -> None:
    async def test(rig: Rig) -> None:
        incoming = rig.build("taro@example.test")
        resolutions = tuple(rig.directory.resolve(one.address) for one in incoming.envelope.recipients)
        before = rig.directory.resolved
        await rig.intake.accept(
            msgspec.structs.replace(incoming, resolutions=resolutions, generation=rig.directory.get_generation()))
        assert rig.directory.resolved == before

    run(test)


def test_a_loop_is_refused_and_traced() -> None:
    async def test(rig: Rig) -> None:
        outcome = await rig.take("taro@example.test", body=b"Received: from a by b; x\r\n" * 31 + MESSAGE)
        assert isinstance(outcome, Refused) and (outcome.code, outcome.enhanced) == (554, "5.4.6")

    rig = run(test)
    ((summary, told),) = rig.trace.messages
    assert summary.status == "refused" and summary.recipients == ["taro@example.test"]
    assert told[0].type is events.REFUSED_MESSAGE
    assert rig.read(2) == []


@pytest.mark.parametrize("body", [b"", b"\r\n", b"Subject: only\r\n", b"no header at all", b"\xff\x00" * 100])
def test_odd_bodies_are_kept_as_they_are(body: bytes) -> None:
    async def test(rig: Rig) -> None:
        assert await rig.take("taro@example.test", body=body) == Accepted(ID)

    assert run(test).read(2)[0].endswith(body)

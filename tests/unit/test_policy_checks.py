"""Each check of the mail path, finding by finding."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

import pytest

from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.directory.model import Elsewhere, NoSuchUser, ToAccounts
from postoffice.message.address import parse_address
from postoffice.message.structured import parse_message
from postoffice.policy.api import SignedIn
from postoffice.policy.checks.order import CHECKS
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.pipeline import Pipeline
from postoffice.policy.verdict import Action, Stage, Verdict
from postoffice.store.memory import MemoryStore
from postoffice.store.model import Placement
from postoffice.testing.fakes import FakeDirectory
from postoffice.testing.signin import build_account
from postoffice.testing.store_contract import build_arrival

REGISTRY = build_registry()
TARO = build_account(1, "taro")
HANAKO = build_account(2, "hanako")


def judge(
    stage: Stage, *, settings: dict[str, str] | None = None, store: MemoryStore | None = None, **facts: object,
) -> Verdict:
    pipeline = Pipeline(CHECKS, Sources(FakeDirectory((TARO, HANAKO)), store or MemoryStore()))
    texts = {f"SMTP-Accept/Config/{name}": text for name, text in (settings or {}).items()}
    return pipeline.judge(
        stage, Facts(ip_address("192.0.2.7"), **facts), Snapshot.of(REGISTRY, texts))  # type: ignore[arg-type]


def show(verdict: Verdict) -> tuple[Action, int, str]:
    return verdict.action, verdict.code, verdict.enhanced


def test_elsewhere_is_refused_also_for_users() -> None:
    for signed_in in (None, SignedIn(TARO, "taro")):
        verdict = judge(Stage.RECIPIENT, resolution=Elsewhere("example.org"), signed_in=signed_in)
        assert show(verdict) == (Action.REJECT, 550, "5.7.1")
        assert "outgoing mail does not exist yet" in verdict.sentence
        assert "example.org" in verdict.sentence and verdict.ja


def test_an_unresolved_recipient_is_deferred_never_taken(caplog: pytest.LogCaptureFixture) -> None:
    assert judge(Stage.RECIPIENT, resolution=None).action is Action.DEFER
    assert "relay" in caplog.text


def test_unknown_and_stopped_recipients() -> None:
    assert show(judge(Stage.RECIPIENT, resolution=NoSuchUser())) == (Action.REJECT, 550, "5.1.1")
    assert show(judge(Stage.RECIPIENT, resolution=NoSuchUser(stopped=True))) == (Action.REJECT, 550, "5.2.1")
    assert judge(Stage.RECIPIENT, resolution=NoSuchUser(), settings={"VerifyRcpts": "no"}).action is Action.PASS


@pytest.mark.parametrize(("sender", "login", "passes"), [
    ("taro@example.test", True, True),
    ("TARO@Example.TEST", True, True),
    ("hanako@example.test", True, False),
    ("taro@example.org", True, False),
    ("hanako@example.test", False, True),
])
def test_a_sender_belongs_to_its_login(sender: str, login: bool, passes: bool) -> None:
    verdict = judge(Stage.SENDER, sender=parse_address(sender), signed_in=SignedIn(TARO, "taro") if login else None)
    assert (verdict.action is Action.PASS) is passes
    if not passes:
        assert show(verdict) == (Action.REJECT, 553, "5.7.1")


def test_the_null_sender_is_free() -> None:
    assert judge(Stage.SENDER, sender=None, signed_in=SignedIn(TARO, "taro")).action is Action.PASS


@pytest.mark.parametrize(("limit", "size", "passes"), [
    ("1000", 1000, True), ("1000", 1001, False), ("1000", 0, True), ("0", 1 << 62, False), ("0", 1 << 20, True),
])
def test_announced_size(limit: str, size: int, passes: bool) -> None:
    """A limit of 0 means none; what no disk can hold is then refused for want of space."""
    verdict = judge(Stage.SENDER, size_bytes=size, settings={"MessageSize": limit})
    assert (verdict.action is Action.PASS) is passes
    if not passes:
        assert show(verdict) == (
            (Action.DEFER, 452, "4.3.1") if limit == "0" else (Action.REJECT, 552, "5.3.4"))


def test_a_full_disk_defers() -> None:
    store = MemoryStore(free_bytes=999)
    assert show(judge(Stage.SENDER, store=store, settings={"MinFreeDisk": "1000"})) == (Action.DEFER, 452, "4.3.1")
    store.free_bytes = 1000
    assert judge(Stage.SENDER, store=store, settings={"MinFreeDisk": "1000"}).action is Action.PASS
    # What is announced counts too.
    assert judge(Stage.SENDER, store=store, size_bytes=1, settings={"MinFreeDisk": "1000"}).action is Action.DEFER


def fill(store: MemoryStore, account: int, size: int) -> None:
    async def main() -> None:
        await store.submit(build_arrival(9, Placement(account), body=b"x" * size))

    asyncio.run(main())


@pytest.mark.parametrize(("reply", "expected"), [
    ("temporary", (Action.DEFER, 452, "4.2.2")), ("permanent", (Action.REJECT, 552, "5.2.2")),
])
def test_a_full_mailbox(reply: str, expected: tuple[Action, int, str]) -> None:
    store = MemoryStore()
    fill(store, 1, 2_000)
    account = replace(TARO, mailbox_limit=1_000)
    settings = {"QuotaReply": reply}
    assert show(judge(Stage.RECIPIENT, store=store, settings=settings, resolution=ToAccounts((account,)))) == expected
    room = replace(TARO, mailbox_limit=10_000)
    assert judge(Stage.RECIPIENT, store=store, settings=settings, resolution=ToAccounts((room,))).action is Action.PASS
    assert show(judge(
        Stage.RECIPIENT, store=store, settings=settings, size_bytes=9_000, resolution=ToAccounts((room,)))) == expected
    # One of several accounts with room is enough.
    both = ToAccounts((account, replace(HANAKO, mailbox_limit=1_000)))
    assert judge(Stage.RECIPIENT, store=store, settings=settings, resolution=both).action is Action.PASS


def test_loops() -> None:
    hop = b"Received: from a by b; Tue, 24 Nov 2026 12:00:00 +0900\r\n"
    for count, action in ((30, Action.PASS), (31, Action.REJECT)):
        verdict = judge(Stage.MESSAGE, parsed=parse_message(hop * count + b"\r\nHello\r\n"))
        assert verdict.action is action
    assert show(verdict) == (Action.REJECT, 554, "5.4.6")


def test_ehlo_may_be_off() -> None:
    assert show(judge(Stage.HELLO, extended=True, settings={"AllowEHLO": "no"})) == (Action.REJECT, 502, "5.5.1")
    assert judge(Stage.HELLO, extended=False, settings={"AllowEHLO": "no"}).action is Action.PASS
    assert judge(Stage.HELLO, extended=True).action is Action.PASS

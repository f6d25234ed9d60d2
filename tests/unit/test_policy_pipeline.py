"""The pipeline: order, choice of active checks, and that nothing but a sound finding passes."""

from __future__ import annotations

import logging
from ipaddress import ip_address

import pytest

from postoffice.base.errors import UsageError
from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.directory.model import Elsewhere, ToAccounts
from postoffice.policy.check import Check, Judge
from postoffice.policy.checks import relay
from postoffice.policy.checks.order import CHECKS
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.pipeline import Pipeline, check_order
from postoffice.policy.verdict import PASS, Action, Stage, Verdict
from postoffice.store.memory import MemoryStore
from postoffice.testing.fakes import FakeDirectory

REGISTRY = build_registry()
SNAPSHOT = Snapshot.of(REGISTRY, {})


def build_sources() -> Sources:
    return Sources(FakeDirectory(), MemoryStore())


def build_facts(**facts: object) -> Facts:
    return Facts(ip_address("192.0.2.7"), **facts)  # type: ignore[arg-type]


def build_check(name: str, judge: Judge | None, stage: Stage = Stage.RECIPIENT, needs: tuple[str, ...] = ()) -> Check:
    return Check(name, stage, frozenset(needs), lambda _snapshot, _sources: judge)


def say(action: Action, check: str = "x") -> Judge:
    return lambda _facts: Verdict(action, check)


def judge(*checks: Check, resolution: object = ToAccounts(())) -> Verdict:
    pipeline = Pipeline((relay.CHECK, *checks), build_sources())
    return pipeline.judge(Stage.RECIPIENT, build_facts(resolution=resolution), SNAPSHOT)


def test_shipped_order_is_sound() -> None:
    check_order(CHECKS)


def test_no_finding_passes() -> None:
    assert judge() is PASS


def test_largest_action_wins_whatever_the_order() -> None:
    actions = list(Action)
    for first in actions:
        for second in actions:
            verdict = judge(build_check("a", say(first)), build_check("b", say(second)))
            assert verdict.action is max(first, second)


def test_of_equal_actions_the_first_holds() -> None:
    verdict = judge(build_check("a", say(Action.HOLD, "a")), build_check("b", say(Action.HOLD, "b")))
    assert verdict.check == "a"


def test_a_check_that_raises_defers_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_facts: Facts) -> Verdict:
        raise RuntimeError("secret detail")

    with caplog.at_level(logging.ERROR):
        verdict = judge(build_check("broken", broken))
    assert (verdict.action, verdict.code, verdict.check) == (Action.DEFER, 451, "broken")
    assert "secret detail" not in verdict.text + verdict.sentence
    assert "RuntimeError: secret detail" in caplog.text


def test_a_check_that_cannot_be_built_defers(caplog: pytest.LogCaptureFixture) -> None:
    def build(_snapshot: Snapshot, _sources: Sources) -> Judge | None:
        raise RuntimeError("no such setting")

    assert judge(Check("broken", Stage.RECIPIENT, frozenset(), build)).action is Action.DEFER
    assert "no such setting" in caplog.text


@pytest.mark.parametrize("action", [action for action in Action if action < Action.REJECT])
def test_no_verdict_undoes_relay(action: Action) -> None:
    verdict = judge(build_check("kind", say(action)), resolution=Elsewhere("example.org"))
    assert (verdict.action, verdict.code, verdict.enhanced, verdict.check) == (Action.REJECT, 550, "5.7.1", "relay")


def test_a_rejecting_check_does_not_hide_relay() -> None:
    assert judge(build_check("other", say(Action.REJECT)), resolution=Elsewhere("example.org")).check == "relay"


def test_there_is_no_pipeline_without_relay() -> None:
    with pytest.raises(UsageError, match="relay"):
        Pipeline((), build_sources())
    with pytest.raises(UsageError, match="relay"):
        Pipeline(tuple(check for check in CHECKS if check.name != "relay"), build_sources())


def test_relay_stands_first_in_its_stage() -> None:
    with pytest.raises(UsageError, match="first"):
        Pipeline((build_check("early", say(Action.PASS)), relay.CHECK), build_sources())


def test_no_setting_switches_relay_off() -> None:
    silent = Check("relay", Stage.RECIPIENT, frozenset(), lambda _snapshot, _sources: None)
    with pytest.raises(UsageError, match="switch"):
        Pipeline((silent,), build_sources()).judge(Stage.RECIPIENT, build_facts(), SNAPSHOT)


@pytest.mark.parametrize(("check", "words"), [
    (build_check("a", None, needs=("parsed",)), "not known"),
    (build_check("a", None, needs=("colour",)), "no fact"),
    (build_check("relay", None), "twice"),
    (build_check("a", None, Stage.SENDER), "later stage"),
    (Check("a", Stage.RECIPIENT, frozenset(), lambda _s, _o: None, frozenset({"spf"})), "after spf"),
])
def test_unsound_orders_are_refused(check: Check, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_order((relay.CHECK, check))


def test_checks_are_chosen_once_per_snapshot() -> None:
    built: list[Snapshot] = []

    def build(snapshot: Snapshot, _sources: Sources) -> Judge | None:
        built.append(snapshot)
        return None

    pipeline = Pipeline((relay.CHECK, Check("a", Stage.RECIPIENT, frozenset(), build)), build_sources())
    facts = build_facts(resolution=ToAccounts(()))
    for _ in range(3):
        pipeline.judge(Stage.RECIPIENT, facts, SNAPSHOT)
    other = Snapshot.of(REGISTRY, {}, 2)
    pipeline.judge(Stage.RECIPIENT, facts, other)
    assert built == [SNAPSHOT, other]


def test_checks_that_do_not_apply_are_not_there() -> None:
    pipeline = Pipeline(CHECKS, build_sources())
    assert pipeline.list_active(Stage.HELLO, SNAPSHOT) == []
    off = Snapshot.of(REGISTRY, {
        "SMTP-Accept/Config/MessageSize": "0", "SMTP-Accept/Config/MinFreeDisk": "0",
        "SMTP-Accept/Config/VerifyRcpts": "no", "SMTP-Accept/Config/AllowEHLO": "no"})
    assert pipeline.list_active(Stage.HELLO, off) == ["hello"]
    assert pipeline.list_active(Stage.SENDER, off) == ["sender"]
    assert pipeline.list_active(Stage.RECIPIENT, off) == ["relay", "quota"]

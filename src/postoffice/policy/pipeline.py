"""The pipeline: runs the checks of a stage and says which verdict holds.

Owns the order, the choice of active checks (once per snapshot of the settings) and the rule that the largest action
wins; of equal ones the first. What follows from a verdict is its caller's business. Invariants: a check that raises
defers, it never passes; there is no pipeline without the relay check, it stands first in its stage, and since nothing
is larger than REJECT no other verdict undoes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from postoffice.base.errors import UsageError
from postoffice.config.registry import Snapshot
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import KNOWN_FROM, Facts, Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict

log = logging.getLogger(__name__)

RELAY = "relay"

_STAGES = tuple(Stage)
_Active = Mapping[Stage, tuple[tuple[str, Judge], ...]]


class Pipeline:
    """The checks in their order. Raises UsageError when the order is not sound (`check_order`)."""

    def __init__(self, order: Sequence[Check], sources: Sources) -> None:
        check_order(order)
        self._order = tuple(order)
        self._sources = sources
        self._snapshot: Snapshot | None = None
        self._active: _Active = {}

    def judge(self, stage: Stage, facts: Facts, snapshot: Snapshot) -> Verdict:
        """The verdict that holds. Never raises."""
        if snapshot is not self._snapshot:
            self._choose(snapshot)
        found = PASS
        for name, judge in self._active[stage]:
            try:
                verdict = judge(facts)
            except Exception:
                log.exception("the check %s failed at %s", name, stage.value)
                verdict = _defer(name)
            if verdict.action > found.action:
                found = verdict
        return found

    def list_active(self, stage: Stage, snapshot: Snapshot) -> list[str]:
        """The names of the checks that judge at this stage under these settings."""
        if snapshot is not self._snapshot:
            self._choose(snapshot)
        return [name for name, _ in self._active[stage]]

    def _choose(self, snapshot: Snapshot) -> None:
        active: dict[Stage, list[tuple[str, Judge]]] = {stage: [] for stage in _STAGES}
        for check in self._order:
            judge = self._build(check, snapshot)
            if judge is not None:
                active[check.stage].append((check.name, judge))
        self._active = {stage: tuple(judges) for stage, judges in active.items()}
        self._snapshot = snapshot

    def _build(self, check: Check, snapshot: Snapshot) -> Judge | None:
        try:
            judge = check.build(snapshot, self._sources)
        except Exception:
            log.exception("the check %s cannot work with the present settings", check.name)
            return lambda _facts: _defer(check.name)
        if judge is None and check.name == RELAY:
            raise UsageError("no setting may switch the relay check off")
        return judge


def check_order(order: Sequence[Check]) -> None:
    """Whether checks may stand in this order. Raises UsageError: a fact not yet known at the check's stage, a check
    before one it relies on, a name twice, stages mixed up, no relay check or not first at RECIPIENT."""
    seen: set[str] = set()
    reached = 0
    first: dict[Stage, str] = {}
    for check in order:
        stage = _STAGES.index(check.stage)
        if check.name in seen:
            raise UsageError(f"the check {check.name} stands twice in the order")
        if stage < reached:
            raise UsageError(f"the check {check.name} stands after checks of a later stage")
        for need in check.needs:
            if need not in KNOWN_FROM:
                raise UsageError(f"the check {check.name} needs {need}, which is no fact")
            if _STAGES.index(KNOWN_FROM[need]) > stage:
                raise UsageError(f"the check {check.name} needs {need}, which is not known at {check.stage.value}")
        if missing := check.after - seen:
            raise UsageError(f"the check {check.name} must stand after {', '.join(sorted(missing))}")
        reached = stage
        seen.add(check.name)
        first.setdefault(check.stage, check.name)
    if first.get(Stage.RECIPIENT) != RELAY:
        raise UsageError("a pipeline needs the relay check, first of its stage")


def _defer(check: str) -> Verdict:
    return Verdict(
        Action.DEFER, check, 451, "4.3.0", "Temporary trouble, try again later",
        f"The check {check} failed unexpectedly; the client was asked to try again. The error log has the traceback.",
        f"検査 {check} が予期せず失敗したため、再送を求めました。詳細はエラーログにあります。",
    )

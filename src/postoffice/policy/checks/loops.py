"""Loops: a message that has passed too many servers goes round in a circle (RFC 5321 §6.3)."""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict

MAX_RECEIVED = 30


def _judge(facts: Facts) -> Verdict:
    parsed = facts.parsed
    if parsed is None or parsed.received_count <= MAX_RECEIVED:
        return PASS
    count = parsed.received_count
    return Verdict(
        Action.REJECT, "loops", 554, "5.4.6", "Mail loop: too many Received fields",
        f"The message has passed {count} servers; more than {MAX_RECEIVED} mean that it goes round in a circle.",
        f"メールが {count} 台のサーバを通過しています。{MAX_RECEIVED} 台を超えるとループとみなします。")


def _build(_snapshot: Snapshot, _sources: Sources) -> Judge:
    return _judge


CHECK = Check("loops", Stage.MESSAGE, frozenset({"parsed"}), _build)

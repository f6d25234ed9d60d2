"""Hello: which of HELO and EHLO is taken. With both allowed, as shipped, the check does not run."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.registry import Snapshot
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict
from postoffice.settings import smtp_accept


def _build(snapshot: Snapshot, _sources: Sources) -> Judge | None:
    helo, ehlo = snapshot[smtp_accept.ALLOW_HELO], snapshot[smtp_accept.ALLOW_EHLO]
    if helo and ehlo:
        return None
    no_helo, no_ehlo = _refuse("HELO", smtp_accept.ALLOW_HELO), _refuse("EHLO", smtp_accept.ALLOW_EHLO)

    def judge(facts: Facts) -> Verdict:
        if facts.extended:
            return PASS if ehlo else no_ehlo
        return PASS if helo else no_helo

    return judge


def _refuse(verb: str, key: Key[bool]) -> Verdict:
    return Verdict(
        Action.REJECT, "hello", 502, "5.5.1", f"{verb} is not available here",
        f"{verb} is switched off.", f"{verb} は無効にされています。", key.path)


CHECK = Check("hello", Stage.HELLO, frozenset({"extended"}), _build)

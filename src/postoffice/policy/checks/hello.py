"""Hello: whether EHLO is taken. With it allowed, as shipped, the check does not run."""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict
from postoffice.settings import smtp_accept

_NO_EHLO = Verdict(
    Action.REJECT, "hello", 502, "5.5.1", "EHLO is not available here, use HELO",
    "EHLO is switched off.", "EHLO は無効にされています。", smtp_accept.ALLOW_EHLO.path)


def _build(snapshot: Snapshot, _sources: Sources) -> Judge | None:
    if snapshot[smtp_accept.ALLOW_EHLO]:
        return None
    return lambda facts: _NO_EHLO if facts.extended else PASS


CHECK = Check("hello", Stage.HELLO, frozenset({"extended"}), _build)

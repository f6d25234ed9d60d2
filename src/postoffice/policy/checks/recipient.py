"""Recipient: whether the account exists, asked at RCPT so that no bounce has to be sent later (RFC 5321 §3.3)."""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.directory.model import NoSuchUser
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict
from postoffice.settings import smtp_accept

_UNKNOWN = Verdict(
    Action.REJECT, "recipient", 550, "5.1.1", "No such user here",
    "No account has this address.", "このアドレスのアカウントはありません。", smtp_accept.VERIFY_RCPTS.path)
_STOPPED = Verdict(
    Action.REJECT, "recipient", 550, "5.2.1", "This mailbox takes no mail",
    "The account with this address is stopped.", "このアドレスのアカウントは停止されています。",
    smtp_accept.VERIFY_RCPTS.path)


def _judge(facts: Facts) -> Verdict:
    resolution = facts.resolution
    if isinstance(resolution, NoSuchUser):
        return _STOPPED if resolution.stopped else _UNKNOWN
    return PASS


def _build(snapshot: Snapshot, _sources: Sources) -> Judge | None:
    return _judge if snapshot[smtp_accept.VERIFY_RCPTS] else None


CHECK = Check("recipient", Stage.RECIPIENT, frozenset({"recipient", "resolution"}), _build)

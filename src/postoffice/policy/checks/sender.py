"""Sender: who signed in may send under the addresses of the account alone (RFC 6409 §6.1)."""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict


def _build(_snapshot: Snapshot, sources: Sources) -> Judge:
    directory = sources.directory

    def judge(facts: Facts) -> Verdict:
        signed_in, sender = facts.signed_in, facts.sender
        # The null sender belongs to nobody: receipts of mail programs bear it (RFC 8098 §3).
        if signed_in is None or sender is None or directory.owns_address(signed_in.account, sender):
            return PASS
        return Verdict(
            Action.REJECT, "sender", 553, "5.7.1", "The sender address does not belong to this login",
            f"{signed_in.login} tried to send as <{sender}>, which is none of the account's addresses.",
            f"{signed_in.login} が自分のアドレスではない <{sender}> を差出人にしようとしました。")

    return judge


CHECK = Check("sender", Stage.SENDER, frozenset({"signed_in", "sender"}), _build)

"""Relay: mail for domains that are not ours is not taken. Not a check like the others: no setting switches it off and
no verdict undoes it."""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.directory.model import Elsewhere, NoSuchUser, ToAccounts
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict

_SENTENCE = ("The domain {domain} is not one of this server's mail domains, and outgoing mail does not exist yet: "
             "recipients elsewhere are refused, also for users who signed in.")
_JA = ("ドメイン {domain} はこのサーバのメールドメインではありません。外部への送信機能はまだないため、"
       "ログインした利用者からの外部宛てのメールも拒否します。")
_KEY = "SMTP-Router/Config/LocalMailDomains"


def _judge(facts: Facts) -> Verdict:
    resolution = facts.resolution
    if isinstance(resolution, (ToAccounts, NoSuchUser)):
        return PASS
    if isinstance(resolution, Elsewhere):
        domain = resolution.domain
        return Verdict(
            Action.REJECT, "relay", 550, "5.7.1", "Relaying is not permitted",
            _SENTENCE.format(domain=domain), _JA.format(domain=domain), _KEY)
    # An address whose destination is not known might be anybody's: never relayed, asked again later.
    raise TypeError(f"the relay check was asked about {resolution!r}")


def _build(_snapshot: Snapshot, _sources: Sources) -> Judge:
    return _judge


CHECK = Check("relay", Stage.RECIPIENT, frozenset({"recipient", "resolution"}), _build)

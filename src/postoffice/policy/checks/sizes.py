"""Sizes: what SIZE announces against the limit and the free disk (at MAIL), and against the mailbox (at RCPT).

RFC 1870 §6.1. What arrives is counted by the engine; a mailbox may overshoot by a message accepted here.
"""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.directory.model import Account, ToAccounts
from postoffice.policy.check import Check, Judge
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.verdict import PASS, Action, Stage, Verdict
from postoffice.settings import mailbox_deliver, smtp_accept
from postoffice.store.quota import has_room


def _build_size(snapshot: Snapshot, _sources: Sources) -> Judge | None:
    limit = snapshot[smtp_accept.MESSAGE_SIZE]
    if limit <= 0:
        return None
    too_large = Verdict(
        Action.REJECT, "size", 552, "5.3.4", f"The message is larger than {limit} bytes",
        f"The client announced a message larger than {limit} bytes.",
        f"上限({limit} バイト)を超えるメールが予告されました。", smtp_accept.MESSAGE_SIZE.path)
    return lambda facts: too_large if facts.size_bytes > limit else PASS


def _build_disk(snapshot: Snapshot, sources: Sources) -> Judge | None:
    least = snapshot[smtp_accept.MIN_FREE_DISK]
    if least <= 0:
        return None
    full = Verdict(
        Action.DEFER, "disk", 452, "4.3.1", "Not enough disk space, try again later",
        f"Less than {least} bytes of disk are free.", f"ディスクの空きが {least} バイトを下回っています。",
        smtp_accept.MIN_FREE_DISK.path)
    get_free_bytes = sources.store.get_free_bytes
    return lambda facts: full if get_free_bytes() < least + facts.size_bytes else PASS


def _build_quota(snapshot: Snapshot, sources: Sources) -> Judge:
    default = snapshot[mailbox_deliver.DEFAULT_MAILBOX_LIMIT]
    full = _build_full(snapshot)
    store = sources.store

    def is_full(account: Account, size_bytes: int) -> bool:
        limit = default if account.mailbox_limit is None else account.mailbox_limit
        return limit > 0 and not has_room(store.get_usage(account.id), limit, size_bytes)

    def judge(facts: Facts) -> Verdict:
        resolution = facts.resolution
        if not isinstance(resolution, ToAccounts):
            return PASS
        # Of several accounts behind one address (designated postmasters) one with room is enough.
        for account in resolution.accounts:
            if not is_full(account, facts.size_bytes):
                return PASS
        return full if resolution.accounts else PASS

    return judge


def _build_full(snapshot: Snapshot) -> Verdict:
    permanent = snapshot[smtp_accept.QUOTA_REPLY] == "permanent"
    return Verdict(
        Action.REJECT if permanent else Action.DEFER, "quota", 552 if permanent else 452,
        "5.2.2" if permanent else "4.2.2", "The mailbox is full",
        "The mailbox has reached its limit, or would with this message.",
        "メールボックスが容量制限に達しているか、このメールで超えます。", smtp_accept.QUOTA_REPLY.path)


SIZE = Check("size", Stage.SENDER, frozenset({"size_bytes"}), _build_size)
DISK = Check("disk", Stage.SENDER, frozenset({"size_bytes"}), _build_disk)
QUOTA = Check("quota", Stage.RECIPIENT, frozenset({"resolution", "size_bytes"}), _build_quota)

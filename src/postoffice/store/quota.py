"""Quota: how full an account's mailbox is and whether one more message fits.

Owns the judgement; the counters are the folders' own (`store.index`), kept by the same transaction that places mail,
so usage never drifts from what is stored. Judged at RCPT; at commit a mailbox may overshoot by the message accepted.
"""

from __future__ import annotations

from postoffice.store.model import Usage


def has_room(usage: Usage, limit_bytes: int, size_bytes: int = 0) -> bool:
    """Whether a message of ``size_bytes`` (0 when the client told none) may be placed. A limit of 0 is none.

    A full mailbox takes nothing, not even a message of unknown size.
    """
    if limit_bytes <= 0:
        return True
    return usage.bytes < limit_bytes and usage.bytes + size_bytes <= limit_bytes

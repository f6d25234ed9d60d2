"""The order of the checks: one tuple. A new check is one line here."""

from __future__ import annotations

from postoffice.policy.check import Check
from postoffice.policy.checks import hello, loops, recipient, relay, sender, sizes

CHECKS: tuple[Check, ...] = (
    hello.CHECK,
    sender.CHECK, sizes.SIZE, sizes.DISK,
    relay.CHECK, recipient.CHECK, sizes.QUOTA,
    loops.CHECK,
)

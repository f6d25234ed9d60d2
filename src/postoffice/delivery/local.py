"""Mailbox-Deliver: a recipient that is an account of ours, as placements in mailboxes.

Owns the lines that stand before a message in one account's copy. RFC 5321 §4.4: Return-Path is the first line of a
delivered message. Placing itself is the store's: this only says what is to be placed.
"""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.directory.model import Account
from postoffice.message.address import Address
from postoffice.message.trace_fields import build_prefix
from postoffice.settings import smtp_router
from postoffice.store.model import INBOX, Placement


class LocalDelivery:
    """See `queue.intake.PlacingAgent`."""

    def place(
        self, sender: Address | None, recipient: Address, accounts: tuple[Account, ...], snapshot: Snapshot,
    ) -> list[Placement]:
        """One placement per account, in its INBOX."""
        prefix = build_prefix(sender, recipient if snapshot[smtp_router.ADD_DELIVERED_TO] else None)
        return [Placement(account.id, INBOX, prefix) for account in accounts]

"""Mailbox-Deliver: putting mail into mailboxes."""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import Bytes

DEFAULT_MAILBOX_LIMIT = Key(
    path="Mailbox-Deliver/Config/DefaultMailboxLimit",
    kind=Bytes(),
    default="0",
    doc="The mailbox limit of accounts that have none of their own; 0: no limit.",
    ja="個別の指定がないアカウントのメールボックスの上限。0なら無制限。",
)

KEYS = (DEFAULT_MAILBOX_LIMIT,)

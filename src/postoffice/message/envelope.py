"""The envelope: who sent a message to whom, as SMTP carried it (RFC 5321 §2.3.1)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from postoffice.message.address import Address


class Recipient(msgspec.Struct, frozen=True):
    """One RCPT TO: the address and its ESMTP parameters (keyword in upper case -> parsed value or None)."""

    address: Address
    params: Mapping[str, object] = msgspec.field(default_factory=dict)


class Envelope(msgspec.Struct, frozen=True):
    """``sender`` None is the null sender <>. ``params`` are those of MAIL FROM, parsed, keyword in upper case."""

    sender: Address | None
    recipients: tuple[Recipient, ...]
    params: Mapping[str, object] = msgspec.field(default_factory=dict)

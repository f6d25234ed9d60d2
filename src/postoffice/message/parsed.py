"""What is known of a message's content: computed once at arrival by `message.structured.parse_message`, stored
beside it.

Everything a reader later asks for (IMAP ENVELOPE and BODYSTRUCTURE, POP3 TOP, search by subject, the trace) comes
from here; nothing parses MIME again. ``PARSER_VERSION`` stands in every stored row; rows of an older parser are
made anew. No text here holds a control character or a lone surrogate.
"""

from __future__ import annotations

import msgspec

PARSER_VERSION = 1

# A group of addresses (RFC 5322 §3.4) is bracketed by two mailboxes with these words in ``domain``, which no domain can
# be: the first has the group's name in ``local``, the second nothing.
GROUP_START = ":"
GROUP_END = ";"


class Mailbox(msgspec.Struct, frozen=True, array_like=True):
    """One address of a header field, decoded: display name, local part, domain ("" where missing)."""

    name: str
    local: str
    domain: str


class Part(msgspec.Struct, array_like=True):
    """One MIME entity. Offsets count from the first byte of the message as received (without the trace prefix).

    A multipart whose boundary is missing or too long, or that lies too deep, is opaque: its ``parts`` are empty. So
    are those of a message/rfc822 that is encoded; its ``envelope`` is None.
    """

    type: str                       # lower case, "text"
    subtype: str                    # lower case, "plain"
    params: dict[str, str]          # keys lower case, RFC 2231 and 2047 decoded
    encoding: str                   # content-transfer-encoding, lower case, "7bit" when absent
    disposition: str                # "" when absent
    disposition_params: dict[str, str]
    content_id: str
    description: str
    language: str
    location: str
    md5: str
    header_start: int
    body_start: int
    body_end: int
    lines: int                      # line ends in the body
    parts: list[Part]               # of a multipart, or the one message of message/rfc822
    envelope: ParsedEnvelope | None = None   # of the message inside message/rfc822


class ParsedEnvelope(msgspec.Struct, array_like=True):
    """RFC 9051 §7.5.2 ENVELOPE, decoded (addresses and text as str, "" when absent)."""

    date: str
    subject: str
    from_: list[Mailbox]
    sender: list[Mailbox]
    reply_to: list[Mailbox]
    to: list[Mailbox]
    cc: list[Mailbox]
    bcc: list[Mailbox]
    in_reply_to: str
    message_id: str


class ParsedMessage(msgspec.Struct, array_like=True):
    """All of it. ``size`` is the bytes of the message as received; ``header_end`` the offset of its first body byte
    (``size`` where no blank line ends the header)."""

    version: int
    size: int
    header_end: int
    envelope: ParsedEnvelope
    root: Part
    date_seconds: int | None        # Date: as seconds since 1970, None when unreadable
    references: list[str]
    preview: str                    # first 200 characters of the first text part, decoded, blanks folded
    received_count: int
    defects: list[str]              # short names, sorted; `message.structured.DEFECTS` explains them


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ParsedMessage).decode


def pack_parsed(parsed: ParsedMessage) -> bytes:
    """The stored form."""
    return _encode(parsed)


def unpack_parsed(data: bytes) -> ParsedMessage:
    """The value of a stored form. Raises msgspec.DecodeError when it is none."""
    return _decode(data)

"""The trace fields we write (Received, Return-Path, Delivered-To) and those we look at on the way in.

Invariants: what comes from a peer (HELO name, address, recipient) can never end a line or add a field; lines stay
under 998 octets; the clock comes in as an argument. RFC 5321 §4.4, RFC 3848 (protocol words), RFC 6531 §3.7.3.
"""

from __future__ import annotations

import re

import msgspec

from postoffice.message.address import Address
from postoffice.message.dates import format_date

_INDENT = "\r\n" + " " * 10
# What a HELO name may show in our header: names, literals, and nothing that is structure of the field itself.
_ODD_HELLO = re.compile(r"[^A-Za-z0-9._:\[\]\u00a1-\u2027\u202a-\ufeff-]+")
_MAX_HELLO = 255
# RFC 5322 §4.5: blanks before the colon.
_SPACED_RECEIVED = re.compile(rb"(?:\A|\n)received[ \t]+:")
_PLAIN_PATH = re.compile(r"[!-~\u00a1-\u2027\u202f-\U0010ffff ]*\Z")


class Arrived(msgspec.Struct, frozen=True):
    """How a message came: what its Received field says. ``client_address`` None leaves it out, with the HELO name
    (the key that hides clients of a submission); ``recipient`` only where there is a single one."""

    hello: str
    client_address: str | None
    host: str
    protocol: str
    message_id: str
    recipient: Address | None
    seconds: int
    offset_minutes: int


def name_protocol(
    *, extended: bool, secure: bool = False, authenticated: bool = False, utf8: bool = False,
) -> str:
    """The word after ``with``: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA (RFC 3848); UTF8SMTP... (RFC 6531 §4.3)."""
    if not extended:
        return "SMTP"
    return ("UTF8SMTP" if utf8 else "ESMTP") + ("S" if secure else "") + ("A" if authenticated else "")


def build_received(arrived: Arrived, product: str = "Post.Office") -> bytes:
    """Our Received field, CRLF-ended. ``product`` stands in parentheses: without version and licence unless the
    compatible form is wanted (``format_compatible_product``)."""
    if arrived.client_address is None:
        origin = f"by {arrived.host}"
    else:
        origin = f"from {clean_hello(arrived.hello)} ([{arrived.client_address}]) by {arrived.host}"
    target = f" for <{_show(arrived.recipient)}>" if arrived.recipient is not None else ""
    return (
        f"Received: {origin}{_INDENT}({product}){_INDENT}with {arrived.protocol} id {arrived.message_id}{target};"
        f"{_INDENT}{format_date(arrived.seconds, arrived.offset_minutes)}\r\n"
    ).encode()


def format_compatible_product(version: str, release: str, licence: str) -> str:
    """The words of the original: ``Post.Office MTA v3.5.3 release 223 ID# 0-...``."""
    return f"Post.Office MTA v{version} release {release} ID# {licence}"


def clean_hello(name: str) -> str:
    """A HELO name fit to stand in a header: odd characters become one ``?`` each run; never empty."""
    if len(name) > _MAX_HELLO:
        name = name[:_MAX_HELLO]
    return _ODD_HELLO.sub("?", name) or "unknown"


def build_prefix(sender: Address | None, delivered_to: Address | str | None = None) -> bytes:
    """The lines before one recipient's copy: Return-Path first, then Delivered-To unless it is None."""
    path = "" if sender is None else _show(sender)
    lines = f"Return-Path: <{path}>\r\n"
    if delivered_to is not None:
        lines += f"Delivered-To: {_show(delivered_to)}\r\n"
    return lines.encode("utf-8", "replace")


def strip_return_path(data: bytes) -> bytes:
    """``data`` without the Return-Path fields of its header (RFC 5321 §4.4: only the final delivery writes one).
    The same object when there is none, at the cost of one search or two."""
    if not _may_have(data, b"eturn-"):
        return data
    end = _find_end(data)
    kept: list[bytes] = []
    position = copied = 0
    while position < end:
        stop = _find_field_end(data, position, end)
        name = data[position:data.find(b":", position, stop) if data.find(b":", position, stop) >= 0 else position]
        if name.rstrip(b" \t").lower() == b"return-path":
            kept.append(data[copied:position])
            copied = stop
        position = stop
    if not copied:
        return data
    kept.append(data[copied:])
    return b"".join(kept)


def count_received(data: bytes) -> int:
    """How many Received fields the header has: the hops so far."""
    end = _find_end(data)
    block = data[:end]
    # One lower-casing in C; the field at the very start has no line end before it.
    block = block.lower()
    return (
        block.count(b"\r\nreceived:") + block.startswith(b"received:")
        + (len(_SPACED_RECEIVED.findall(block)) if b"received " in block or b"received\t" in block else 0)
    )


def _may_have(data: bytes, word: bytes) -> bool:
    """Whether the header may hold ``word``, looked for as written, in lower and in upper case."""
    end = _find_end(data)
    return data.find(word, 0, end) >= 0 or word in data[:end].lower()


def _find_end(data: bytes) -> int:
    """The offset after the header's last line end."""
    if data.startswith(b"\r\n"):
        return 0
    end = data.find(b"\r\n\r\n")
    return len(data) if end < 0 else end + 2


def _find_field_end(data: bytes, position: int, end: int) -> int:
    while True:
        line_end = data.find(b"\r\n", position, end)
        if line_end < 0:
            return end
        position = line_end + 2
        if position >= end or data[position] not in b" \t":
            return position


def _show(address: Address | str) -> str:
    text = str(address)
    return text if _PLAIN_PATH.match(text) else "".join(char if _PLAIN_PATH.match(char) else "?" for char in text)

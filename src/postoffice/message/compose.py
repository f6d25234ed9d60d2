"""Small messages written by us: greetings, notices, reports.

Owns the form: RFC 5322 header with RFC 2047 words in UTF-8, a body as 7bit, 8bit, quoted-printable or base64, CRLF
throughout. Invariants: no value, whatever it holds, makes a new header line, a lone CR or LF, or a line over 998
octets; identical input gives identical bytes (the caller brings date and Message-ID). RFC 5322, RFC 2045, RFC 2047.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from postoffice.message.address import Address
from postoffice.message.dates import format_date
from postoffice.message.fields import clean_text

MAX_LINE = 998                      # RFC 5322 §2.1.1, without CRLF
_FOLD = 76
_WORD_BYTES = 42                    # UTF-8 bytes of one encoded word: 56 characters of base64, 68 with its frame
_NAME = re.compile(r"[!-9;-~]{1,70}\Z")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+\Z")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be written. ``sender`` and ``to`` are (name, address) pairs; ``extra`` further fields in order,
    names as they shall stand. ``seconds`` since 1970, shown ``offset_minutes`` east of UTC."""

    sender: tuple[str, Address]
    to: Sequence[tuple[str, Address]]
    subject: str
    text: str
    message_id: str
    seconds: int
    offset_minutes: int = 0
    extra: Sequence[tuple[str, str]] = ()
    encoding: str = "auto"          # or 7bit, 8bit, quoted-printable, base64


def compose(draft: Draft) -> bytes:
    """The message, CRLF. Raises ValueError for an ``extra`` name that is no field name, an unknown encoding, or a
    text that the encoding asked for cannot carry."""
    encoding, body = encode_body(draft.text, draft.encoding)
    lines = [
        format_field("Date", format_date(draft.seconds, draft.offset_minutes)),
        format_field("From", format_mailbox(*draft.sender)),
        format_address_field("To", draft.to),
        format_field("Message-ID", f"<{clean_text(draft.message_id).strip('<> ')}>"),
        format_field("Subject", encode_text(draft.subject, len("Subject: "))),
        *(format_field(name, encode_text(value, len(name) + 2)) for name, value in draft.extra),
        "MIME-Version: 1.0\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n",
    ]
    return "".join(lines).encode("utf-8", "replace") + body


def format_field(name: str, value: str) -> str:
    """One field, folded at blanks, CRLF-ended. ``value`` must be encoded already; line ends in it become blanks."""
    if not _NAME.match(name):
        raise ValueError(f"{name!a} is no field name")
    words = clean_text(value).split(" ")
    lines = []
    line = f"{name}:"
    for word in words:
        while len(word) > MAX_LINE - 100:
            # Nothing to fold at: a hard cut is better than a line that SMTP refuses.
            lines.append(line)
            line, word = " " + word[:MAX_LINE - 100], word[MAX_LINE - 100:]
        # A folded line of nothing but blanks would end the header for some readers (RFC 5322 §4.2).
        if len(line) + 1 + len(word) > _FOLD and word and line.strip() and line != f"{name}:":
            lines.append(line)
            line = " " + word
        else:
            line += " " + word
    lines.append(line)
    return "\r\n".join(line.rstrip() for line in lines if line.strip()) + "\r\n"


def format_address_field(name: str, mailboxes: Sequence[tuple[str, Address]]) -> str:
    """An address field; an empty list gives the empty group, for the field must not be empty."""
    if not mailboxes:
        return format_field(name, "undisclosed-recipients:;")
    return format_field(name, ", ".join(format_mailbox(*mailbox) for mailbox in mailboxes))


def format_mailbox(name: str, address: Address) -> str:
    """``name <address>`` with the name as atoms, quoted or encoded, whichever it needs."""
    path = clean_text(str(address)).replace(" ", "")
    name = clean_text(name).strip()
    if not name:
        return path
    if not name.isascii() or "=?" in name:
        shown = encode_text(name, 6)
    elif _ATOMS.match(name):
        shown = name
    else:
        shown = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{shown} <{path}>"


def encode_text(text: str, used: int = 0) -> str:
    """Unstructured text for a header: as it is where ASCII, else RFC 2047 words in UTF-8, no character cut between
    two. ``used`` are the columns before it on the line."""
    text = clean_text(text)
    if text.isascii() and "=?" not in text and max(map(len, text.split(" ")), default=0) < MAX_LINE - 200:
        return text
    words: list[str] = []
    piece, room = b"", max(12, _WORD_BYTES - used * 3 // 4)
    for char in text:
        encoded = char.encode("utf-8", "replace")
        if len(piece) + len(encoded) > room:
            words.append(_encode_word(piece))
            piece, room = b"", _WORD_BYTES
        piece += encoded
    if piece or not words:
        words.append(_encode_word(piece))
    return " ".join(words)


def encode_body(text: str, encoding: str = "auto") -> tuple[str, bytes]:
    """The transfer encoding used and the body, CRLF, ended by one. "auto" takes 7bit, else 8bit, else (lines too
    long, NUL) quoted-printable where most is ASCII, else base64."""
    plain = "\r\n".join(_LINE_END.split(text.removesuffix("\n").removesuffix("\r"))) + "\r\n"
    data = plain.encode("utf-8", "replace")
    fits = b"\0" not in data and max(map(len, data.split(b"\r\n"))) <= MAX_LINE
    if encoding == "auto":
        if fits:
            encoding = "7bit" if data.isascii() else "8bit"
        else:
            odd = sum(1 for code in data if code > 126)
            encoding = "quoted-printable" if odd * 6 < len(data) else "base64"
    if encoding in ("7bit", "8bit"):
        if not fits or encoding == "7bit" and not data.isascii():
            raise ValueError(f"the text cannot be sent as {encoding}")
        return encoding, data
    if encoding == "quoted-printable":
        # Encoded with bare LF, the only line end that b2a_qp keeps as one.
        encoded = binascii.b2a_qp(data.replace(b"\r\n", b"\n"), istext=True)
        return encoding, encoded.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if encoding == "base64":
        return encoding, base64.encodebytes(data).replace(b"\n", b"\r\n")
    raise ValueError(f"{encoding!a} is no transfer encoding")


def _encode_word(piece: bytes) -> str:
    return f"=?utf-8?B?{base64.b64encode(piece).decode('ascii')}?="

"""Header fields: where they stand, what they say.

Owns the header block (finding it, unfolding it, its limits) and unstructured text with RFC 2047 words; address lists
are in `message.mailboxes`, MIME parameters in `message.parameters`, dates in `message.dates`. Invariants: never raises
for any bytes; time is linear in the block; no decoded value holds CR, LF, NUL or another control character, so none
can ever make a new header line. RFC 5322 §2.2, RFC 2047, RFC 6532.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

from postoffice.message.encodings import decode_base64, decode_text
from postoffice.message.japanese import guess_text

MAX_HEADER_BYTES = 1 << 20
MAX_FIELDS = 2_000

# A word is "=?charset*language?B|Q?text?=". Senders leave blanks and raw question marks in Q text; no pattern here may
# look further than a few "?" ahead, or a header full of "=?a?q?" would take quadratic time.
_WORD = re.compile(
    r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?]*(?:\?(?!=)[^?]*){0,3})\?=",
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field. ``name`` as written; ``value`` raw and still folded, without its last CRLF; ``start`` and
    ``end`` are offsets in the given bytes, the final CRLF included."""

    name: bytes
    value: bytes
    start: int
    end: int


def find_header_end(data: bytes, start: int = 0) -> int:
    """The offset of the first body byte: after the blank line, or the end of ``data`` where there is none."""
    if data.startswith(b"\r\n", start):
        return start + 2
    end = data.find(b"\r\n\r\n", start)
    return len(data) if end < 0 else end + 4


def split_fields(data: bytes, start: int = 0, end: int | None = None) -> list[Field]:
    """The fields of a header block in order, with offsets; lines that are none are left out. At most MAX_FIELDS."""
    if end is None:
        end = find_header_end(data, start)
    fields: list[Field] = []
    position = start
    while position < end and len(fields) < MAX_FIELDS:
        stop = _find_field_end(data, position, end)
        name, colon, value = data[position:stop].partition(b":")
        if colon and name and not name.startswith((b" ", b"\t")):
            fields.append(Field(name.rstrip(b" \t"), value.removesuffix(b"\r\n"), position, stop))
        position = stop
    return fields


def find_field(fields: list[Field], name: bytes) -> bytes | None:
    """The raw value of the first field of that name (any case)."""
    wanted = name.lower()
    for field in fields:
        if field.name.lower() == wanted:
            return field.value
    return None


def unfold(value: bytes) -> bytes:
    """RFC 5322 §2.2.3: a line end before a blank goes, the blank stays."""
    if b"\r\n" in value:
        return value.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")
    return value


def decode_unstructured(value: bytes) -> str:
    """The text of an unstructured field (Subject, Comments): unfolded, encoded words and raw 8-bit text decoded."""
    if b"=?" not in value and value.isascii():
        text = value.decode("ascii").strip()
        return text if text.isprintable() else _decode_odd(value)
    return _decode_odd(value)


def decode_raw(value: bytes) -> str:
    """A field's bytes as text before any encoded word is looked at: ASCII, UTF-8 (RFC 6532) or a guess."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    return guess_text(value)[0]


def decode_words(text: str) -> str:
    """RFC 2047 words in ``text`` decoded; neighbours of one charset as one, because senders cut characters, escape
    sequences and base64 groups at the border of two words. What cannot be a word stays as it is."""
    if "=?" not in text:
        return text
    pieces: list[str] = []
    run: list[tuple[str, str, str]] = []
    position = 0
    for match in _WORD.finditer(text):
        between = text[position:match.start()]
        if run and between.strip():
            pieces.append(_decode_run(run))
            run = []
        if not run:
            pieces.append(between)
        run.append((match[1], match[2], match[3]))
        position = match.end()
    if run:
        pieces.append(_decode_run(run))
    pieces.append(text[position:])
    return "".join(pieces)


def clean_text(text: str) -> str:
    """Without line ends and control characters: each run of them becomes one blank."""
    return text if text.isprintable() else _CONTROLS.sub(" ", text)


def _find_field_end(data: bytes, position: int, end: int) -> int:
    while True:
        line_end = data.find(b"\r\n", position, end)
        if line_end < 0:
            return end
        position = line_end + 2
        if position >= end or data[position] not in b" \t":
            return position


def _decode_odd(value: bytes) -> str:
    text = decode_raw(unfold(value))
    return clean_text(decode_words(text)).strip()


def _decode_run(words: list[tuple[str, str, str]]) -> str:
    """Adjacent encoded words as one text."""
    pieces: list[str] = []
    charset, data, pending = words[0][0], [], ""
    for label, kind, payload in words:
        is_base64 = kind in "bB"
        if label.lower() != charset.lower() or (pending and not is_base64):
            data.append(decode_base64(pending.encode("utf-8")))
            pending = ""
        if label.lower() != charset.lower():
            pieces.append(decode_text(b"".join(data), charset)[0])
            charset, data = label, []
        if is_base64:
            # A group of four cut by the border goes on in the next word.
            pending += payload
            if payload.endswith("=") or len(pending) % 4 == 0:
                data.append(decode_base64(pending.encode("utf-8")))
                pending = ""
        else:
            data.append(binascii.a2b_qp(payload.encode("utf-8"), header=True))
    if pending:
        data.append(decode_base64(pending.encode("utf-8")))
    pieces.append(decode_text(b"".join(data), charset)[0])
    return "".join(pieces)

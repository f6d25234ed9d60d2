"""MIME fields with parameters: Content-Type, Content-Disposition (RFC 2045 §5.1, RFC 2183), and the two ways names of
files are encoded, RFC 2231 and RFC 2047, in the mixtures that senders make of them.

Invariants: never raises for any bytes; linear time; at most MAX_PARAMETERS are looked at.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from postoffice.message.encodings import decode_text
from postoffice.message.fields import clean_text, decode_words
from postoffice.message.japanese import guess_text

MAX_PARAMETERS = 1_000
_MAX_CACHED = 200

_TOKEN = r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]{1,127}"
_TYPE = re.compile(rf"\s*({_TOKEN})\s*/\s*({_TOKEN})")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)(?:"|\\?\Z)|([^;]*))', re.S)
_ESCAPED = re.compile(r"\\(.)", re.S)
_SEGMENT = re.compile(r"([^*]+)\*(?:(\d{1,5})(\*?))?\Z")
# Unquoted blanks belong to a file's name in practice, and to nothing else.
_WITH_BLANKS = {"name", "filename"}


class Parameters:
    """``values``: decoded, names in lower case. ``boundary``: raw bytes, b"" when there is none."""

    __slots__ = ("boundary", "values")

    def __init__(self, values: dict[str, str], boundary: bytes) -> None:
        self.values = values
        self.boundary = boundary


def parse_content_type(value: bytes) -> tuple[str, str, Parameters] | None:
    """Type and subtype in lower case and the parameters; None when there is no readable type (RFC 2045 §5.2: what
    has none is text/plain). Unfolded or not."""
    if len(value) <= _MAX_CACHED:
        return _parse_content_type(value)
    return _parse_content_type.__wrapped__(value)


def parse_disposition(value: bytes) -> tuple[str, dict[str, str]]:
    """The disposition in lower case ("" where unreadable) and its parameters."""
    kind, _, _ = value.partition(b";")
    word = kind.strip().lower()
    if not word.isalnum() and not word.replace(b"-", b"").isalnum() or len(word) > 127:
        word = b""
    return word.decode("ascii", "replace") if word.isascii() else "", parse_parameters(value).values


def parse_parameters(value: bytes) -> Parameters:
    """All parameters after the first ``;`` of a field's value."""
    if b";" not in value:
        return Parameters({}, b"")
    # Latin-1 keeps every byte; each value is decoded on its own below.
    text = value.decode("latin-1")
    plain: dict[str, str] = {}
    segments: dict[str, list[tuple[int, bool, str]]] = {}
    for count, match in enumerate(_PARAMETER.finditer(text)):
        if count == MAX_PARAMETERS:
            break
        name, quoted, bare = match.groups()
        name = name.lower()
        if quoted is not None:
            raw = _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted
        else:
            raw = bare.strip()
            if name.partition("*")[0] not in _WITH_BLANKS:
                raw = raw.partition(" ")[0].partition("\t")[0]
        segment = _SEGMENT.match(name) if "*" in name else None
        if segment is None:
            plain.setdefault(name, raw)
        else:
            base, number, star = segment.groups()
            segments.setdefault(base, []).append((int(number or 0), star != "" if number else True, raw))
    values = {_decode_value(name.encode("latin-1")): _decode_plain(raw) for name, raw in plain.items()}
    boundary = plain.get("boundary", "")
    for base, pieces in segments.items():
        decoded = _join_segments(pieces)
        if decoded or base not in plain:
            # RFC 6266 §4.3 says for HTTP what holds here: the extended form is the better one.
            values[_decode_value(base.encode("latin-1"))] = decoded
        if base == "boundary" and not boundary:
            boundary = "".join(raw for _, _, raw in sorted(pieces))
    return Parameters(values, boundary.encode("latin-1").rstrip())


@lru_cache(maxsize=1024)
def _parse_content_type(value: bytes) -> tuple[str, str, Parameters] | None:
    match = _TYPE.match(value[:600].decode("latin-1"))
    if match is None:
        return None
    return match[1].lower(), match[2].lower(), parse_parameters(value)


def _decode_value(raw: bytes) -> str:
    return clean_text(raw.decode("ascii") if raw.isascii() and b"\x1b" not in raw else guess_text(raw)[0])


def _decode_plain(raw: str) -> str:
    text = _decode_value(raw.encode("latin-1"))
    return clean_text(decode_words(text)) if "=?" in text else text


def _join_segments(pieces: list[tuple[int, bool, str]]) -> str:
    """RFC 2231 §3 and §4.1: segments in numeric order, whatever order they came in; a gap is passed over. The first
    one may say charset'language'; all bytes are joined before they are decoded, for a character may be cut."""
    pieces.sort(key=lambda piece: piece[0])
    charset = ""
    data: list[bytes] = []
    seen = -1
    for number, is_encoded, raw in pieces:
        if number == seen:
            continue
        if is_encoded:
            if seen < 0 and raw.count("'") >= 2:
                charset, _, rest = raw.split("'", 2)
                raw = rest
            data.append(unquote_to_bytes(raw.encode("latin-1")))
        else:
            data.append(raw.encode("latin-1"))
        seen = number
    joined = b"".join(data)
    text = clean_text(decode_text(joined, charset[:60])[0] if charset else guess_text(joined)[0])
    return clean_text(decode_words(text)) if "=?" in text else text

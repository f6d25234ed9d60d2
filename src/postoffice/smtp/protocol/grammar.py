"""The small grammars of SMTP: ESMTP parameters (RFC 5321 §4.1.2), xtext (RFC 3461 §4), BDAT sizes (RFC 3030)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

_KEYWORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*")
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]+))?")
_XTEXT = re.compile(rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_NOTIFY = frozenset(("NEVER", "SUCCESS", "FAILURE", "DELAY"))


class Parser(Protocol):
    def __call__(self, value: bytes | None, /) -> object: ...


class UnknownParameter(ValueError):
    """A keyword nobody knows here: 555 (RFC 5321 §4.1.1.11)."""


def parse_parameters(text: bytes, parsers: Mapping[str, Parser]) -> dict[str, object]:
    """``KEY[=VALUE] ...`` behind a path. Raises UnknownParameter, or ValueError with a sentence."""
    found: dict[str, object] = {}
    for word in text.split(b" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise ValueError("Syntax error in parameters")
        name = match[1].decode("ascii").upper()
        if name not in parsers:
            raise UnknownParameter(name[:40])
        if name in found:
            raise ValueError(f"Parameter {name} given twice")
        found[name] = parsers[name](match[2])
    return found


def parse_size(value: bytes | None) -> int:
    if value is None or not _NUMBER.fullmatch(value):
        raise ValueError("SIZE takes a number of bytes")
    return int(value)


def parse_body(value: bytes | None) -> str:
    word = (value or b"").upper()
    if word not in (b"7BIT", b"8BITMIME"):
        raise ValueError("BODY is 7BIT or 8BITMIME")
    return word.decode("ascii")


def parse_flag(value: bytes | None) -> bool:
    if value is not None:
        raise ValueError("The parameter takes no value")
    return True


def parse_ret(value: bytes | None) -> str:
    word = (value or b"").upper()
    if word not in (b"FULL", b"HDRS"):
        raise ValueError("RET is FULL or HDRS")
    return word.decode("ascii")


def parse_xtext(value: bytes) -> str:
    """Decoded xtext. What decodes to anything but printable ASCII is refused (RFC 3461 §4.2): a control character could
    become a line somewhere else, and half a character fits in no text."""
    if not _XTEXT.fullmatch(value):
        raise ValueError("Bad xtext")
    decoded = _HEXCHAR.sub(lambda match: bytes((int(match[1], 16),)), value)
    if any(not 32 <= byte < 127 for byte in decoded):
        raise ValueError("Control or non-ASCII character in xtext")
    return decoded.decode("ascii")


def parse_envid(value: bytes | None) -> str:
    if not value or len(value) > 100:           # RFC 3461 §4.4
        raise ValueError("ENVID takes 1 to 100 characters of xtext")
    return parse_xtext(value)


def parse_notify(value: bytes | None) -> tuple[str, ...]:
    words = (value or b"").decode("ascii", "replace").upper().split(",")
    if not set(words) <= _NOTIFY or len(set(words)) < len(words) or ("NEVER" in words and len(words) > 1):
        raise ValueError("NOTIFY is NEVER or a list of SUCCESS, FAILURE, DELAY")
    return tuple(words)


def parse_orcpt(value: bytes | None) -> tuple[str, str]:
    kind, semicolon, address = (value or b"").partition(b";")
    if not semicolon or not _KEYWORD.fullmatch(kind) or not address or len(address) > 500:
        raise ValueError("ORCPT is type;address")
    return kind.decode("ascii").lower(), parse_xtext(address)


def parse_auth_identity(value: bytes | None) -> str:
    """AUTH= of MAIL (RFC 4954 §5); ``<>`` gives ""."""
    if value is None:
        raise ValueError("AUTH takes an address or <>")
    return "" if value == b"<>" else parse_xtext(value)


def parse_chunk(text: bytes) -> tuple[int, bool]:
    """``size [LAST]`` of BDAT. Raises ValueError."""
    words = text.split()
    if not words or len(words) > 2 or not _NUMBER.fullmatch(words[0]):
        raise ValueError("BDAT takes a size and LAST")
    if len(words) == 2 and words[1].upper() != b"LAST":
        raise ValueError("BDAT takes a size and LAST")
    size = int(words[0])
    if size >= 1 << 63:
        raise ValueError("The chunk is too large")
    return size, len(words) == 2

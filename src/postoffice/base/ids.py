"""Message ids: time-ordered 63-bit numbers, unique over processes, restarts and clock jumps.

``max(clock in µs, last + 1) << 8 | slot``. A process starts above the last id known to index and trace, so a clock
set back repeats nothing. The text form (13 characters, Crockford base 32, sorts as the number does) is the queue id
that every reply shows.
"""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {c: i for i, c in enumerate(_ALPHABET)} | {c.lower(): i for i, c in enumerate(_ALPHABET)}
_LENGTH = 13
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)      # ten bits at a time: ids are written on every reply


class MessageIds:
    """Hands out message ids for one process. ``slot`` is 0..255; ``floor`` the highest id known so far."""

    def __init__(self, slot: int, floor: int = 0) -> None:
        if not 0 <= slot <= 255:
            raise ValueError("slot must be 0..255")
        self._slot = slot
        self._last = floor >> 8

    def next(self, now_seconds: float) -> int:
        self._last = max(int(now_seconds * 1_000_000), self._last + 1)
        return self._last << 8 | self._slot


def format_id(message_id: int) -> str:
    """The text form: 13 characters that sort as the numbers do."""
    n, pairs = message_id, _PAIRS
    return (_ALPHABET[n >> 60 & 31] + pairs[n >> 50 & 1023] + pairs[n >> 40 & 1023] + pairs[n >> 30 & 1023]
            + pairs[n >> 20 & 1023] + pairs[n >> 10 & 1023] + pairs[n & 1023])


def parse_id(text: str) -> int:
    """The number of a text form, in either case. Raises ValueError when it is none."""
    if len(text) != _LENGTH:
        raise ValueError(f"a message id has {_LENGTH} characters, this has {len(text)}")
    number = 0
    for char in text:
        if char not in _VALUE:
            raise ValueError(f"no message id: character {char!r}")
        number = number << 5 | _VALUE[char]
    return number


def get_id_seconds(message_id: int) -> float:
    """When the id was made, in seconds since 1970 (UTC)."""
    return (message_id >> 8) / 1_000_000

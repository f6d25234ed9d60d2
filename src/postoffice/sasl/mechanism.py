"""The frame of all mechanisms (RFC 4422): what the client sends goes in, a step comes out.

Pure: a mechanism knows no user and waits for nothing. What it needs to know it asks for by a step; its driver answers
with `supply` or acts on the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this to the client and `take` its answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """The end: verify this name and password."""

    login: str
    password: str


@dataclass(frozen=True, slots=True)
class NeedVerifier:
    """Look up the stored verifier of this name and `supply` it."""

    login: str


@dataclass(frozen=True, slots=True)
class Proved:
    """The end of an exchange without a password: whether the client knew it. ``final`` is to be sent to a client that
    is let in (as the last challenge, answered by an empty response)."""

    login: str
    ok: bool
    final: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """The end: the client's message breaks the mechanism's grammar. ``reason`` is for the trace."""

    reason: str


Step = Challenge | CheckPassword | NeedVerifier | Proved | Malformed


class Mechanism(Protocol):
    """One exchange."""

    name: str

    def take(self, data: bytes | None) -> Step:
        """The client's next message, decoded. None: it gave no initial response."""

    def supply(self, salt: bytes, iterations: int, stored_key: bytes, server_key: bytes) -> Step:
        """Answer `NeedVerifier`. Only for mechanisms that ask."""


def decode_text(data: bytes) -> str:
    """UTF-8 without NUL. Raises ValueError."""
    text = data.decode("utf-8")             # UnicodeDecodeError is a ValueError
    if "\0" in text:
        raise ValueError("NUL in a name or password")
    return text

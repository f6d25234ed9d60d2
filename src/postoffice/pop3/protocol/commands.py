"""The commands of POP3, one row each: dispatch, state check, syntax and the manual derive from the rows.

RFC 1939, RFC 2449 (CAPA), RFC 2595 §4 (STLS), RFC 5034 (AUTH). APOP is not among them: it needs passwords
that can be recovered.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Flag):
    """RFC 1939 §3. UPDATE is not here: QUIT enters it and no command is taken there."""

    AUTHORIZATION = enum.auto()
    TRANSACTION = enum.auto()


class Syntax(enum.Enum):
    """What may follow the verb; the value is shown in the manual."""

    NONE = ""
    TEXT = "text"                           # all of the rest, blanks included
    NUMBER = "msg"
    OPTIONAL_NUMBER = "[msg]"
    NUMBER_AND_COUNT = "msg n"
    MECHANISM = "[mechanism [initial-response]]"


@dataclass(frozen=True, slots=True)
class Verb:
    """One command. ``limit``: the longest line in octets, CRLF included."""

    name: str
    states: State
    syntax: Syntax
    rfc: str
    limit: int = 255                        # RFC 2449 §4


_BOTH = State.AUTHORIZATION | State.TRANSACTION
# Passwords and addresses may be long, and in UTF-8 they are longer.
_LONG = 512

VERBS: tuple[Verb, ...] = (
    Verb("USER", State.AUTHORIZATION, Syntax.TEXT, "RFC 1939 §7", _LONG),
    Verb("PASS", State.AUTHORIZATION, Syntax.TEXT, "RFC 1939 §7", _LONG),
    Verb("AUTH", State.AUTHORIZATION, Syntax.MECHANISM, "RFC 5034 §4", _LONG),
    Verb("STLS", State.AUTHORIZATION, Syntax.NONE, "RFC 2595 §4"),
    Verb("CAPA", _BOTH, Syntax.NONE, "RFC 2449 §5"),
    Verb("QUIT", _BOTH, Syntax.NONE, "RFC 1939 §6"),
    Verb("STAT", State.TRANSACTION, Syntax.NONE, "RFC 1939 §5"),
    Verb("LIST", State.TRANSACTION, Syntax.OPTIONAL_NUMBER, "RFC 1939 §5"),
    Verb("RETR", State.TRANSACTION, Syntax.NUMBER, "RFC 1939 §5"),
    Verb("DELE", State.TRANSACTION, Syntax.NUMBER, "RFC 1939 §5"),
    Verb("NOOP", State.TRANSACTION, Syntax.NONE, "RFC 1939 §5"),
    Verb("RSET", State.TRANSACTION, Syntax.NONE, "RFC 1939 §5"),
    Verb("TOP", State.TRANSACTION, Syntax.NUMBER_AND_COUNT, "RFC 1939 §7"),
    Verb("UIDL", State.TRANSACTION, Syntax.OPTIONAL_NUMBER, "RFC 1939 §7"),
)

BY_NAME: dict[bytes, Verb] = {verb.name.encode(): verb for verb in VERBS}


@dataclass(slots=True)                      # not frozen: thousands are made a second
class Command:
    """A command that is in order. ``text`` is USER's or PASS's argument, or AUTH's mechanism in upper case
    ("": none was given); ``number`` a message number, 0 when none was given; ``count`` TOP's number of
    lines; ``initial`` AUTH's initial response, decoded (b"" for "="), None when there was none."""

    verb: str
    text: str = ""
    number: int = 0
    count: int = 0
    initial: bytes | None = None


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """The client's answer to a challenge, decoded. None: it cancelled with "*"."""

    data: bytes | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine judged the line itself: answer ``-ERR`` with ``text``; it counts as a bad command."""

    text: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The connection cannot go on: answer ``-ERR`` with ``text`` and close."""

    text: str


Event = Command | AuthResponse | Refused | Violation

"""What the server engine tells its session (RFC 5321 §4.1.1). Values only; each Command is answered by one Reply
(AUTH by challenges first), and nothing more comes out until it is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from postoffice.message.address import Address
from postoffice.smtp.protocol.reply import Reply as Reply


class Hello(msgspec.Struct, frozen=True):
    """HELO or EHLO. ``extended`` for EHLO. On success the engine itself formats the EHLO lines: answer with
    `ServerEngine.accept_hello(greeting)`."""

    name: str
    extended: bool


class Mail(msgspec.Struct, frozen=True):
    """MAIL FROM. ``params`` parsed: SIZE int, BODY "7BIT"|"8BITMIME", SMTPUTF8 True, AUTH str, RET, ENVID, ..."""

    sender: Address | None
    params: Mapping[str, object]


class Rcpt(msgspec.Struct, frozen=True):
    address: Address
    params: Mapping[str, object]


class Data(msgspec.Struct, frozen=True):
    """DATA was asked for; answer 354 (`reply.START_DATA`) to take the body or a refusal."""


class BodyStart(msgspec.Struct, frozen=True):
    """The first BDAT of a transaction; no reply: the session prepares, then calls `ServerEngine.proceed()`, or
    refuses by `ServerEngine.reply` (the engine swallows the chunk, then gives the Reply as BodyRefused)."""


class BodyBytes(msgspec.Struct, frozen=True):
    """A piece of the body, dot-unstuffed, CRLF, no bare CR or LF; no reply. Comes only when the body is too large to
    be given whole (over `Limits.piece_bytes`)."""

    chunks: list[bytes]


class BodyEnd(msgspec.Struct, frozen=True):
    """The last piece (all of a small body) and the end: answer 250, 4yz or 5yz. ``chunks`` joined with earlier
    BodyBytes are the message."""

    chunks: list[bytes]
    size: int                      # of the whole message


class BodyRefused(msgspec.Struct, frozen=True):
    """The body broke a rule (bare CR or LF, over the size limit, a BDAT chunk refused); it has been swallowed and the
    engine has a reply ready in ``reply``: the session may replace its text but must answer. The transaction is over."""

    reply: Reply
    reason: str


class ChunkDone(msgspec.Struct, frozen=True):
    """A BDAT chunk that is not the last has arrived whole; answer 250."""

    size: int


class Auth(msgspec.Struct, frozen=True):
    """AUTH mechanism [initial-response], decoded; None: no initial response (b"" for "=")."""

    mechanism: str
    initial: bytes | None


class AuthResponse(msgspec.Struct, frozen=True):
    """The client's answer to a challenge, base64 decoded. None: it cancelled with "*" (answer 501)."""

    data: bytes | None


class StartTls(msgspec.Struct, frozen=True):
    """STARTTLS in a state where it is allowed and offered. After the 220 the engine has emptied its buffer."""


class Verify(msgspec.Struct, frozen=True):
    """VRFY argument."""

    argument: str


class Expand(msgspec.Struct, frozen=True):
    """EXPN argument."""

    argument: str


class Simple(msgspec.Struct, frozen=True):
    """NOOP, RSET, HELP, QUIT: ``verb`` in upper case; the engine has its standard ``reply`` ready."""

    verb: str
    argument: str
    reply: Reply


class Refused(msgspec.Struct, frozen=True):
    """The engine judged the line itself (syntax, order, unknown command, too long): ``reply`` is ready, the session
    answers with it, counts it as a bad command, and may close."""

    reply: Reply
    verb: str
    bad: bool = True               # counts towards MaxBadCommands


class Violation(msgspec.Struct, frozen=True):
    """The connection cannot go on (endless line, talk out of turn): send ``reply``, close."""

    reply: Reply
    reason: str


Event = (Hello | Mail | Rcpt | Data | BodyStart | BodyBytes | BodyEnd | BodyRefused | ChunkDone | Auth | AuthResponse
         | StartTls | Verify | Expand | Simple | Refused | Violation)

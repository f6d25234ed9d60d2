"""What the server engine tells its session (RFC 5321 §4.1.1). Values only; each Command is answered by one Reply
(AUTH by challenges first), and nothing more comes out until it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from postoffice.message.address import Address
from postoffice.smtp.protocol.reply import Reply as Reply


@dataclass(frozen=True, slots=True)
class Hello:
    """HELO or EHLO. ``extended`` for EHLO. On success the engine itself formats the EHLO lines: answer with
    `ServerEngine.accept_hello(greeting)`."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM. ``params`` parsed: SIZE int, BODY "7BIT"|"8BITMIME", SMTPUTF8 True, AUTH str, RET, ENVID, ..."""

    sender: Address | None
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Rcpt:
    address: Address
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Data:
    """DATA was asked for; answer 354 (`reply.START_DATA`) to take the body or a refusal."""


@dataclass(frozen=True, slots=True)
class BodyStart:
    """The first BDAT of a transaction; no reply: the session prepares, then calls `ServerEngine.proceed()`, or
    refuses with a Reply (the engine then swallows the chunk first)."""


@dataclass(frozen=True, slots=True)
class BodyBytes:
    """A piece of the body, dot-unstuffed, CRLF, no bare CR or LF; no reply. Comes only when the body is too large to
    be given whole (over `Limits.piece_bytes`)."""

    chunks: list[bytes]


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """The last piece (all of a small body) and the end: answer 250, 4yz or 5yz. ``chunks`` joined with earlier
    BodyBytes are the message."""

    chunks: list[bytes]
    size: int                      # of the whole message


@dataclass(frozen=True, slots=True)
class BodyRefused:
    """The body broke a rule (bare CR or LF, over the size limit, a BDAT chunk refused); it has been swallowed and the
    engine has a reply ready in ``reply``: the session may replace its text but must answer. The transaction is over."""

    reply: Reply
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """A BDAT chunk that is not the last has arrived whole; answer 250."""

    size: int


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH mechanism [initial-response], decoded; None: no initial response (b"" for "=")."""

    mechanism: str
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """The client's answer to a challenge, base64 decoded. None: it cancelled with "*" (answer 501)."""

    data: bytes | None


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS in a state where it is allowed and offered. After the 220 the engine has emptied its buffer."""


@dataclass(frozen=True, slots=True)
class Verify:
    """VRFY argument."""

    argument: str


@dataclass(frozen=True, slots=True)
class Expand:
    """EXPN argument."""

    argument: str


@dataclass(frozen=True, slots=True)
class Simple:
    """NOOP, RSET, HELP, QUIT: ``verb`` in upper case; the engine has its standard ``reply`` ready."""

    verb: str
    argument: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine judged the line itself (syntax, order, unknown command, too long): ``reply`` is ready, the session
    answers with it, counts it as a bad command, and may close."""

    reply: Reply
    verb: str
    bad: bool = True               # counts towards MaxBadCommands


@dataclass(frozen=True, slots=True)
class Violation:
    """The connection cannot go on (endless line, talk before the greeting, bytes after STARTTLS): send ``reply``, close."""

    reply: Reply
    reason: str


Event = (Hello | Mail | Rcpt | Data | BodyStart | BodyBytes | BodyEnd | BodyRefused | ChunkDone | Auth | AuthResponse
         | StartTls | Verify | Expand | Simple | Refused | Violation)

"""The SMTP server's engine: bytes in, events out; replies in, bytes out (RFC 5321, 1870, 2920, 3030, 3207, 4954, 6531).

Owns grammar, order, limits and pipelining; knows no socket, clock, user or setting. Laws:

- One event at a time: after an event nothing more comes out until it is answered, so pipelined input keeps its order.
- The answer moves the state; a refused command does not. `_reset` ends a transaction, and nothing survives it.
- Input that came before its turn (before the greeting, behind a command that must be the last of its group) ends the
  connection: an injected command is never taken for the client's.
- Every limit is checked before the bytes are kept.

Not an event are continuation pieces: a body over ``Limits.piece_bytes`` comes as several `BodyBytes`, which are not
answered.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any

from postoffice.base.errors import UsageError
from postoffice.message.address import Address, parse_path
from postoffice.smtp.protocol import events as ev
from postoffice.smtp.protocol import reply as replies
from postoffice.smtp.protocol.body import ChunkReader, DataReader
from postoffice.smtp.protocol.commands import BY_NAME, NOT_HERE, Verb, build_help
from postoffice.smtp.protocol.events import Event
from postoffice.smtp.protocol.extensions import EngineConfig, collect_parsers, list_announcements
from postoffice.smtp.protocol.grammar import UnknownParameter, parse_chunk, parse_parameters
from postoffice.smtp.protocol.reply import (
    Reply,
    format_reply,
    refuse_parameter,
    refuse_syntax,
    refuse_unknown_parameter,
)


class ServerEngine:
    """One connection's protocol state."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._limits = config.limits
        self._mail_parsers, self._rcpt_parsers = collect_parsers(config.extensions)
        self._buffer = b""              # what came; up to `_at` it has been looked at
        self._at = 0
        self._pending: Event | None = None
        self._violation: ev.Violation | None = None
        self._greeted = False
        self._closed = False
        self._in_auth = False
        self._data: DataReader | None = None
        self._chunks: ChunkReader | None = None
        self._chunk_open = False        # bytes of a chunk are awaited
        self._chunk_last = False
        self._refused_body: Reply | None = None     # the session's answer to BodyStart, given when the chunk is through
        self._swallowed: Reply | None = None    # the answer to a chunk that is swallowed because it is refused
        self.hello: str | None = None   # the name the client gave
        self.extended = False
        self.authenticated = False
        self.tls = False
        self._utf8 = False
        self.in_mail = False            # MAIL was accepted
        self.recipients = 0             # accepted ones

    # --- what a session calls -------------------------------------------------------------------------------

    def configure(self, config: EngineConfig) -> None:
        """Offer something else from now on. A transaction under way keeps what it was begun with."""
        if config is not self._config:
            self._config = config
            self._limits = config.limits
            self._mail_parsers, self._rcpt_parsers = collect_parsers(config.extensions)

    def greet(self, reply: Reply) -> bytes:
        """The first reply (220, or a refusal)."""
        self._greeted = True
        return self._send(reply)

    def receive(self, data: bytes) -> None:
        """Take input. `next_event` gives what is in it."""
        if self._closed:
            return
        if not self._greeted:
            self._violate(replies.UNSYNCHRONISED, "talked before the greeting")
        elif self._pending is not None and isinstance(self._pending, _MUST_WAIT):
            self._violate(replies.UNSYNCHRONISED, "sent more before the answer to " + type(self._pending).__name__)
        else:
            rest = self.buffered
            self._buffer = self._buffer[-rest:] + data if rest else data
            self._at = 0

    @property
    def buffered(self) -> int:
        """Bytes received and not yet given out; the session stops reading while it is high."""
        return len(self._buffer) - self._at

    def next_event(self) -> Event | None:
        """The next event; None: more input is needed, or the last event is not answered."""
        if self._closed:
            return None
        if self._violation is not None:
            # What was asked before has lost its answer: the connection ends.
            self._pending, self._violation = self._violation, None
            return self._pending
        if self._pending is not None:
            return None
        event = self._parse()
        if type(event) is not ev.BodyBytes:
            self._pending = event
        return event

    def reply(self, reply: Reply) -> bytes:
        """Answer the pending event; the state moves by it. Returns the bytes for the peer."""
        event, self._pending = self._pending, None
        if event is None:
            raise UsageError("there is nothing to answer")
        kind = type(event)
        if kind is ev.Hello and reply.code < 400:
            raise UsageError("a greeting is accepted by accept_hello")
        move = _MOVES.get(kind)
        if move is not None:
            move(self, event, reply)
        return b"" if kind is ev.BodyStart else self._send(reply)

    def accept_hello(self, greeting: str) -> bytes:
        """250 to HELO or EHLO with what is offered. The transaction is over (RFC 5321 §4.1.4)."""
        event, self._pending = self._pending, None
        if not isinstance(event, ev.Hello):
            raise UsageError("no HELO or EHLO is pending")
        self._reset()
        self.hello, self.extended = event.name, event.extended
        lines = [f"{self._config.host} {greeting}".rstrip()]
        if event.extended:
            lines += list_announcements(self._config, tls=self.tls, authenticated=self.authenticated)
        return format_reply(Reply(250, "", tuple(lines)))       # RFC 2034 §4: no enhanced code on these

    def challenge(self, data: bytes) -> bytes:
        """334 with a challenge; the client's answer comes as AuthResponse."""
        if not isinstance(self._pending, ev.Auth | ev.AuthResponse):
            raise UsageError("no AUTH is pending")
        self._pending = None
        self._in_auth = True
        return b"334 " + binascii.b2a_base64(data, newline=False) + b"\r\n"

    def auth_done(self, reply: Reply, *, ok: bool) -> bytes:
        """End an AUTH exchange."""
        if not isinstance(self._pending, ev.Auth | ev.AuthResponse):
            raise UsageError("no AUTH is pending")
        self._pending = None
        self._in_auth = False
        self.authenticated = ok
        return self._send(reply)

    def proceed(self) -> None:
        """Take the BDAT transaction that BodyStart announced."""
        if not isinstance(self._pending, ev.BodyStart):
            raise UsageError("no BodyStart is pending")
        self._pending = None

    def tls_started(self) -> None:
        """The handshake is done: all that was said in clear is forgotten (RFC 3207 §4.2)."""
        self._drop_input()
        self._pending = None
        self._violation = None
        self._reset()
        self.tls = True
        self.authenticated = False
        self._in_auth = False
        self.hello, self.extended = None, False

    # --- input ----------------------------------------------------------------------------------------------

    def _parse(self) -> Event | None:
        if self._data is not None:
            return self._read_data(self._data)
        if self._chunk_open and self._chunks is not None:
            return self._read_chunk(self._chunks)
        buffer, at = self._buffer, self._at
        if at == len(buffer):
            return None
        end = buffer.find(b"\n", at)
        if end < 0:
            # One more than the limit: it may be the CR of a line that is just long enough.
            if len(buffer) - at > self._get_line_limit(buffer[at : at + 5]) + 1:
                return self._end(replies.ENDLESS_LINE, "a line without end")
            return None
        line = buffer[at:end]
        self._at = end + 1
        if line.find(b"\r") != len(line) - 1 or not line:
            return self._refuse(replies.BARE_LINE_END, "")
        line = line[:-1]
        if len(line) > self._limits.command_line and len(line) > self._get_line_limit(line[:5]):
            if self._in_auth:
                return self._end(replies.ENDLESS_LINE, "an AUTH line too long")
            return self._refuse(replies.LINE_TOO_LONG, "")
        return self._read_auth_response(line) if self._in_auth else self._read_command(line)

    def _get_line_limit(self, begin: bytes) -> int:
        """Octets of a line that begins so."""
        in_auth = self._in_auth or begin.upper() == b"AUTH "
        return self._limits.auth_line if in_auth else self._limits.command_line

    def _read_command(self, line: bytes) -> Event | None:
        name, _blank, argument = line.partition(b" ")
        name = name.upper()
        verb = BY_NAME.get(name)
        if self.hello is None and self._at < len(self._buffer) and name != b"QUIT":
            # Nobody was told yet that pipelining is understood; this may be a browser led astray (RFC 2920 §3.1).
            return self._end(replies.UNSYNCHRONISED, "sent more before EHLO")
        if verb is None:
            return self._refuse(replies.COMMAND_OFF if name in NOT_HERE else replies.UNKNOWN_COMMAND, "")
        if (verb.free and not _is_printable(argument, verb.free)) or (b"\0" in line and verb.name != "BDAT"):
            return self._refuse(replies.BAD_CHARACTERS, verb.name)
        if verb.name not in self._config.verbs:
            return self._refuse_chunk_too(verb, argument, replies.COMMAND_OFF)
        if verb.argument is not None and verb.argument != bool(argument.strip()):
            return self._refuse(refuse_syntax(verb.syntax), verb.name)
        if verb.last and self._at < len(self._buffer):
            return self._end(replies.UNSYNCHRONISED, f"sent more behind {verb.name}")
        refusal = self._check_state(verb)
        if refusal is not None:
            return self._refuse_chunk_too(verb, argument, refusal)
        return _READERS[verb.name](self, argument)

    def _check_state(self, verb: Verb) -> Reply | None:
        if self._config.require_auth and not self.authenticated and not verb.anonymous:
            return replies.SIGN_IN_FIRST
        if verb.hello and self.hello is None:
            return replies.HELLO_FIRST
        return None

    def _refuse_chunk_too(self, verb: Verb, argument: bytes, reply: Reply) -> Event | None:
        """A refused BDAT is followed by its bytes all the same: they must not be read as commands (RFC 3030 §2)."""
        if verb.name != "BDAT":
            return self._refuse(reply, verb.name)
        return self._swallow(argument, reply)

    def _swallow(self, argument: bytes, reply: Reply) -> Event | None:
        try:
            size, _last = parse_chunk(argument)
        except ValueError as error:
            return self._end(_close(refuse_parameter(str(error))), "a chunk of unknown size")
        self._swallowed = reply
        chunks = self._chunks = ChunkReader(0)
        chunks.swallow = True
        chunks.begin(size)
        self._chunk_open = True
        return self._read_chunk(chunks)

    # --- one method per command: argument in, event out -----------------------------------------------------

    def _hello(self, argument: bytes, *, extended: bool) -> Event:
        try:
            name = argument.strip().decode("utf-8")
        except UnicodeDecodeError:
            name = ""
        # Names with blanks, underscores or none of ours are common and harmless; RFC 5321 §4.1.4 forbids refusing them.
        if not name.isprintable() or not 0 < len(name) <= _MAX_HELLO:
            return self._refuse(refuse_parameter("The name is not valid"), "EHLO" if extended else "HELO")
        return ev.Hello(name, extended)

    def _mail(self, argument: bytes) -> Event:
        if self.in_mail:
            return self._refuse(replies.BAD_SEQUENCE, "MAIL")
        if argument[:5].upper() != b"FROM:":
            return self._refuse(refuse_syntax("MAIL FROM:<address>"), "MAIL")
        try:
            sender, rest = parse_path(argument[5:].lstrip(b" "), utf8=True)
            params = self._parameters(rest, self._mail_parsers)
        except ValueError as error:
            return self._refuse_by(error, "MAIL", "5.1.7")
        if sender is not None and not _is_ascii(sender) and "SMTPUTF8" not in params:
            return self._refuse(replies.NEEDS_UTF8, "MAIL")
        size = params.get("SIZE", 0)
        if self._limits.message_size and isinstance(size, int) and size > self._limits.message_size:
            return self._refuse(replies.TOO_LARGE, "MAIL", bad=False)
        return ev.Mail(sender, params)

    def _rcpt(self, argument: bytes) -> Event:
        if not self.in_mail:
            return self._refuse(replies.BAD_SEQUENCE, "RCPT")
        if self._chunks is not None:
            return self._refuse(replies.BAD_SEQUENCE, "RCPT")
        if argument[:3].upper() != b"TO:":
            return self._refuse(refuse_syntax("RCPT TO:<address>"), "RCPT")
        try:
            address, rest = parse_path(argument[3:].lstrip(b" "), utf8=True)
            params = self._parameters(rest, self._rcpt_parsers)
        except ValueError as error:
            return self._refuse_by(error, "RCPT", "5.1.3")
        if address is None:
            return self._refuse(Reply(501, "5.1.3", ("A recipient is needed",)), "RCPT")
        if not self._utf8 and not _is_ascii(address):
            return self._refuse(replies.NEEDS_UTF8, "RCPT")
        return ev.Rcpt(address, params)

    def _data_command(self, argument: bytes) -> Event:
        if not self.in_mail:
            return self._refuse(replies.BAD_SEQUENCE, "DATA")
        if self._chunks is not None:
            return self._refuse(replies.BAD_SEQUENCE, "DATA")
        if not self.recipients:
            return self._refuse(_NO_RECIPIENTS, "DATA", bad=False)
        return ev.Data()

    def _bdat(self, argument: bytes) -> Event | None:
        if not self.in_mail:
            return self._swallow(argument, replies.BAD_SEQUENCE)
        if not self.recipients:
            return self._swallow(argument, _NO_RECIPIENTS)
        try:
            size, last = parse_chunk(argument)
        except ValueError as error:
            return self._end(_close(refuse_parameter(str(error))), "a chunk of unknown size")
        first = self._chunks is None
        if self._chunks is None:
            self._chunks = ChunkReader(self._limits.message_size)
        self._chunks.begin(size)
        self._chunk_open, self._chunk_last = True, last
        if first:
            return ev.BodyStart()
        return self._read_chunk(self._chunks)

    def _starttls(self, argument: bytes) -> Event:
        if self.tls or not self._config.starttls or "STARTTLS" not in self._config.extensions:
            return self._refuse(replies.COMMAND_OFF if not self.tls else replies.BAD_SEQUENCE, "STARTTLS")
        return ev.StartTls()

    def _auth(self, argument: bytes) -> Event:
        if self.authenticated:
            return self._refuse(replies.ALREADY_SIGNED_IN, "AUTH")
        if self.in_mail:
            return self._refuse(replies.BAD_SEQUENCE, "AUTH")
        if not self._config.mechanisms or "AUTH" not in self._config.extensions:
            needs_tls = self._config.starttls and not self.tls
            return self._refuse(replies.NO_SIGN_IN_IN_CLEAR if needs_tls else replies.COMMAND_OFF, "AUTH")
        mechanism, _blank, initial = argument.strip().partition(b" ")
        name = mechanism.decode("ascii", "replace").upper()
        if name not in self._config.mechanisms:
            return self._refuse(replies.UNKNOWN_MECHANISM, "AUTH")
        if not initial:
            return ev.Auth(name, None)
        try:
            return ev.Auth(name, b"" if initial == b"=" else _decode_base64(initial))
        except ValueError:
            return self._refuse(replies.SIGN_IN_MALFORMED, "AUTH")

    def _verify(self, argument: bytes) -> Event:
        return ev.Verify(argument.decode("utf-8", "replace").strip())

    def _expand(self, argument: bytes) -> Event:
        return ev.Expand(argument.decode("utf-8", "replace").strip())

    def _simple(self, verb: str, argument: bytes, reply: Reply) -> Event:
        return ev.Simple(verb, argument.decode("ascii", "replace"), reply)

    def _help(self, argument: bytes) -> Event:
        topic = argument.decode("ascii", "replace")
        return ev.Simple("HELP", topic, Reply(214, "2.0.0", build_help(topic, self._config.verbs)))

    # --- bodies ---------------------------------------------------------------------------------------------

    def _read_data(self, reader: DataReader) -> Event | None:
        if self._at == len(self._buffer):
            return None
        rest = reader.feed(self._buffer[self._at :])
        self._buffer, self._at = rest or b"", 0
        if rest is None:
            if reader.pieces.kept >= self._limits.piece_bytes:
                return ev.BodyBytes(reader.pieces.collect())
            return None
        self._data = None
        if reader.broken:
            return ev.BodyRefused(replies.BARE_IN_BODY, "bare CR or LF")
        if reader.too_large:
            return ev.BodyRefused(replies.TOO_LARGE, "too large")
        return ev.BodyEnd(reader.pieces.collect(), reader.size)

    def _read_chunk(self, reader: ChunkReader) -> Event | None:
        if reader.left:
            if self._at == len(self._buffer):
                return None
            self._at += reader.feed(self._buffer, self._at)
            if reader.left:
                if reader.pieces.kept >= self._limits.piece_bytes:
                    return ev.BodyBytes(reader.pieces.collect())
                return None
        self._chunk_open = False
        if self._swallowed is not None:
            reply, self._swallowed = self._swallowed, None
            self._chunks = None
            self._reset()
            return self._refuse(reply, "BDAT")
        if self._refused_body is not None:
            return ev.BodyRefused(self._refused_body, "refused at its beginning")
        if self._chunk_last:
            reader.finish()
        if reader.broken:
            return ev.BodyRefused(replies.BARE_IN_BODY, "bare CR or LF")
        if reader.too_large:
            return ev.BodyRefused(replies.TOO_LARGE, "too large")
        if self._chunk_last:
            return ev.BodyEnd(reader.pieces.collect(), reader.size)
        if reader.pieces.kept >= self._limits.piece_bytes:
            self._chunk_open = True             # come back for ChunkDone
            return ev.BodyBytes(reader.pieces.collect())
        return ev.ChunkDone(reader.size)

    def _read_auth_response(self, line: bytes) -> Event:
        if line == b"*":
            return ev.AuthResponse(None)
        try:
            return ev.AuthResponse(_decode_base64(line))
        except ValueError:
            self._in_auth = False
            return self._refuse(replies.SIGN_IN_MALFORMED, "AUTH")

    # --- state ----------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """The transaction is over, however it ended: nothing of it is left."""
        self.in_mail = False
        self.recipients = 0
        self._utf8 = False
        self._data = None
        self._chunks = None
        self._chunk_open = self._chunk_last = False
        self._swallowed = self._refused_body = None

    def _answered_mail(self, event: ev.Mail, reply: Reply) -> None:
        if reply.code < 400:
            self.in_mail = True
            self._utf8 = "SMTPUTF8" in event.params

    def _answered_rcpt(self, event: ev.Rcpt, reply: Reply) -> None:
        if reply.code < 400:
            self.recipients += 1

    def _answered_data(self, event: ev.Data, reply: Reply) -> None:
        if reply.code == 354:
            self._data = DataReader(self._limits.message_size)
        else:
            self._reset()

    def _answered_body(self, event: Event, reply: Reply) -> None:
        self._reset()

    def _answered_chunk(self, event: ev.ChunkDone, reply: Reply) -> None:
        """RFC 3030 §2: once a chunk is refused the message has failed."""
        if reply.code >= 400:
            self._reset()

    def _answered_body_start(self, event: ev.BodyStart, reply: Reply) -> None:
        """The BDAT transaction is refused: its chunk is swallowed, then the reply is given as BodyRefused."""
        assert self._chunks is not None
        self._chunks.swallow = True
        self._refused_body = reply

    def _answered_tls(self, event: ev.StartTls, reply: Reply) -> None:
        if reply.code == 220:
            self._drop_input()

    def _answered_simple(self, event: ev.Simple, reply: Reply) -> None:
        if event.verb == "RSET":
            self._reset()
        elif event.verb == "QUIT":
            self._closed = True

    def _answered_auth(self, event: Event, reply: Reply) -> None:
        self._in_auth = False

    # --- replies --------------------------------------------------------------------------------------------

    def _send(self, reply: Reply) -> bytes:
        if reply.close or reply.code == 421:
            self._closed = True
            self._drop_input()
        return format_reply(reply)

    def _refuse(self, reply: Reply, verb: str, *, bad: bool = True) -> Event:
        return ev.Refused(reply, verb, bad)

    def _refuse_by(self, error: ValueError, verb: str, enhanced: str) -> Event:
        if isinstance(error, UnknownParameter):
            return self._refuse(refuse_unknown_parameter(str(error)), verb)
        if isinstance(error, _ParameterError):
            return self._refuse(refuse_parameter(str(error)), verb)
        return self._refuse(Reply(501, enhanced, (f"Bad address: {error}",)), verb)

    def _parameters(self, rest: bytes, parsers: dict[str, Callable[[bytes | None], object]]) -> dict[str, object]:
        if not rest:
            return {}
        if not rest.startswith(b" "):
            raise ValueError("something stands behind the >")
        if rest.isspace():
            return {}
        if not self.extended:
            raise UnknownParameter("(parameters need EHLO)")
        try:
            return parse_parameters(rest, parsers)
        except UnknownParameter as error:
            name = str(error)
            if name in self._mail_parsers or name in self._rcpt_parsers:
                raise _ParameterError(f"Parameter {name} does not belong here") from None
            raise
        except ValueError as error:
            raise _ParameterError(str(error)) from None

    def _end(self, reply: Reply, reason: str) -> Event:
        self._drop_input()
        return ev.Violation(reply, reason)

    def _violate(self, reply: Reply, reason: str) -> None:
        self._drop_input()
        if self._violation is None:
            self._violation = ev.Violation(reply, reason)

    def _drop_input(self) -> None:
        self._buffer, self._at = b"", 0


_MAX_HELLO = 255                # RFC 5321 §4.5.3.1.2
_NO_RECIPIENTS = Reply(554, "5.5.1", ("No valid recipients",))


def _close(reply: Reply) -> Reply:
    return Reply(reply.code, reply.enhanced, reply.lines, close=True)


class _ParameterError(ValueError):
    """An ESMTP parameter that is known but wrong."""


def _decode_base64(text: bytes) -> bytes:
    # The strict mode of Python 3.11 lets one = too many pass.
    if len(text) % 4:
        raise ValueError("base64 comes in fours")
    return binascii.a2b_base64(text, strict_mode=True)


def _is_printable(text: bytes, encoding: str) -> bool:
    try:
        return text.decode(encoding).isprintable()
    except UnicodeDecodeError:
        return False


def _is_ascii(address: Address) -> bool:
    return address.local.isascii() and address.domain.isascii()


# Behind these the client must wait for the answer.
_MUST_WAIT = (ev.Hello, ev.Data, ev.Auth, ev.AuthResponse, ev.StartTls)

_MOVES: dict[type, Callable[[ServerEngine, Any, Reply], None]] = {
    ev.Mail: ServerEngine._answered_mail, ev.Rcpt: ServerEngine._answered_rcpt, ev.Data: ServerEngine._answered_data,
    ev.BodyEnd: ServerEngine._answered_body, ev.BodyRefused: ServerEngine._answered_body,
    ev.BodyStart: ServerEngine._answered_body_start, ev.ChunkDone: ServerEngine._answered_chunk,
    ev.StartTls: ServerEngine._answered_tls,
    ev.Simple: ServerEngine._answered_simple, ev.Auth: ServerEngine._answered_auth,
    ev.AuthResponse: ServerEngine._answered_auth,
}

_READERS: dict[str, Callable[[ServerEngine, bytes], Event | None]] = {
    "HELO": lambda engine, argument: engine._hello(argument, extended=False),
    "EHLO": lambda engine, argument: engine._hello(argument, extended=True),
    "MAIL": ServerEngine._mail,
    "RCPT": ServerEngine._rcpt,
    "DATA": ServerEngine._data_command,
    "BDAT": ServerEngine._bdat,
    "STARTTLS": ServerEngine._starttls,
    "AUTH": ServerEngine._auth,
    "VRFY": ServerEngine._verify,
    "EXPN": ServerEngine._expand,
    "HELP": ServerEngine._help,
    "NOOP": lambda engine, argument: engine._simple("NOOP", argument, replies.OK),
    "RSET": lambda engine, argument: engine._simple("RSET", argument, replies.OK),
    "QUIT": lambda engine, argument: engine._simple("QUIT", argument, replies.CLOSING),
}

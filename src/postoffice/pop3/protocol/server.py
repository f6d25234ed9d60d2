"""The POP3 server engine: bytes in, one command out at a time, in order. No I/O.

Owns: line framing and its limits, syntax, which command is allowed in which state. Leaves every answer to
its session. Lines end in CRLF and nothing else (RFC 1939 §3); what is buffered is bounded by the session,
which stops reading while `buffered` is high. RFC 1939, 2449, 2595, 5034.
"""

from __future__ import annotations

import binascii

from postoffice.base.errors import UsageError
from postoffice.pop3.protocol.commands import (
    BY_NAME,
    AuthResponse,
    Command,
    Event,
    Refused,
    State,
    Syntax,
    Verb,
    Violation,
)

MAX_LINE = 2048                             # a line without end is cut here; SASL responses may be this long

# CR, LF and NUL in a command are attacks, the others mistakes; a password may hold a tab.
_CONTROLS = bytes(code for code in range(32) if code != 9) + b"\x7f"
_MAX_DIGITS = 10


class ServerEngine:
    """One connection. Feed with `receive`, pull with `next_event`; answer each event before pulling the
    next."""

    __slots__ = ("_buffer", "_expects_response", "_offset", "_state", "_stopped")

    def __init__(self) -> None:
        self._buffer = b""
        self._offset = 0                    # what lies before it is done
        self._state = State.AUTHORIZATION
        self._expects_response = False
        self._stopped = False

    @property
    def state(self) -> State:
        return self._state

    @property
    def buffered(self) -> int:
        """Bytes received and not yet given out."""
        return len(self._buffer) - self._offset

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self._stopped:
            return
        if self._offset == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._offset :] + data
        self._offset = 0

    def next_event(self) -> Event | None:
        """The next event, or None until more bytes come."""
        buffer, start = self._buffer, self._offset
        end = buffer.find(b"\r\n", start)
        if end < 0:
            return self._check_unfinished()
        self._offset = end + 2
        line = buffer[start:end]
        if b"\n" in line:
            return self._break_off("Lines must end with CR LF")
        if self._expects_response:
            return self._parse_response(line)
        return self._parse_command(line)

    def drop_input(self) -> None:
        """Forget what is buffered: what came in clear with STLS is not the client's own (RFC 2595 §2.4)."""
        self._buffer, self._offset = b"", 0

    def expect_response(self) -> None:
        """After a challenge: the next line is its answer."""
        if self._state is not State.AUTHORIZATION:
            raise UsageError("a SASL exchange outside AUTHORIZATION")
        self._expects_response = True

    def enter_transaction(self) -> None:
        """The client has signed in and its maildrop is open."""
        self._state = State.TRANSACTION

    def stop(self) -> None:
        """Take nothing more, whatever comes."""
        self._stopped = True
        self.drop_input()

    def _check_unfinished(self) -> Event | None:
        waiting = len(self._buffer) - self._offset
        if waiting and self._buffer.find(b"\n", self._offset) >= 0:
            return self._break_off("Lines must end with CR LF")
        return self._break_off("Line too long") if waiting > MAX_LINE else None

    def _break_off(self, text: str) -> Violation:
        self.stop()
        return Violation(text)

    def _parse_response(self, line: bytes) -> Event:
        """RFC 5034 §4: a base64 line, or "*" to cancel. Anything else ends the exchange."""
        self._expects_response = False
        if line == b"*":
            return AuthResponse(None)
        if len(line) > MAX_LINE:
            return Refused("Line too long")
        data = _decode_base64(line)
        return Refused("Invalid base64") if data is None else AuthResponse(data)

    def _parse_command(self, line: bytes) -> Event:
        word, blank, rest = line.partition(b" ")
        verb = BY_NAME.get(word) or BY_NAME.get(word.upper())
        if verb is None:
            return Refused("Line too long" if len(line) > 253 else "Unknown command")
        if len(line) + 2 > verb.limit:
            return Refused("Line too long")
        if self._state not in verb.states:
            return Refused("Sign in first" if self._state is State.AUTHORIZATION else "Already signed in")
        syntax = verb.syntax
        if syntax is Syntax.NUMBER:         # RETR and DELE first: they come by the thousand
            number = _parse_number(rest)
            return Command(verb.name, "", number) if number else _refuse_syntax(verb)
        if syntax is Syntax.NONE:
            return Command(verb.name) if not rest.strip(b" ") else _refuse_syntax(verb)
        if syntax is Syntax.OPTIONAL_NUMBER:
            if not rest.strip(b" "):
                return Command(verb.name)
            number = _parse_number(rest)
            return Command(verb.name, "", number) if number else _refuse_syntax(verb)
        if syntax is Syntax.NUMBER_AND_COUNT:
            return _parse_top(verb, rest)
        if syntax is Syntax.MECHANISM:
            return _parse_auth(verb, rest)
        return _parse_text(verb, rest) if blank else _refuse_syntax(verb)


def _refuse_syntax(verb: Verb) -> Refused:
    return Refused(f"Syntax: {verb.name} {verb.syntax.value}".rstrip())


def _parse_number(text: bytes) -> int:
    """A message number; 0 when it is none. int() alone would take signs, blanks and underscores."""
    text = text.strip(b" ")
    return int(text) if text.isdigit() and len(text) <= _MAX_DIGITS else 0


def _parse_top(verb: Verb, rest: bytes) -> Event:
    parts = [part for part in rest.split(b" ") if part]
    if len(parts) != 2 or not parts[1].isdigit() or len(parts[1]) > _MAX_DIGITS:
        return _refuse_syntax(verb)
    number = _parse_number(parts[0])
    return Command(verb.name, "", number, int(parts[1])) if number else _refuse_syntax(verb)


def _parse_text(verb: Verb, rest: bytes) -> Event:
    if not rest or rest.translate(None, _CONTROLS) != rest:
        return _refuse_syntax(verb)
    try:
        return Command(verb.name, rest.decode("utf-8"))
    except UnicodeDecodeError:
        return Refused("Not UTF-8")


def _parse_auth(verb: Verb, rest: bytes) -> Event:
    parts = [part for part in rest.split(b" ") if part]
    if not parts:
        return Command(verb.name)
    mechanism = parts[0].upper()
    if len(parts) > 2 or len(mechanism) > 20 or not mechanism.replace(b"-", b"").replace(b"_", b"").isalnum():
        return _refuse_syntax(verb)
    name = mechanism.decode("ascii")
    if len(parts) == 1:
        return Command(verb.name, name)
    initial = b"" if parts[1] == b"=" else _decode_base64(parts[1])
    return Refused("Invalid base64") if initial is None else Command(verb.name, name, initial=initial)


def _decode_base64(text: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except binascii.Error:
        return None

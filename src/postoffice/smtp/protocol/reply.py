"""SMTP replies: the value, the ones the engine gives itself, and the only place that turns one into bytes.

Invariants: a formatted reply is whole lines of at most 512 octets, ASCII without control characters, so nothing that
a peer sent can begin a line of ours. RFC 5321 §4.2, enhanced codes RFC 2034 and RFC 3463.
"""

from __future__ import annotations

import msgspec

MAX_TEXT = 480                  # RFC 5321 §4.5.3.1.5: 512 octets a line, with code, enhanced code and CRLF


class Reply(msgspec.Struct, frozen=True):
    """An SMTP reply before formatting. ``enhanced`` such as "5.1.1" or ""; several ``lines`` make a long reply."""

    code: int
    enhanced: str
    lines: tuple[str, ...]
    close: bool = False            # the session closes after sending it


def format_reply(reply: Reply) -> bytes:
    """The reply as it goes out, CRLF included."""
    lines = reply.lines
    if len(lines) == 1:
        return _format_line(reply.code, " ", reply.enhanced, lines[0])
    last = len(lines) - 1
    return b"".join(_format_line(reply.code, "-" if number < last else " ", reply.enhanced, line)
                    for number, line in enumerate(lines or ("",)))


def _format_line(code: int, separator: str, enhanced: str, text: str) -> bytes:
    if not text.isascii() or not text.isprintable() or len(text) > MAX_TEXT:
        text = "".join(char if char.isprintable() and char.isascii() else "?" for char in text[:MAX_TEXT])
    if enhanced:
        return f"{code}{separator}{enhanced} {text}\r\n".encode("ascii")
    return f"{code}{separator}{text}\r\n".encode("ascii")


OK = Reply(250, "2.0.0", ("OK",))
SENDER_OK = Reply(250, "2.1.0", ("Sender OK",))
RECIPIENT_OK = Reply(250, "2.1.5", ("Recipient OK",))
START_DATA = Reply(354, "", ("Start mail input; end with <CRLF>.<CRLF>",))
CLOSING = Reply(221, "2.0.0", ("Closing connection",), close=True)
READY_FOR_TLS = Reply(220, "2.0.0", ("Ready to start TLS",))
CANNOT_VERIFY = Reply(252, "2.1.5", ("Cannot verify, but will try to deliver",))
SIGNED_IN = Reply(235, "2.7.0", ("Authentication successful",))
SIGN_IN_WRONG = Reply(535, "5.7.8", ("Authentication credentials invalid",))
SIGN_IN_BUSY = Reply(454, "4.7.0", ("Temporary authentication failure, try again later",))
SIGN_IN_CANCELLED = Reply(501, "5.7.0", ("Authentication cancelled",))
SIGN_IN_MALFORMED = Reply(501, "5.5.2", ("Malformed authentication data",))
SIGN_IN_FIRST = Reply(530, "5.7.0", ("Authentication required",))
NO_SIGN_IN_IN_CLEAR = Reply(538, "5.7.11", ("Encryption required for authentication",))
UNKNOWN_MECHANISM = Reply(504, "5.5.4", ("Unrecognized authentication mechanism",))
ALREADY_SIGNED_IN = Reply(503, "5.5.1", ("Already authenticated",))
UNKNOWN_COMMAND = Reply(500, "5.5.1", ("Command not recognized",))
COMMAND_OFF = Reply(502, "5.5.1", ("Command not implemented",))
LINE_TOO_LONG = Reply(500, "5.5.2", ("Line too long",))
AUTH_LINE_TOO_LONG = Reply(500, "5.5.6", ("Authentication exchange line too long",))
BAD_CHARACTERS = Reply(500, "5.5.2", ("Control or non-ASCII characters are not allowed here",))
BARE_LINE_END = Reply(500, "5.5.2", ("Lines must end with CR LF",), close=True)
ENDLESS_LINE = Reply(500, "5.5.2", ("Line too long",), close=True)
HELLO_FIRST = Reply(503, "5.5.1", ("Send EHLO first",))
BAD_SEQUENCE = Reply(503, "5.5.1", ("Bad sequence of commands",))
UNSYNCHRONISED = Reply(554, "5.5.0", ("SMTP protocol synchronization",), close=True)
TOO_LARGE = Reply(552, "5.3.4", ("Message too large",))
BARE_IN_BODY = Reply(550, "5.6.0", ("Bare CR or LF in the message",))
NEEDS_UTF8 = Reply(553, "5.6.7", ("The address needs SMTPUTF8",))
SHUTTING_DOWN = Reply(421, "4.3.2", ("Service shutting down",), close=True)
TOO_MANY_ERRORS = Reply(421, "4.7.0", ("Too many errors",), close=True)
TIMED_OUT = Reply(421, "4.4.2", ("Timeout",), close=True)


def refuse_syntax(syntax: str) -> Reply:
    """501 with what was expected."""
    return Reply(501, "5.5.4", (f"Syntax: {syntax}",))


def refuse_parameter(text: str) -> Reply:
    """501: a known parameter with a wrong value, in the wrong place or twice."""
    return Reply(501, "5.5.4", (text,))


def refuse_unknown_parameter(keyword: str) -> Reply:
    """555, RFC 5321 §4.1.1.11."""
    return Reply(555, "5.5.4", (f"Unsupported parameter {keyword}",))

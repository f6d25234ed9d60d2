"""SMTP replies: the only place that writes them (RFC 5321 §4.2, RFC 2034, RFC 3463).

A `Reply` is a value; `format_reply` makes its bytes, one enhanced code on every line. Texts are printable ASCII: what a
peer sent never comes back to it raw.
"""

from __future__ import annotations

from postoffice.smtp.protocol.events import Reply

_MAX_TEXT = 400         # RFC 5321 §4.5.3.1.5: a reply line has at most 512 octets


def make_reply(code: int, enhanced: str, text: str, *, close: bool = False) -> Reply:
    """A reply of one line."""
    return Reply(code, enhanced, (text,), close)


def format_reply(reply: Reply) -> bytes:
    """The bytes of a reply. ``enhanced`` stands before each line's text (RFC 2034 §4)."""
    lines = reply.lines
    if len(lines) == 1:
        text = lines[0]
        if not text.isascii() or not text.isprintable() or len(text) > _MAX_TEXT:
            text = _clean(text)
        if reply.enhanced:
            return f"{reply.code} {reply.enhanced} {text}\r\n".encode("ascii")
        return f"{reply.code} {text}\r\n".encode("ascii")
    prefix = f"{reply.enhanced} " if reply.enhanced else ""
    last = len(lines) - 1
    return "".join(
        f"{reply.code}{' ' if i == last else '-'}{prefix}{_clean(text)}\r\n" for i, text in enumerate(lines)).encode("ascii")


def _clean(text: str) -> str:
    safe = text if text.isascii() and text.isprintable() else "".join(
        char if " " <= char <= "~" else "?" for char in text)
    return safe[:_MAX_TEXT]


OK = make_reply(250, "2.0.0", "OK")
SENDER_OK = make_reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = make_reply(250, "2.1.5", "Recipient OK")
START_DATA = make_reply(354, "", "Start mail input; end with <CRLF>.<CRLF>")
START_TLS = make_reply(220, "2.0.0", "Ready to start TLS")
BYE = make_reply(221, "2.0.0", "Goodbye", close=True)
AUTHENTICATED = make_reply(235, "2.7.0", "Authentication successful")
BAD_SEQUENCE = make_reply(503, "5.5.1", "Bad sequence of commands")
HELLO_FIRST = make_reply(503, "5.5.1", "Say EHLO or HELO first")
MAIL_FIRST = make_reply(503, "5.5.1", "MAIL first")
RECIPIENT_FIRST = make_reply(554, "5.5.1", "No valid recipients")
NESTED_MAIL = make_reply(503, "5.5.1", "A transaction is under way; RSET first")
MIXED_BODY = make_reply(503, "5.5.1", "BDAT is under way; DATA cannot be used in it")
AUTH_REQUIRED = make_reply(530, "5.7.0", "Authentication required")
TLS_REQUIRED = make_reply(538, "5.7.11", "Encryption required for authentication")
ALREADY_AUTHENTICATED = make_reply(503, "5.5.1", "Already authenticated")
AUTH_IN_TRANSACTION = make_reply(503, "5.5.1", "AUTH is not allowed during a transaction")
UNKNOWN_MECHANISM = make_reply(504, "5.5.4", "Unrecognized authentication type")
BAD_BASE64 = make_reply(501, "5.5.2", "Cannot decode base64")
AUTH_CANCELLED = make_reply(501, "5.7.0", "Authentication cancelled")
NOT_RECOGNIZED = make_reply(500, "5.5.2", "Command not recognized")
NOT_IMPLEMENTED = make_reply(502, "5.5.1", "Command not implemented")
LINE_TOO_LONG = make_reply(500, "5.5.2", "Line too long")
BARE_LINE_END = make_reply(500, "5.5.2", "Bare CR or LF in a command line")
BAD_CHARACTER = make_reply(500, "5.5.2", "Character not allowed in a command line")
NO_PARAMETERS = make_reply(501, "5.5.4", "No parameters allowed")
TOO_LARGE = make_reply(552, "5.3.4", "Message size exceeds the limit")
BARE_IN_BODY = make_reply(550, "5.6.0", "Bare CR or LF in the message is not allowed")
TALKED_EARLY = make_reply(554, "5.5.1", "You talked before your turn", close=True)
OUT_OF_SYNC = make_reply(503, "5.5.0", "Improper command pipelining", close=True)
ENDLESS_LINE = make_reply(500, "5.5.2", "Line too long", close=True)
UTF8_NEEDED = make_reply(553, "5.6.7", "The address needs SMTPUTF8")

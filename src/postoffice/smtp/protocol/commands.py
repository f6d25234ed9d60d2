"""The SMTP commands: one row each. Dispatch, the state check, HELP, the 501 texts and the manual derive from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """One row. ``anonymous``: allowed on a port that demands sign-in before it has happened. ``hello``: EHLO or HELO
    must have come. ``last``: the last of a pipelined group - nothing may follow it unread (RFC 2920 §3.1). ``free``:
    the argument is free text in this encoding, printable characters only."""

    name: str
    syntax: str
    rfc: str
    anonymous: bool = False
    hello: bool = True
    last: bool = False
    argument: bool | None = None            # True: needed; False: none allowed; None: either
    free: str = ""


VERBS: tuple[Verb, ...] = (
    Verb("HELO", "HELO host", "RFC 5321 §4.1.1.1", anonymous=True, hello=False, last=True, argument=True),
    Verb("EHLO", "EHLO host", "RFC 5321 §4.1.1.1", anonymous=True, hello=False, last=True, argument=True),
    Verb("MAIL", "MAIL FROM:<address> [SIZE=n] [BODY=7BIT|8BITMIME] [SMTPUTF8]", "RFC 5321 §4.1.1.2", argument=True),
    Verb("RCPT", "RCPT TO:<address>", "RFC 5321 §4.1.1.3", argument=True),
    Verb("DATA", "DATA", "RFC 5321 §4.1.1.4", last=True, argument=False),
    Verb("BDAT", "BDAT size [LAST]", "RFC 3030 §2"),       # a missing size is judged with the wrong ones
    Verb("RSET", "RSET", "RFC 5321 §4.1.1.5", anonymous=True, hello=False, argument=False),
    Verb("NOOP", "NOOP [text]", "RFC 5321 §4.1.1.9", anonymous=True, hello=False, free="ascii"),
    Verb("QUIT", "QUIT", "RFC 5321 §4.1.1.10", anonymous=True, hello=False, argument=False),
    Verb("VRFY", "VRFY address", "RFC 5321 §4.1.1.6", argument=True, free="utf-8"),
    Verb("EXPN", "EXPN list", "RFC 5321 §4.1.1.7", argument=True, free="utf-8"),
    Verb("HELP", "HELP [command]", "RFC 5321 §4.1.1.8", anonymous=True, hello=False, free="ascii"),
    Verb("STARTTLS", "STARTTLS", "RFC 3207 §4", anonymous=True, last=True, argument=False),
    Verb("AUTH", "AUTH mechanism [initial-response]", "RFC 4954 §4", anonymous=True, last=True, argument=True),
)

BY_NAME: dict[bytes, Verb] = {row.name.encode(): row for row in VERBS}

COMMANDS = frozenset(row.name for row in VERBS)

# Commands of the standards and of other servers that this one does not have: 502, not 500 (RFC 5321 §4.2.4).
NOT_HERE = frozenset((
    b"ETRN", b"ONEX", b"VERB", b"TURN", b"ATRN", b"SEND", b"SOML", b"SAML", b"BURL", b"XCLIENT", b"XFORWARD"))


def build_help(topic: str, verbs: frozenset[str]) -> tuple[str, ...]:
    """The lines of HELP."""
    rows = [row for row in VERBS if row.name in verbs]
    for row in rows:
        if row.name == topic.strip().upper():
            return (row.syntax, row.rfc.replace("§", "section "))     # replies are ASCII
    return ("Commands: " + " ".join(row.name for row in rows), "HELP command tells its syntax")

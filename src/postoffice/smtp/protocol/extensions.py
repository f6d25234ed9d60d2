"""The SMTP extensions: one row each - keyword, RFC, announcement, and the parameters it adds to MAIL and RCPT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from postoffice.smtp.protocol.commands import COMMANDS
from postoffice.smtp.protocol.grammar import (
    parse_auth_identity,
    parse_body,
    parse_envid,
    parse_flag,
    parse_notify,
    parse_orcpt,
    parse_ret,
    parse_size,
)

Parser = Callable[[bytes | None], object]


@dataclass(frozen=True, slots=True, eq=False)
class Extension:
    """One row. ``announced`` False: parameters are understood, the keyword is not shown."""

    keyword: str
    rfc: str
    mail: dict[str, Parser] = field(default_factory=dict)
    rcpt: dict[str, Parser] = field(default_factory=dict)
    announced: bool = True


EXTENSIONS: tuple[Extension, ...] = (
    Extension("PIPELINING", "RFC 2920"),
    Extension("SIZE", "RFC 1870", mail={"SIZE": parse_size}),
    Extension("8BITMIME", "RFC 6152", mail={"BODY": parse_body}),
    Extension("SMTPUTF8", "RFC 6531", mail={"SMTPUTF8": parse_flag}),
    Extension("ENHANCEDSTATUSCODES", "RFC 2034"),
    Extension("CHUNKING", "RFC 3030"),
    Extension("STARTTLS", "RFC 3207"),
    Extension("AUTH", "RFC 4954", mail={"AUTH": parse_auth_identity}),
    # Announced when bounces exist: a notice that is asked for must then be sent.
    Extension("DSN", "RFC 3461", mail={"RET": parse_ret, "ENVID": parse_envid},
              rcpt={"NOTIFY": parse_notify, "ORCPT": parse_orcpt}, announced=False),
    Extension("VRFY", "RFC 5321"),
    Extension("EXPN", "RFC 5321"),          # RFC 5321 §3.5.2: must be listed where it is answered
    Extension("HELP", "RFC 5321"),
)

KEYWORDS = frozenset(row.keyword for row in EXTENSIONS)


@dataclass(frozen=True, slots=True)
class Limits:
    """In bytes. ``message_size`` 0: none."""

    command_line: int = 2048            # RFC 5321 §4.5.3.1.4 asks for 512; parameters need more
    auth_line: int = 12_288             # RFC 4954 §4
    message_size: int = 50 << 20
    piece_bytes: int = 1 << 20          # a body is handed on in pieces above this


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What a server offers now. ``verbs`` not named are switched off (502); ``starttls``: a certificate is there;
    ``mechanisms``: those this client may use now."""

    host: str
    extensions: frozenset[str] = KEYWORDS
    verbs: frozenset[str] = COMMANDS
    limits: Limits = field(default_factory=Limits)
    mechanisms: tuple[str, ...] = ()
    require_auth: bool = False
    starttls: bool = True


def collect_parsers(offered: frozenset[str]) -> tuple[dict[str, Parser], dict[str, Parser]]:
    """The parameter parsers of MAIL and of RCPT for the extensions in use."""
    mail: dict[str, Parser] = {}
    rcpt: dict[str, Parser] = {}
    for row in EXTENSIONS:
        if row.keyword in offered or not row.announced:
            mail |= row.mail
            rcpt |= row.rcpt
    return mail, rcpt


def list_announcements(config: EngineConfig, *, tls: bool, authenticated: bool) -> list[str]:
    """The EHLO lines after the first, in the order of the rows."""
    lines = []
    for row in EXTENSIONS:
        if row.keyword not in config.extensions or not row.announced:
            continue
        if row.keyword in COMMANDS and row.keyword not in config.verbs:
            continue
        if row.keyword == "SIZE":
            lines.append(f"SIZE {config.limits.message_size}")      # RFC 1870 §4: 0 says that no limit is in force
        elif row.keyword == "AUTH":
            if config.mechanisms and not authenticated:
                lines.append("AUTH " + " ".join(config.mechanisms))
        elif row.keyword != "STARTTLS" or (config.starttls and not tls):
            lines.append(row.keyword)
    return lines

"""What the longer answers say: greeting, capabilities, listings. Values to bytes, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.utils import formatdate

from postoffice.pop3.maildrop import Maildrop
from postoffice.pop3.protocol.replies import END
from postoffice.pop3.services import Rules
from postoffice.store.model import Item


def format_greeting(rules: Rules, version: str, now_seconds: float) -> bytes:
    """The first line. It never holds <...>: that would be APOP's time stamp (RFC 1939 §7)."""
    if rules.banner:
        text = " ".join(rules.banner.replace("<", "(").replace(">", ")").split())
    elif rules.compatible_banner:
        date = formatdate(now_seconds, localtime=True)
        text = (f"{rules.host_name} POP3 server (Post.Office v{version} release 1 with ZPOP version 1.0"
                f" ID# 0-0U0L0S0V0) ready {date}")
    else:
        text = f"{rules.host_name} POP3 server (Post.Office) ready"
    return f"+OK {text}\r\n".encode()


def format_capabilities(
    rules: Rules, version: str, *, mechanisms: Sequence[str], stls: bool,
) -> bytes:
    """CAPA (RFC 2449 §5, RFC 3206). ``mechanisms``: empty where no sign-in is offered, or done."""
    lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"]
    if mechanisms:
        lines += ["USER", "SASL " + " ".join(mechanisms)]
    if stls:
        lines.append("STLS")
    if rules.min_poll_seconds:
        lines.append(f"LOGIN-DELAY {int(rules.min_poll_seconds)}")
    lines.append("IMPLEMENTATION Post.Office" + (f" v{version}" if rules.compatible_banner else ""))
    return format_lines(lines)


def format_lines(lines: Sequence[str]) -> bytes:
    """A multi-line answer of lines that do not begin with a dot."""
    return ("+OK\r\n" + "\r\n".join(lines) + "\r\n").encode() + END


def format_summary(maildrop: Maildrop) -> bytes:
    """What PASS, RSET and LIST begin with."""
    return b"+OK %d messages (%d octets)\r\n" % (maildrop.count, maildrop.size)


def format_listing(maildrop: Maildrop, show: Callable[[Item], str | int]) -> bytes:
    """LIST and UIDL without a number. RFC 1939 §5: what is marked as deleted is not shown."""
    deleted = maildrop.deleted
    lines = [f"{number} {show(item)}\r\n"
             for number, item in enumerate(maildrop.items, 1) if number not in deleted]
    return format_summary(maildrop) + "".join(lines).encode() + END

"""What SMTP-Accept and submission give the acceptor: their sessions, and the line for who is turned away."""

from __future__ import annotations

from postoffice.settings import smtp_accept as keys
from postoffice.smtp.protocol.events import Reply
from postoffice.smtp.protocol.reply import format_reply
from postoffice.smtp.services import Services
from postoffice.smtp.session import SmtpSession
from postoffice.tls.acceptor import ConnectionLimits, Refusal


class SmtpListener:
    """See `tls.acceptor.SessionFactory`. ``submission``: the ports of our own users (587, and 465 with TLS from the
    first byte); otherwise the port of all the world."""

    def __init__(self, services: Services, *, submission: bool) -> None:
        self._services = services
        self._submission = submission

    def make_session(self) -> SmtpSession:
        return SmtpSession(self._services, submission=self._submission)

    def refuse(self, reason: Refusal) -> bytes:
        # RFC 5321 §3.1 has no better word than 421 for "not now".
        code = "4.3.2" if reason is Refusal.STOPPING else "4.7.0"
        return format_reply(Reply(421, code, (reason.value.capitalize() + ", try again later",)))


def get_limits(services: Services) -> ConnectionLimits:
    """How many connections the present settings allow, SMTP-Accept and submission together."""
    snapshot = services.settings()
    return ConnectionLimits(snapshot[keys.MAX_SESSIONS], snapshot[keys.MAX_SESSIONS_PER_CLIENT])

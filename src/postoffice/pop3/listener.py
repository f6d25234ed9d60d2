"""What POP3 gives the acceptor: its sessions, and the line for who is turned away."""

from __future__ import annotations

from postoffice.pop3.protocol.replies import format_error
from postoffice.pop3.services import Services
from postoffice.pop3.session import Pop3Session
from postoffice.tls.acceptor import Refusal


class Pop3Listener:
    """See `tls.acceptor.SessionFactory`. One serves the clear and the TLS ports alike."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def make_session(self) -> Pop3Session:
        return Pop3Session(self._services)

    def refuse(self, reason: Refusal) -> bytes:
        # RFC 3206 §4: a client may try again later.
        return format_error(reason.value.capitalize(), "SYS/TEMP")

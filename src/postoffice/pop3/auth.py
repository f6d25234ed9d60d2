"""AUTH in POP3 (RFC 5034): the mechanisms of `sasl` joined to the one sign-in of all protocols.

An exchange takes the client's messages one by one and says: answer with this challenge, verify now, or it
is broken. A mechanism's last word to a client that has signed in (``final``) is told only after the
sign-in has agreed: a ban would otherwise tell whether the password was right.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from postoffice.base.streams import Address
from postoffice.policy.api import SignedIn, SignInFailure, SignInService

MECHANISMS = ("PLAIN", "SCRAM-SHA-256")

Verification = Coroutine[Any, Any, SignedIn | SignInFailure]


class Exchange(Protocol):
    """One AUTH. ``login`` is known when `take` gives a verification; ``final`` is then the last challenge,
    or b""."""

    mechanism: str
    login: str
    final: bytes

    def take(self, data: bytes) -> bytes | Verification | None:
        """The client's next message: a challenge, the verification to await, None when the message is
        broken."""


def start_exchange(mechanism: str, signin: SignInService, client: Address, service: str) -> Exchange:
    """An exchange of one of `MECHANISMS`."""
    if mechanism == "PLAIN":
        return PlainExchange(signin, client, service)
    raise KeyError(mechanism)


class PlainExchange:
    """RFC 4616."""

    mechanism = "PLAIN"
    final = b""

    def __init__(self, signin: SignInService, client: Address, service: str) -> None:
        self._signin = signin
        self._client = client
        self._service = service
        self.login = ""

    def take(self, data: bytes) -> bytes | Verification | None:
        parts = data.split(b"\0")
        if len(parts) != 3 or not parts[1]:
            return None
        try:
            identity, login, password = (part.decode("utf-8") for part in parts)
        except UnicodeDecodeError:
            return None
        if identity and identity != login:
            return None
        self.login = login
        return self._signin.verify_password(login, password, self._client, self._service)

"""AUTH in POP3 (RFC 5034): the mechanisms of `sasl` joined to the one sign-in of all protocols.

An exchange takes the client's messages one by one and says: answer with this challenge, verify now, or it is broken.
A mechanism's last word to a client that has signed in (``final``) is told only after the sign-in has agreed: a ban
would otherwise tell whether the password was right.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from postoffice.base.streams import Address
from postoffice.policy.api import SignedIn, SignInFailure, SignInService
from postoffice.sasl.mechanism import Challenge, CheckPassword, Mechanism, NeedVerifier, Proved
from postoffice.sasl.plain import Plain
from postoffice.sasl.scram import ScramSha256

Verification = Coroutine[Any, Any, SignedIn | SignInFailure]

_NONCE_OCTETS = 18

_MAKERS: dict[str, Callable[[], Mechanism]] = {
    "PLAIN": Plain,
    "SCRAM-SHA-256": lambda: ScramSha256(secrets.token_urlsafe(_NONCE_OCTETS)),
}
MECHANISMS = tuple(_MAKERS)


class Exchange:
    """One AUTH with one of `MECHANISMS`. ``final``: the last challenge for a client that is let in, or b""."""

    def __init__(self, mechanism: str, signin: SignInService, client: Address, service: str) -> None:
        self._mechanism = _MAKERS[mechanism]()
        self._signin = signin
        self._client = client
        self._service = service
        self.final = b""

    def take(self, data: bytes | None) -> bytes | Verification | None:
        """The client's next message (None: no initial response): a challenge, the verification to await, or None
        when the message is broken."""
        step = self._mechanism.take(data)
        if isinstance(step, NeedVerifier):
            _, verifier = self._signin.get_scram_verifier(step.login)
            self._verifier = verifier
            step = self._mechanism.supply(
                verifier.salt, verifier.iterations, verifier.stored_key, verifier.server_key)
        if isinstance(step, Challenge):
            return step.data
        if isinstance(step, CheckPassword):
            return self._signin.verify_password(step.login, step.password, self._client, self._service)
        if isinstance(step, Proved):
            self.final = step.final
            return self._signin.finish_scram(
                step.login, self._client, self._service, proved=step.ok, verifier=self._verifier)
        return None

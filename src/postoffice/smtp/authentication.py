"""AUTH in SMTP (RFC 4954): the mechanisms of `sasl` joined to the one sign-in of all protocols.

Owns the exchange under way. Counting, delays, bans and hashing are `policy.api.SignInService`'s; while it works the
session answers nothing else. Invariants: what a ban or an unknown name brings about looks like a wrong password; no
password is kept after its exchange.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from postoffice.directory.model import ScramVerifier
from postoffice.policy.api import SignedIn, SignInFailure
from postoffice.policy.facts import Facts
from postoffice.sasl.login import Login
from postoffice.sasl.mechanism import Challenge, CheckPassword, Mechanism, NeedVerifier, Proved, Step
from postoffice.sasl.plain import Plain
from postoffice.sasl.scram import ScramSha256
from postoffice.smtp.body import TROUBLE
from postoffice.smtp.protocol.events import Auth, Reply
from postoffice.smtp.protocol.reply import (
    SIGN_IN_BUSY,
    SIGN_IN_CANCELLED,
    SIGN_IN_MALFORMED,
    SIGN_IN_WRONG,
    SIGNED_IN,
)
from postoffice.smtp.services import Services

log = logging.getLogger(__name__)

SERVICE = "smtp"
_NONCE_BYTES = 18

# In the order of their announcement: the first one that a client knows is often the one it takes.
_MAKERS: Mapping[str, Callable[[], Mechanism]] = {
    "SCRAM-SHA-256": lambda: ScramSha256(secrets.token_urlsafe(_NONCE_BYTES)),
    "PLAIN": Plain,
    "LOGIN": Login,
}
MECHANISMS = tuple(_MAKERS)

_FAILURES = {
    SignInFailure.WRONG: SIGN_IN_WRONG,
    SignInFailure.BANNED: SIGN_IN_WRONG,       # a ban must not show
    SignInFailure.BUSY: SIGN_IN_BUSY,
    SignInFailure.ACCESS: Reply(535, "5.7.8", ("Access from this address is not allowed",)),
}


class Host(Protocol):
    """The session, as far as a sign-in needs it."""

    facts: Facts

    def wait(self) -> None: ...

    def go_on(self) -> None: ...

    def challenge(self, data: bytes) -> None:
        """Ask the client for its next message."""

    def finish_auth(self, reply: Reply, signed_in: SignedIn | None = None) -> None:
        """End the exchange, with success when somebody has signed in."""


class Authentication:
    """One session's."""

    __slots__ = ("_ended", "_final", "_host", "_mechanism", "_proved", "_services", "_verifier")

    def __init__(self, services: Services, host: Host) -> None:
        self._services = services
        self._host = host
        self._mechanism: Mechanism | None = None
        self._verifier: ScramVerifier | None = None     # the one given out for this exchange
        self._final = b""                       # the mechanism's last word, for a client that is let in
        self._proved: SignedIn | None = None    # signed in; the client has yet to take the last word
        self._ended = False

    def reset(self) -> None:
        """Forget the exchange under way."""
        self._mechanism = self._proved = self._verifier = None
        self._final = b""

    def end(self) -> None:
        """The connection is gone: a sign-in under way has no effect any more."""
        self._ended = True
        self.reset()

    def take_auth(self, event: Auth) -> None:
        """AUTH with a mechanism that was offered."""
        self.reset()
        self._mechanism = _MAKERS[event.mechanism]()
        self._follow(self._mechanism.take(event.initial))

    def take_response(self, data: bytes | None) -> None:
        """The client's message; None: it gives up."""
        mechanism, proved = self._mechanism, self._proved
        if mechanism is None or data is None:
            self._finish(SIGN_IN_CANCELLED)
        elif proved is None:
            self._follow(mechanism.take(data))
        elif data:
            self._finish(SIGN_IN_MALFORMED)
        else:
            self._finish(SIGNED_IN, proved)

    def _follow(self, step: Step) -> None:
        """Do what the mechanism asks for."""
        signin, client = self._services.signin, self._host.facts.client
        if isinstance(step, NeedVerifier):
            assert self._mechanism is not None
            _account, verifier = signin.get_scram_verifier(step.login)
            self._verifier = verifier
            step = self._mechanism.supply(
                verifier.salt, verifier.iterations, verifier.stored_key, verifier.server_key)
        if isinstance(step, Challenge):
            self._host.challenge(step.data)
        elif isinstance(step, CheckPassword):
            self._begin(signin.verify_password(step.login, step.password, client, SERVICE))
        elif isinstance(step, Proved):
            # Sent only when the sign-in agrees: a ban would otherwise tell whether the password was right.
            self._final = step.final
            self._begin(signin.finish_scram(
                step.login, client, SERVICE, proved=step.ok, verifier=self._verifier))
        else:
            self._finish(SIGN_IN_MALFORMED)

    def _begin(self, verification: Coroutine[Any, Any, SignedIn | SignInFailure]) -> None:
        self._host.wait()
        self._services.tasks.start(self._sign_in(verification), "an SMTP sign-in")

    async def _sign_in(self, verification: Coroutine[Any, Any, SignedIn | SignInFailure]) -> None:
        result: SignedIn | SignInFailure | None
        try:
            result = await verification
        except Exception:
            log.exception("SMTP: a sign-in failed unexpectedly")
            result = None
        if self._ended:
            return
        if isinstance(result, SignedIn):
            if self._final:
                self._proved = result
                self._host.challenge(self._final)
            else:
                self._finish(SIGNED_IN, result)
        else:
            self._finish(TROUBLE if result is None else _FAILURES[result])
        self._host.go_on()

    def _finish(self, reply: Reply, signed_in: SignedIn | None = None) -> None:
        self.reset()
        self._host.finish_auth(reply, signed_in)

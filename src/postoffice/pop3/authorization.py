"""The AUTHORIZATION state of a session (RFC 1939 §4): USER and PASS, AUTH, and the opening of the maildrop.

Owns what is known of a client before it has signed in. The sign-in itself - counting, delays, bans,
hashing, access rules - is `policy.api.SignInService`'s, one for all protocols; while it works the session
answers nothing else.
"""

from __future__ import annotations

import logging
from typing import Protocol

from postoffice.base.streams import Wire
from postoffice.policy.api import SignedIn, SignInFailure
from postoffice.pop3.answers import format_lines
from postoffice.pop3.auth import MECHANISMS, Exchange, Verification
from postoffice.pop3.maildrop import Maildrop
from postoffice.pop3.protocol.commands import Command
from postoffice.pop3.protocol.replies import format_challenge, format_error
from postoffice.pop3.protocol.server import ServerEngine
from postoffice.pop3.services import Services

log = logging.getLogger(__name__)

SERVICE = "pop3"
TROUBLE = format_error("Temporary trouble, try again later", "SYS/TEMP")
_NOT_OFFERED = format_error("Sign-in needs TLS here")
_BROKEN = format_error("The exchange does not follow its mechanism", "AUTH")

_FAILURES = {
    SignInFailure.WRONG: format_error("Wrong name or password", "AUTH"),
    SignInFailure.BANNED: format_error("Wrong name or password", "AUTH"),      # a ban must not show
    SignInFailure.BUSY: format_error("Too many sign-ins at once, try again", "SYS/TEMP"),
    SignInFailure.ACCESS: format_error("Access from this address is not allowed", "SYS/PERM"),
}


class Host(Protocol):
    """The session, as far as this state needs it."""

    def say(self, reply: bytes) -> None: ...

    def refuse(self, reply: bytes) -> None:
        """Say it and count a bad command."""

    def wait(self) -> None:
        """Answer nothing until `go_on`."""

    def go_on(self) -> None: ...

    def signed_in(self, signed_in: SignedIn, maildrop: Maildrop) -> None:
        """The account's maildrop is locked and open."""


class Authorization:
    """One session's way to its maildrop."""

    def __init__(self, services: Services, engine: ServerEngine, wire: Wire, host: Host) -> None:
        self._services = services
        self._engine = engine
        self._wire = wire
        self._host = host
        self._user: str | None = None
        self._exchange: Exchange | None = None
        self._proved: SignedIn | None = None    # who has yet to take the mechanism's last word
        self._ended = False

    def is_offered(self) -> bool:
        """Whether this client may sign in at all: under TLS, or from a network that may do without."""
        return self._services.signin.may_offer(self._wire.peer.address, secure=self._wire.tls is not None)

    def reset(self) -> None:
        """Forget what the client has said (RFC 2595 §2.4: all of it, when TLS begins)."""
        self._user = None
        self._exchange = self._proved = None

    def end(self) -> None:
        """The session is over: a sign-in under way has no effect any more."""
        self._ended = True

    # --- commands -------------------------------------------------------------------------------------

    def take_user(self, command: Command) -> None:
        if not self.is_offered():
            self._host.refuse(_NOT_OFFERED)
            return
        self._user = command.text               # whether it is known shows in nothing (RFC 1939 §13)
        self._host.say(b"+OK\r\n")

    def take_pass(self, command: Command) -> None:
        user, self._user = self._user, None
        if not self.is_offered():
            self._host.refuse(_NOT_OFFERED)
        elif user is None:
            self._host.refuse(format_error("USER comes first"))
        else:
            client = self._wire.peer.address
            self._begin(self._services.signin.verify_password(user, command.text, client, SERVICE))

    def take_auth(self, command: Command) -> None:
        """RFC 5034 §4. Without a mechanism: the list, as older clients ask for it."""
        self.reset()
        if not self.is_offered():
            self._host.refuse(_NOT_OFFERED)
        elif not command.text:
            self._host.say(format_lines(MECHANISMS))
        elif command.text not in MECHANISMS:
            self._host.refuse(format_error("Unknown mechanism"))
        else:
            client = self._wire.peer.address
            self._exchange = Exchange(command.text, self._services.signin, client, SERVICE)
            self._step(self._exchange, command.initial)

    def take_response(self, data: bytes | None) -> None:
        """The answer to a challenge; None: the client gives up."""
        exchange, proved = self._exchange, self._proved
        if exchange is None or data is None:
            self.reset()
            self._host.refuse(format_error("Cancelled", "AUTH"))
        elif proved is not None:
            self.reset()
            if data:
                self._host.refuse(_BROKEN)
            elif not self._services.signin.is_current(proved, self._wire.peer.address, SERVICE):
                self._host.say(_FAILURES[SignInFailure.WRONG])      # changed while the client thought
            else:
                self._open(proved)
        else:
            self._step(exchange, data)

    # --- signing in -----------------------------------------------------------------------------------

    def _step(self, exchange: Exchange, data: bytes | None) -> None:
        step = exchange.take(data)
        if isinstance(step, bytes):
            self._challenge(step)
        elif step is None:
            self.reset()
            self._host.refuse(_BROKEN)
        else:
            self._begin(step)

    def _challenge(self, data: bytes) -> None:
        self._engine.expect_response()
        self._host.say(format_challenge(data))

    def _begin(self, verification: Verification) -> None:
        self._host.wait()
        self._services.tasks.start(self._sign_in(verification), "A POP3 sign-in")

    async def _sign_in(self, verification: Verification) -> None:
        result: SignedIn | SignInFailure | None
        try:
            result = await verification
        except Exception:
            log.exception("POP3: a sign-in failed unexpectedly")
            result = None
        if self._ended:
            return
        exchange = self._exchange
        if isinstance(result, SignedIn) and exchange is not None and exchange.final:
            self._proved = result
            self._challenge(exchange.final)
        else:
            self.reset()
            if isinstance(result, SignedIn):
                self._open(result)
            else:
                self._host.say(TROUBLE if result is None else _FAILURES[result])
        self._host.go_on()

    def _open(self, signed_in: SignedIn) -> None:
        """Lock and read the maildrop of who has signed in, or say why not."""
        services, account = self._services, signed_in.account.id
        if not services.maildrops.try_take(account):
            self._host.say(format_error("Another session has this mailbox open", "IN-USE"))
            return
        try:
            refusal = self._check_poll(account)
            if refusal is None:
                maildrop = Maildrop(services.store, account)
        except Exception:
            log.exception("POP3: a maildrop could not be opened")
            refusal = TROUBLE
        if refusal is not None:
            services.maildrops.release(account)
            self._host.say(refusal)
        else:
            self._host.signed_in(signed_in, maildrop)

    def _check_poll(self, account: int) -> bytes | None:
        """RFC 2449 §8.1.1: a client that comes too early is told to wait."""
        least = self._services.rules().min_poll_seconds
        if least:
            now, last = self._services.clock.now(), self._services.maildrops.get_last_poll(account)
            if 0 <= now - last < least:         # a clock that was set back keeps nobody out
                return format_error(f"Wait {int(least - now + last) + 1} seconds", "LOGIN-DELAY")
            self._services.maildrops.note_poll(account, now)
        return None

"""An SMTP session: what the engine understood is asked of the services, what they say is answered.

One connection to SMTP-Accept or to submission (RFC 5321, RFC 6409). Owns the order of questions within a connection,
its limits and time-outs. Grammar is `protocol.server`'s, a message `transaction`'s, who somebody is
`authentication`'s.

It is driven by callbacks: while a future is awaited the session is busy and answers nothing, and on the way of a small
message no task is made. What one segment asked for is answered with one write. Settings are taken anew at each
greeting and each MAIL. Invariants: nobody is served on a submission port before signing in; after 220 to STARTTLS
nothing of before is known; a bug of ours is answered 451 or 421, never shown; every reply above 399 bears an id that
the trace knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from postoffice.base.ids import format_id
from postoffice.base.streams import TlsInfo, Wire
from postoffice.policy.api import SignedIn
from postoffice.policy.facts import Facts
from postoffice.policy.verdict import Action, Stage
from postoffice.settings import smtp_accept as keys
from postoffice.smtp.authentication import MECHANISMS, SERVICE, Authentication
from postoffice.smtp.body import TROUBLE
from postoffice.smtp.greeting import format_greeting
from postoffice.smtp.inquiry import expand, verify
from postoffice.smtp.offers import Situation
from postoffice.smtp.protocol import events as smtp
from postoffice.smtp.protocol.events import Reply
from postoffice.smtp.protocol.reply import (
    CANNOT_VERIFY,
    READY_FOR_TLS,
    SHUTTING_DOWN,
    START_DATA,
    TIMED_OUT,
    TOO_MANY_ERRORS,
    format_reply,
)
from postoffice.smtp.protocol.server import ServerEngine
from postoffice.smtp.services import Services
from postoffice.smtp.transaction import Transaction
from postoffice.trace import event_types as events
from postoffice.trace.events import Event, EventType

log = logging.getLogger(__name__)

JOIN_BYTES = 32 * 1024          # replies are written out at the latest when they have come to this
BACKLOG_BYTES = 64 * 1024       # unanswered input above which nothing more is read while the session is busy
TURN_EVENTS = 200               # events answered before other connections get their turn

_CRASHED = Reply(421, "4.3.0", ("Temporary trouble, try again later",), close=True)
_REVOKED = Reply(421, "4.7.0", ("The account was changed, sign in again",), close=True)
_NO_TLS = Reply(454, "4.7.0", ("TLS is not available now",))


class SmtpSession:
    """See `base.streams.Session`. ``submission``: the port serves our own users alone."""

    __slots__ = (
        "_authentication", "_bad", "_busy", "_ended", "_ends_at", "_engine", "_full", "_opened_at",
        "_out", "_out_bytes", "_paused", "_peer_done", "_reason", "_revoked", "_running", "_services",
        "_session_id", "_starting_tls", "_stopping", "_submission", "_transaction", "_wire", "client", "facts",
        "snapshot",
    )

    _wire: Wire                     # these from `opened` on
    facts: Facts
    client: str

    def __init__(self, services: Services, *, submission: bool = False) -> None:
        self._services = services
        self._submission = submission
        self.snapshot = services.settings()
        self._engine = ServerEngine(services.offers.get(self.snapshot, Situation(False, (), submission)))
        self._transaction = Transaction(services, self)
        self._authentication = Authentication(services, self)
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._busy = False              # a future is awaited
        self._full = False              # the client does not take what is written
        self._running = False
        self._paused = False
        self._ended = False
        self._peer_done = False
        self._stopping = False
        self._revoked = False
        self._starting_tls = False
        self._bad = 0
        self._session_id = 0
        self._opened_at = 0.0
        self._ends_at = 0.0
        self._reason = "connection lost"

    # --- base.streams.Session -------------------------------------------------------------------------

    def opened(self, wire: Wire) -> None:
        self._wire = wire
        clock = self._services.clock
        peer = wire.peer
        self.client = str(peer.address)
        self.facts = Facts(peer.address, submission=self._submission, secure=wire.tls is not None)
        if wire.tls is not None:
            self._engine.tls_started()
        self._session_id = self._services.ids.next(clock.now())
        self._opened_at = clock.monotonic()
        self._ends_at = self._opened_at + self.snapshot[keys.TIMEOUT_SESSION]
        self.record(events.SMTP_CONNECTED, self.client, peer.local_port)
        verdict = self._services.pipeline.judge(Stage.CONNECT, self.facts, self.snapshot)
        if verdict.action >= Action.DEFER:
            self._say(Reply(554 if verdict.action is Action.REJECT else 421, "", (verdict.text,), close=True))
        else:
            text = format_greeting(self.snapshot, self._services.version, clock.now(), self._session_id)
            self._put(self._engine.greet(Reply(220, "", (text,))))
        self._flush()
        self._set_deadline()

    def received(self, data: bytes) -> None:
        if self._ended:
            return
        self._engine.receive(data)
        self._set_deadline()
        if self._busy or self._full:
            self._balance_reading()
        else:
            self._run()

    def secured(self, info: TlsInfo) -> None:
        """RFC 3207 §4.2: both sides forget what they knew."""
        self.facts = Facts(self.facts.client, submission=self._submission, secure=True)
        self._engine.tls_started()
        self.go_on()

    def writable(self, ready: bool, /) -> None:
        self._full = not ready
        if ready and not self._running and not self._ended:
            self._run()

    def peer_closed(self) -> None:
        """What came before is still answered."""
        self._peer_done = True
        self._run()

    def lost(self, error: Exception | None) -> None:
        self._ended = True
        self._transaction.end()
        self._authentication.end()
        seconds = round(self._services.clock.monotonic() - self._opened_at, 1)
        self.record(events.SMTP_CLOSED, self.client, self._transaction.accepted, seconds, self._reason)

    def expired(self) -> None:
        if self._ended:
            return
        if self._busy:
            self._set_deadline()        # it is us who keeps the client waiting
        else:
            self._end("timed out", TIMED_OUT)

    def shut_down(self) -> None:
        self._stopping = True
        if not (self._busy or self._ended or self._transaction.in_body):
            self._end("server stopped", SHUTTING_DOWN)

    def crashed(self) -> None:
        """A bug of ours: said as something temporary."""
        self._out.clear()
        self._end("internal error", _CRASHED)

    def recheck(self) -> None:
        """End the session when its account lost the right to it."""
        if self._ended or self._is_current():
            return
        self._revoked = True
        if not self._busy:
            self._end("right withdrawn", _REVOKED)

    # --- what a transaction and a sign-in need ----------------------------------------------------------

    def answer(self, reply: Reply, message_id: int = 0) -> None:
        """Reply to the present event. Above 399 an id goes with it."""
        if reply.code > 399:
            reply = self._identify(reply, message_id)
        self._put(self._engine.reply(reply))
        if reply.close:
            self._end("quit" if reply.code < 400 else "refused")

    def wait(self) -> None:
        self._busy = True

    def go_on(self) -> None:
        self._busy = False
        self._set_deadline()
        self._run()

    def start_body(self, *, chunked: bool) -> None:
        if chunked:
            self._engine.proceed()
        else:
            self._put(self._engine.reply(START_DATA))

    def challenge(self, data: bytes) -> None:
        """Ask the client for its next SASL message."""
        self._put(self._engine.challenge(data))

    def finish_auth(self, reply: Reply, signed_in: SignedIn | None = None) -> None:
        """End an exchange, with success when somebody has signed in."""
        self.facts.signed_in = signed_in
        if reply.code > 399:
            reply = self._identify(reply, 0)
        self._put(self._engine.auth_done(reply, ok=signed_in is not None))

    def record(self, event_type: EventType, *values: object, message_id: int = 0) -> None:
        self._services.trace.record(Event(
            event_type, self._services.clock.now(), values, message_id or self._session_id, self.client))

    # --- the loop -------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Answer what can be answered now, with one write. Not re-entered."""
        if self._running:
            return
        self._running = True
        left = TURN_EVENTS
        try:
            while left and not (self._busy or self._full or self._ended):
                event = self._engine.next_event()
                if event is None:
                    break
                left -= 1
                self._handle(event)
                if self._out_bytes > JOIN_BYTES:
                    self._flush()
            self._flush()
        finally:
            self._running = False
        if self._ended:
            return
        if self._starting_tls:
            self._start_tls()
        elif not (self._busy or self._full):
            if not left:
                asyncio.get_running_loop().call_soon(self._run)
            elif self._revoked:
                self._end("right withdrawn", _REVOKED)
            elif self._stopping and not self._transaction.in_body:
                self._end("server stopped", SHUTTING_DOWN)
            elif self._peer_done:
                self._end("closed by the client")
        self._balance_reading()

    def _handle(self, event: smtp.Event) -> None:
        try:
            _HANDLERS[type(event)](self, event)
        except Exception:
            log.exception("SMTP: %s failed", type(event).__name__)
            self._busy = False
            self._transaction.reset()
            self.answer(TROUBLE)

    def _put(self, data: bytes) -> None:
        if data:
            self._out.append(data)
            self._out_bytes += len(data)

    def _say(self, reply: Reply) -> None:
        """A reply that answers no command."""
        self._put(format_reply(self._identify(reply, 0)))

    def _identify(self, reply: Reply, message_id: int) -> Reply:
        number = format_id(message_id or self._transaction.message_id or self._session_id)
        return Reply(reply.code, reply.enhanced, (*reply.lines[:-1], f"{reply.lines[-1]} (id {number})"), reply.close)

    def _flush(self) -> None:
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            self._wire.write(data)

    def _end(self, reason: str, reply: Reply | None = None) -> None:
        """Say a last word and close."""
        if self._ended:
            return
        if reply is not None:
            self._say(reply)
        self._ended = True
        self._reason = reason
        self._flush()
        self._wire.close()

    def _set_deadline(self) -> None:
        seconds: float = self.snapshot[keys.TIMEOUT_COMMAND]
        left = self._ends_at - self._services.clock.monotonic()
        self._wire.set_deadline(seconds if seconds < left else max(left, 0.0))

    def _balance_reading(self) -> None:
        pause = (self._busy or self._full) and self._engine.buffered > BACKLOG_BYTES
        if pause is not self._paused and not self._ended:
            self._paused = pause
            if pause:
                self._wire.pause_reading()
            else:
                self._wire.resume_reading()

    def _is_current(self) -> bool:
        signed_in = self.facts.signed_in
        return signed_in is None or self._services.signin.is_current(signed_in, self.facts.client, SERVICE)

    def _start_tls(self) -> None:
        self._starting_tls = False
        context = self._services.context()
        if context is None:
            self._end("no certificate", _CRASHED)
            return
        self._busy = True               # until `secured`
        self._wire.start_tls(context)

    # --- commands -------------------------------------------------------------------------------------

    def _take_hello(self, event: smtp.Hello) -> None:
        self._transaction.reset()
        self.snapshot = self._services.settings()
        facts = self.facts
        facts.helo, facts.extended = event.name, event.extended
        verdict = self._services.pipeline.judge(Stage.HELLO, facts, self.snapshot)
        if verdict.action >= Action.DEFER:
            facts.helo, facts.extended = "", False
            self.answer(Reply(verdict.code, verdict.enhanced, (verdict.text,)))
            return
        self._configure()
        self._put(self._engine.accept_hello(""))

    def _configure(self) -> None:
        """Have the engine offer what this client may use under the present settings."""
        services, facts = self._services, self.facts
        may_sign_in = services.signin.may_offer(facts.client, secure=facts.secure)
        self._engine.configure(services.offers.get(self.snapshot, Situation(
            not facts.secure and services.context() is not None, MECHANISMS if may_sign_in else (), self._submission)))

    def _take_mail(self, event: smtp.Mail) -> None:
        snapshot = self._services.settings()
        if snapshot is not self.snapshot:
            self.snapshot = snapshot
            self._configure()
        if self._is_current():
            self._transaction.take_mail(event)
        else:
            self.answer(_REVOKED)

    def _take_rcpt(self, event: smtp.Rcpt) -> None:
        self._transaction.take_rcpt(event)

    def _take_data(self, _event: smtp.Data) -> None:
        self._transaction.open_body(chunked=False)

    def _take_body_start(self, _event: smtp.BodyStart) -> None:
        self._transaction.open_body(chunked=True)

    def _take_piece(self, event: smtp.BodyBytes) -> None:
        self._transaction.take_piece(event.chunks)

    def _take_end(self, event: smtp.BodyEnd) -> None:
        self._transaction.take_end(event.chunks)

    def _take_lost_body(self, event: smtp.BodyRefused) -> None:
        self._transaction.lose_body(event.reply, event.reason)

    def _take_chunk(self, event: smtp.ChunkDone) -> None:
        self.answer(Reply(250, "2.0.0", (f"{event.size} bytes taken",)))

    def _take_auth(self, event: smtp.Auth) -> None:
        self._authentication.take_auth(event)

    def _take_auth_response(self, event: smtp.AuthResponse) -> None:
        self._authentication.take_response(event.data)

    def _take_start_tls(self, _event: smtp.StartTls) -> None:
        if not self.snapshot[keys.ALLOW_STARTTLS] or self._services.context() is None:
            self.answer(_NO_TLS)
            return
        self._transaction.reset()
        self._authentication.reset()
        self._starting_tls = self._busy = True
        self.answer(READY_FOR_TLS)

    def _take_verify(self, event: smtp.Verify) -> None:
        allowed = self._services.settings()[keys.ALLOW_VRFY]
        self.answer(verify(self._services.directory, event.argument) if allowed else CANNOT_VERIFY)

    def _take_expand(self, event: smtp.Expand) -> None:
        self.answer(expand(self._services.directory, event.argument))

    def _take_simple(self, event: smtp.Simple) -> None:
        if event.verb == "RSET":
            self._transaction.reset()
        self.answer(event.reply)

    def _take_refused(self, event: smtp.Refused) -> None:
        self._authentication.reset()
        if event.bad:
            self._bad += 1
            if self._bad >= self.snapshot[keys.MAX_BAD_COMMANDS]:
                self.record(events.SMTP_VIOLATION, self.client, "too many bad commands")
                self.answer(TOO_MANY_ERRORS)
                return
        self.answer(event.reply)

    def _take_violation(self, event: smtp.Violation) -> None:
        self.record(events.SMTP_VIOLATION, self.client, event.reason)
        self._end("protocol error", event.reply)


_HANDLERS: Mapping[type, Callable[[SmtpSession, Any], None]] = {
    smtp.Hello: SmtpSession._take_hello,
    smtp.Mail: SmtpSession._take_mail,
    smtp.Rcpt: SmtpSession._take_rcpt,
    smtp.Data: SmtpSession._take_data,
    smtp.BodyStart: SmtpSession._take_body_start,
    smtp.BodyBytes: SmtpSession._take_piece,
    smtp.BodyEnd: SmtpSession._take_end,
    smtp.BodyRefused: SmtpSession._take_lost_body,
    smtp.ChunkDone: SmtpSession._take_chunk,
    smtp.Auth: SmtpSession._take_auth,
    smtp.AuthResponse: SmtpSession._take_auth_response,
    smtp.StartTls: SmtpSession._take_start_tls,
    smtp.Verify: SmtpSession._take_verify,
    smtp.Expand: SmtpSession._take_expand,
    smtp.Simple: SmtpSession._take_simple,
    smtp.Refused: SmtpSession._take_refused,
    smtp.Violation: SmtpSession._take_violation,
}

"""The mail transaction of a session: MAIL, RCPT, the body and what becomes of it (RFC 5321 §3.3).

Owns everything that a transaction knows and forgets it in one place (`reset`). Judgement is the pipeline's, taking is
intake's. While a future is awaited (the store's, a large file's) the session is told to wait. Invariants: 250 for a
body only when intake has accepted it; after a refusal, of whatever kind, nothing is left of the transaction.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from postoffice.base.ids import format_id
from postoffice.config.registry import Snapshot
from postoffice.directory.model import Resolution
from postoffice.message.address import Address
from postoffice.message.envelope import Envelope, Recipient
from postoffice.policy.facts import Facts
from postoffice.policy.verdict import Action, Stage, Verdict
from postoffice.queue.intake import Accepted, Incoming, Outcome, Refused
from postoffice.settings import smtp_accept as keys
from postoffice.smtp.body import NO_MEMORY, TROUBLE, Body
from postoffice.smtp.protocol.events import Mail, Rcpt, Reply
from postoffice.smtp.protocol.reply import RECIPIENT_OK, SENDER_OK
from postoffice.smtp.services import Services
from postoffice.smtp.submission import build_source
from postoffice.trace import event_types as events
from postoffice.trace.events import EventType

log = logging.getLogger(__name__)

_TOO_MANY = Reply(452, "4.5.3", ("Too many recipients, send the rest again",))


class Host(Protocol):
    """The session, as far as a transaction needs it."""

    facts: Facts
    client: str
    snapshot: Snapshot

    def answer(self, reply: Reply, message_id: int = 0) -> None:
        """Reply to the present event; an id goes with it where replies bear one (0: the session's)."""

    def wait(self) -> None:
        """Answer nothing until `go_on`."""

    def go_on(self) -> None: ...

    def record(self, event_type: EventType, *values: object, message_id: int = 0) -> None: ...

    def start_body(self, *, chunked: bool) -> None:
        """Have the engine take the body: 354 to DATA, `proceed` to BDAT."""


class Transaction:
    """One session's, reused from message to message."""

    def __init__(self, services: Services, host: Host) -> None:
        self._services = services
        self._host = host
        self._sender: Address | None = None
        self._mail: Mail | None = None
        self._recipients: list[Recipient] = []
        self._resolutions: list[Resolution] = []
        self._generation = -1
        self._body: Body | None = None
        self._taking = False                    # intake or a large file has it
        self._ended = False                     # the connection is gone
        self.message_id = 0                     # 0: no transaction
        self.accepted = 0                       # messages of this session so far

    @property
    def in_body(self) -> bool:
        """Whether the client is in the middle of a message, or waits for what becomes of it."""
        return self._body is not None

    def reset(self) -> None:
        """Forget everything (RFC 5321 §4.1.1.5)."""
        self._taking = False
        if self._body is not None:
            self._body.drop()
            self._body = None
        if self._mail is not None:
            self._mail = None
            self._recipients, self._resolutions = [], []
            self._generation = -1
            self.message_id = 0
            self._host.facts.reset_transaction()

    def end(self) -> None:
        """The connection is gone. What intake has already is finished without us."""
        self._ended = True
        body = self._body
        if body is None or self._taking:
            return
        host, facts = self._host, self._host.facts
        host.record(events.SMTP_ABORTED, host.client, _show(facts.sender), body.size, message_id=self.message_id)
        self._services.aborts.note(host.client, self._services.clock.monotonic())
        self.reset()

    # --- the envelope ---------------------------------------------------------------------------------

    def take_mail(self, mail: Mail) -> None:
        """MAIL FROM, for who may send at all."""
        services, host, facts = self._services, self._host, self._host.facts
        self.reset()
        facts.sender = mail.sender
        facts.params = mail.params
        size = mail.params.get("SIZE", 0)
        facts.size_bytes = size if isinstance(size, int) else 0
        self._mail = mail
        self.message_id = services.ids.next(services.clock.now())
        verdict = services.pipeline.judge(Stage.SENDER, facts, host.snapshot)
        if verdict.action >= Action.DEFER:
            message_id = self.message_id
            host.record(events.REFUSED_SENDER, host.client, facts.helo, _show(mail.sender), _format(verdict),
                        verdict.check, message_id=message_id)
            self.reset()
            host.answer(_build_reply(verdict), message_id)
            return
        host.answer(SENDER_OK)

    def take_rcpt(self, rcpt: Rcpt) -> None:
        services, host, facts = self._services, self._host, self._host.facts
        if len(self._recipients) >= host.snapshot[keys.MAX_RECIPIENTS]:
            host.answer(_TOO_MANY, self.message_id)
            return
        directory = services.directory
        if self._generation < 0:
            # Asked before the first resolution: a change in between is noticed by intake.
            self._generation = directory.get_generation()
        resolution = directory.resolve(rcpt.address)
        facts.recipient, facts.resolution = rcpt.address, resolution
        verdict = services.pipeline.judge(Stage.RECIPIENT, facts, host.snapshot)
        if verdict.action >= Action.DEFER:
            host.record(events.REFUSED_RECIPIENT, host.client, facts.helo, _show(facts.sender), str(rcpt.address),
                        _format(verdict), verdict.check, message_id=self.message_id)
            host.answer(_build_reply(verdict), self.message_id)
            return
        self._recipients.append(Recipient(rcpt.address, rcpt.params))
        self._resolutions.append(resolution)
        host.answer(RECIPIENT_OK)

    # --- the body -------------------------------------------------------------------------------------

    def open_body(self, *, chunked: bool) -> None:
        """DATA or the first BDAT."""
        services, host = self._services, self._host
        body = Body(services.store, services.budget, host.snapshot[keys.MAX_MEMORY], self.message_id)
        if not body.reserve(host.facts.size_bytes):
            message_id = self.message_id
            self.reset()
            host.answer(NO_MEMORY, message_id)
            return
        self._body = body
        delay = services.aborts.get_delay(host.client, services.clock.monotonic())
        if delay:
            host.wait()
            asyncio.get_running_loop().call_later(delay, self._open_late, chunked)
        else:
            host.start_body(chunked=chunked)

    def take_piece(self, chunks: list[bytes]) -> None:
        """A part of a body that does not come whole."""
        body = self._body
        assert body is not None
        if body.add(chunks):
            self._host.wait()
            self._services.tasks.start(self._write_out(body), "writing a large message")

    def take_end(self, chunks: list[bytes]) -> None:
        """The last part: the message is whole."""
        body = self._body
        assert body is not None
        large = body.add(chunks) or body.is_large
        self._host.wait()
        self._taking = True
        if body.failure is not None:
            self._finish(Refused(
                body.failure.code, body.failure.enhanced, body.failure.lines[0], "the body could not be kept"))
        elif large:
            self._services.tasks.start(self._finish_large(body), "finishing a large message")
        else:
            data = body.join()
            self._services.intake.take(self._build(data, len(data)), self._finish)

    def lose_body(self, reply: Reply, reason: str, size: int = 0) -> None:
        """The engine refused the body."""
        host, facts, message_id = self._host, self._host.facts, self.message_id
        host.record(events.REFUSED_MESSAGE, host.client, _show(facts.sender), f"{reply.code} {reply.enhanced}", reason,
                    message_id=message_id)
        self.reset()
        host.answer(reply, message_id)

    def _open_late(self, chunked: bool) -> None:
        if not self._ended:
            self._host.start_body(chunked=chunked)
            self._host.go_on()

    def _build(self, data: bytes, size: int) -> Incoming:
        host, facts, mail = self._host, self._host.facts, self._mail
        assert mail is not None
        source = build_source(facts, host.client, host.snapshot, utf8="SMTPUTF8" in mail.params)
        envelope = Envelope(mail.sender, tuple(self._recipients), mail.params)
        return Incoming(self.message_id, source, envelope, data, size, host.snapshot, tuple(self._resolutions),
                        self._generation, facts)

    async def _write_out(self, body: Body) -> None:
        await body.write_out()
        if self._ended:
            body.drop()
        else:
            self._host.go_on()

    async def _finish_large(self, body: Body) -> None:
        await body.write_out()
        outcome: Outcome | None = None
        if body.failure is None and (parsed := await body.parse()) is not None:
            prepared = self._services.intake.prepare(self._build(body.head, body.size), parsed)
            if isinstance(prepared, Refused):
                outcome = prepared              # before the file is finished: it can still be thrown away
            elif (large := await body.finish()) is not None:
                self._services.intake.commit(prepared, self._finish, large)
                return
        if outcome is None:
            failure = body.failure or TROUBLE
            outcome = Refused(failure.code, failure.enhanced, failure.lines[0], "the body could not be kept")
        self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        """What became of the message; called by intake, at once or later."""
        message_id = self.message_id
        self.reset()
        if isinstance(outcome, Accepted):
            self.accepted += 1
            reply = Reply(250, "2.0.0", (f"Message accepted, id {format_id(message_id)}",))
        else:
            reply = Reply(outcome.code, outcome.enhanced, (outcome.text,))
        if self._ended:
            return
        self._host.answer(reply, message_id)
        self._host.go_on()


def _build_reply(verdict: Verdict) -> Reply:
    return Reply(verdict.code, verdict.enhanced, (verdict.text,))


def _format(verdict: Verdict) -> str:
    return f"{verdict.code} {verdict.enhanced} {verdict.text}"


def _show(sender: Address | None) -> str:
    return "" if sender is None else str(sender)

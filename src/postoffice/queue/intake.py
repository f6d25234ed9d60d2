"""Intake: the only entrance for mail, whoever brings it.

Takes an envelope and a body; parses it, has the pipeline judge it, writes our Received field, routes every recipient,
places the local ones as one change of the store, and tells the trace. Who brought it gets `Accepted` only after that
change is durable; anything else is `Refused` with the reply to give.

Owns the order of these steps and what is told to the trace about them. Invariants: no acceptance without a durable
commit; an incoming Return-Path is removed (RFC 5321 §4.4: the last server writes it); each account gets one copy,
whatever number of its addresses was named; a message whose recipients have all failed since they were accepted is
refused, and where only some have, their copy goes to Postmaster, so that nothing is lost while there are no bounces.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from postoffice.base.clock import Clock
from postoffice.base.ids import format_id
from postoffice.base.streams import TlsInfo
from postoffice.config.registry import Snapshot
from postoffice.directory.api import Directory
from postoffice.directory.model import Account, Resolution, ToAccounts
from postoffice.message.address import Address
from postoffice.message.envelope import Envelope
from postoffice.message.parsed import PARSER_VERSION, ParsedMessage, pack_parsed
from postoffice.message.structured import parse_message
from postoffice.message.trace_fields import Arrived, build_received, strip_return_path
from postoffice.policy.facts import Facts
from postoffice.policy.pipeline import Pipeline
from postoffice.policy.verdict import Action, Stage, Verdict
from postoffice.queue.router import Agent, Route, build_route
from postoffice.store.api import Pending, Store
from postoffice.store.model import Arrival, Failure, LargeFile, Placement, StoreFailure
from postoffice.trace import event_types as events
from postoffice.trace.api import Summary, Trace
from postoffice.trace.events import Event

log = logging.getLogger(__name__)

_POSTMASTER = Address("postmaster", "")
_ZONE_SECONDS = 900             # zones change their offset on quarters of an hour


class Source(msgspec.Struct, frozen=True):
    """Who brought a message, for the Received field and the trace. ``client`` and ``login`` are "" for our own mail;
    ``protocol`` is a registered word (RFC 3848: "ESMTPSA"); ``hidden`` keeps the client out of the Received field."""

    client: str
    helo: str
    login: str
    protocol: str
    hidden: bool = False
    tls: TlsInfo | None = None


class Incoming(msgspec.Struct, frozen=True):
    """A message before anything is done with it. ``body`` is all of it, or the beginning of one of ``size`` bytes
    that lies in a file (and is parsed by who wrote it). ``resolutions`` are what the recipients resolved to when the
    directory stood at ``generation`` (None: not asked yet). ``facts`` are for the pipeline; None: not judged
    (our own mail)."""

    message_id: int
    source: Source
    envelope: Envelope
    body: bytes
    size: int
    snapshot: Snapshot
    resolutions: tuple[Resolution, ...] | None = None
    generation: int = -1
    facts: Facts | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The message is durable."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The message was not taken, nothing of it is kept. The reply for the peer, without the id."""

    code: int
    enhanced: str
    text: str
    reason: str


Outcome = Accepted | Refused


class PlacingAgent(Protocol):
    """A delivery agent that places copies in mailboxes (`delivery.local.LocalDelivery`)."""

    def place(
        self, sender: Address | None, recipient: Address, accounts: tuple[Account, ...], snapshot: Snapshot,
    ) -> list[Placement]: ...


@dataclass(frozen=True, slots=True)
class OfficeNames:
    """What we call ourselves under given settings: the host, and the words in parentheses of our Received field."""

    host_name: Callable[[Snapshot], str]
    product: Callable[[Snapshot], str] = lambda _snapshot: "Post.Office"


@dataclass(slots=True)
class Prepared:
    """A message judged and routed, ready to be committed."""

    incoming: Incoming
    seconds: float
    parsed: ParsedMessage
    placements: list[Placement]
    places: list[tuple[str, str, int]]          # recipient, account's address, index of its placement
    failed: list[tuple[str, str]]               # recipient, reason


class Intake:
    """One per process. ``agents`` serve the routes that end in mailboxes."""

    def __init__(
        self, store: Store, directory: Directory, trace: Trace, pipeline: Pipeline,
        agents: Mapping[Agent, PlacingAgent], clock: Clock, office: OfficeNames,
    ) -> None:
        self._store = store
        self._directory = directory
        self._trace = trace
        self._pipeline = pipeline
        self._agents = agents
        self._clock = clock
        self._office = office
        # What our Received field says of us, worked out once per snapshot, and the zone once per quarter of an hour.
        self._named: Snapshot | None = None
        self._host = self._product = ""
        self._quarter = -1
        self._offset_minutes = 0

    def take(self, incoming: Incoming, done: Callable[[Outcome], None]) -> None:
        """Take a message whose body is in memory. ``done`` is called once, on the loop, later or at once."""
        body = strip_return_path(incoming.body)
        if body is not incoming.body:
            incoming = msgspec.structs.replace(incoming, body=body, size=len(body))
        prepared = self.prepare(incoming)
        if isinstance(prepared, Refused):
            done(prepared)
        else:
            self.commit(prepared, done)

    def accept(self, incoming: Incoming) -> asyncio.Future[Outcome]:
        """`take` for whoever would rather await."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.take(incoming, done)
        return future

    def prepare(self, incoming: Incoming, parsed: ParsedMessage | None = None) -> Prepared | Refused:
        """Parse (unless that has been done), judge and route; the body must have passed `strip_return_path`. A refusal
        has been told to the trace. Never raises."""
        try:
            return self._prepare(incoming, parsed or parse_message(incoming.body))
        except Exception:
            log.exception("message %s could not be prepared", format_id(incoming.message_id))
            return self._refuse(incoming, None, 451, "4.3.0", "Temporary trouble, try again later", "internal error")

    def commit(self, prepared: Prepared, done: Callable[[Outcome], None], large: LargeFile | None = None) -> None:
        """Hand a prepared message to the store; ``large`` when its body lies in a file. Never raises."""
        incoming = prepared.incoming
        try:
            summary, told = self._describe(prepared)
            packed = self._trace.pack_record(summary, told)
            arrival = Arrival(
                incoming.message_id, prepared.seconds, self._build_header(prepared),
                incoming.body if large is None else large,
                pack_parsed(prepared.parsed), PARSER_VERSION, tuple(prepared.placements),
                packed)
            pending: Pending = self._store.submit(arrival)
        except Exception:
            log.exception("message %s could not be handed to the store", format_id(incoming.message_id))
            done(self._refuse(
                incoming, prepared.parsed, 451, "4.3.0", "Temporary trouble, try again later", "internal error"))
            return
        pending.add_done_callback(lambda future: done(self._finish(prepared, future, (summary, told, packed))))

    # --- before the commit ----------------------------------------------------------------------------------------

    def _prepare(self, incoming: Incoming, parsed: ParsedMessage) -> Prepared | Refused:
        facts = incoming.facts
        if facts is not None:
            facts.parsed = parsed
            facts.size_bytes = incoming.size
            verdict = self._pipeline.judge(Stage.MESSAGE, facts, incoming.snapshot)
            if verdict.action >= Action.DEFER:
                return self._refuse_by(incoming, parsed, verdict)
        prepared = Prepared(incoming, self._clock.now(), parsed, [], [], [])
        self._route(prepared)
        if not prepared.placements:
            reason = prepared.failed[0][1] if prepared.failed else "no recipient"
            return self._refuse(incoming, parsed, 550, "5.1.1", "No recipient could be served", reason)
        return prepared

    def _route(self, prepared: Prepared) -> None:
        incoming = prepared.incoming
        sender = incoming.envelope.sender
        resolutions = incoming.resolutions
        if resolutions is None or incoming.generation != self._directory.get_generation():
            # Accounts may have come or gone since RCPT.
            resolutions = tuple(self._directory.resolve(one.address) for one in incoming.envelope.recipients)
        placed: dict[int, int] = {}             # account -> index of its placement
        failed: list[tuple[Address, str]] = []
        for recipient, resolution in zip(incoming.envelope.recipients, resolutions, strict=True):
            route = build_route(resolution)
            if route.agent is Agent.NONE:
                failed.append((recipient.address, route.reason))
            else:
                self._place(prepared, placed, sender, recipient.address, route)
        if failed:
            prepared.failed = [(str(address), reason) for address, reason in failed]
            if placed:
                self._save_failed(prepared, placed, sender, failed[0][0])

    def _save_failed(
        self, prepared: Prepared, placed: dict[int, int], sender: Address | None, recipient: Address,
    ) -> None:
        resolution = self._directory.resolve(_POSTMASTER)
        if isinstance(resolution, ToAccounts):
            self._place(prepared, placed, sender, recipient, build_route(resolution))

    def _place(
        self, prepared: Prepared, placed: dict[int, int], sender: Address | None, recipient: Address, route: Route,
    ) -> None:
        accounts = route.destination
        new = tuple(account for account in accounts if account.id not in placed) if placed else accounts
        if new:
            agent = self._agents[route.agent]
            for placement in agent.place(sender, recipient, new, prepared.incoming.snapshot):
                placed[placement.account] = len(prepared.placements)
                prepared.placements.append(placement)
        text = str(recipient)
        for account in accounts:
            prepared.places.append((text, account.address, placed[account.id]))

    def _build_header(self, prepared: Prepared) -> bytes:
        incoming, seconds = prepared.incoming, int(prepared.seconds)
        source, recipients = incoming.source, incoming.envelope.recipients
        if incoming.snapshot is not self._named:
            self._named = incoming.snapshot
            self._host, self._product = self._office.host_name(self._named), self._office.product(self._named)
        quarter = seconds // _ZONE_SECONDS
        if quarter != self._quarter:
            self._quarter, self._offset_minutes = quarter, time.localtime(seconds).tm_gmtoff // 60
        arrived = Arrived(
            source.helo, None if source.hidden else source.client, self._host, source.protocol,
            format_id(incoming.message_id), recipients[0].address if len(recipients) == 1 else None,
            seconds, self._offset_minutes)
        return build_received(arrived, self._product)

    # --- after it -------------------------------------------------------------------------------------------------

    def _finish(self, prepared: Prepared, future: Pending, row: tuple[Summary, list[Event], bytes]) -> Outcome:
        incoming = prepared.incoming
        try:
            future.result()
        except StoreFailure as failure:
            log.warning("message %s was not stored: %s", format_id(incoming.message_id), failure)
            if failure.failure is Failure.DISK_FULL:
                return self._refuse(
                    incoming, prepared.parsed, 452, "4.3.1", "Not enough disk space, try again later", str(failure))
            return self._refuse(
                incoming, prepared.parsed, 451, "4.3.0", "Temporary trouble, try again later", str(failure))
        except (Exception, asyncio.CancelledError):
            log.exception("message %s was not stored", format_id(incoming.message_id))
            return self._refuse(
                incoming, prepared.parsed, 451, "4.3.0", "Temporary trouble, try again later", "internal error")
        try:
            self._trace.record_message(*row)
        except Exception:
            # The message is safe; a bug in telling about it must not make the client send it again.
            log.exception("the trace of message %s", format_id(incoming.message_id))
        return Accepted(incoming.message_id)

    def _describe(self, prepared: Prepared) -> tuple[Summary, list[Event]]:
        """The trace's row of an accepted message; made before its commit, because the record carries it too."""
        incoming, seconds = prepared.incoming, prepared.seconds
        source, number = incoming.source, incoming.message_id
        summary = self._summarise(incoming, prepared.parsed, "partial" if prepared.failed else "delivered")
        told = [Event(events.ACCEPTED, seconds, (
            source.client, source.helo, source.login, source.protocol, summary.sender, len(summary.recipients),
            incoming.size, summary.header_message_id), number, source.client)]
        placements = prepared.placements
        for recipient, account, index in prepared.places:
            told.append(Event(events.DELIVERED, seconds, (
                recipient, account, placements[index].folder), number, source.client))
        for recipient, reason in prepared.failed:
            told.append(Event(events.NOT_DELIVERED, seconds, (recipient, reason), number, source.client))
        return summary, told

    def _summarise(self, incoming: Incoming, parsed: ParsedMessage | None, status: str) -> Summary:
        source, envelope = incoming.source, incoming.envelope
        inner = parsed.envelope if parsed is not None else None
        return Summary(
            incoming.message_id, source.client, source.helo, source.login,
            "" if envelope.sender is None else str(envelope.sender),
            [str(one.address) for one in envelope.recipients],
            inner.subject if inner is not None else "", inner.message_id if inner is not None else "",
            incoming.size, status)

    def _refuse_by(self, incoming: Incoming, parsed: ParsedMessage, verdict: Verdict) -> Refused:
        return self._refuse(
            incoming, parsed, verdict.code, verdict.enhanced, verdict.text, f"{verdict.check}: {verdict.sentence}")

    def _refuse(
        self, incoming: Incoming, parsed: ParsedMessage | None, code: int, enhanced: str, text: str, reason: str,
    ) -> Refused:
        refused = Refused(code, enhanced, text, reason)
        try:
            summary = self._summarise(incoming, parsed, "refused")
            self._trace.record_message(summary, [Event(
                events.REFUSED_MESSAGE, self._clock.now(),
                (incoming.source.client, summary.sender, f"{code} {enhanced} {text}", reason),
                incoming.message_id, incoming.source.client)])
        except Exception:
            log.exception("the trace of message %s", format_id(incoming.message_id))
        return refused


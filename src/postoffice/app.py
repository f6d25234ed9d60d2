"""The composition root: builds the services of one process, starts and stops them in order, keeps them current.

Owns nothing but the putting together. What a lower layer needs from a higher one is handed in here. A process is a
Serve (listeners), a Deliver (periodic work) or both in one. Order of a stop: listeners close, sessions end, the store
finishes what waits, the journal writes its last rows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from postoffice import __version__
from postoffice.base.clock import Clock, SystemClock
from postoffice.base.ids import MessageIds
from postoffice.base.tasks import Tasks
from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.config.saved import SavedSettings
from postoffice.delivery.local import LocalDelivery
from postoffice.delivery.upkeep import Upkeep
from postoffice.directory.sqlite import SqliteDirectory
from postoffice.operations.environment import get_mailbox_directory
from postoffice.operations.logs import get_log_directory
from postoffice.operations.office import DATABASE
from postoffice.policy.checks.order import CHECKS
from postoffice.policy.counters import COUNTERS, Counters
from postoffice.policy.facts import Sources
from postoffice.policy.hashing import HashingPool
from postoffice.policy.pipeline import Pipeline
from postoffice.policy.signin import SignIn, Surroundings
from postoffice.pop3.listener import Pop3Listener
from postoffice.pop3.maildrop import Maildrops
from postoffice.pop3.rules import RulesReader
from postoffice.pop3.services import Services as Pop3Services
from postoffice.queue.intake import Intake
from postoffice.queue.router import Agent
from postoffice.settings import dispatch, store, tls
from postoffice.smtp.greeting import build_office_names
from postoffice.smtp.listener import SmtpListener, get_limits
from postoffice.smtp.services import Services as SmtpServices
from postoffice.store.api import Store
from postoffice.store.embedded import EmbeddedStore, StoreOptions
from postoffice.store.model import PurgeAccount, StoreFailure
from postoffice.tls.acceptor import Acceptor, ConnectionCounts
from postoffice.tls.contexts import Contexts, TlsChoice
from postoffice.trace import event_types, files
from postoffice.trace.api import Summary
from postoffice.trace.events import Event
from postoffice.trace.journal import FLUSH_SECONDS, Journal

SELF_SIGNED = Path("tls/server.pem")            # below the spool; served while no other certificate is set
HOLD_SECONDS = 0.001            # how old an answer of settings and directory may be; a notice makes it anew at once
_RELEASE_CACHE_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """``role``: "serve", "deliver" or "all"; ``slot``: this process's number, for message ids and the store."""

    spool: Path
    role: str
    slot: int


@runtime_checkable
class HoldsRights(Protocol):
    """A session of somebody who has signed in: it looks anew whether that right still stands."""

    def recheck(self) -> None: ...


class CountedTrace:
    """A journal that counts mail in and out for `postoffice status`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.messages_in = 0
        self.messages_out = 0
        self.pack_record = journal.pack_record

    def record(self, event: Event) -> None:
        if event.type is event_types.POP3_RETRIEVED:
            self.messages_out += 1
        self._journal.record(event)

    def record_message(self, summary: Summary, events: list[Event], packed: bytes | None = None) -> None:
        if summary.status != "refused":
            self.messages_in += 1
        self._journal.record_message(summary, events, packed)


class Process:
    """The services of one process; `dispatch.childloop` drives it."""

    def __init__(self, options: ProcessOptions, clock: Clock) -> None:
        self._options = options
        self._spool = options.spool
        self._clock = clock
        self._settings = SavedSettings(options.spool / DATABASE, build_registry(), hold_seconds=HOLD_SECONDS)
        self._current: Callable[[], Snapshot] = self._settings.current
        self._directory = SqliteDirectory(options.spool / DATABASE, self._current, hold_seconds=HOLD_SECONDS)
        self._store = self._open_store()
        self._mail = cast(Store, self._store)
        self._journal = Journal(options.spool / "trace", self._current, clock.now, slot=options.slot,
                                get_position=self._store.get_position)
        self.trace = CountedTrace(self._journal)
        self._tasks = Tasks()
        self._acceptors: dict[str, Acceptor] = {}
        self._flushing: asyncio.TimerHandle | None = None
        self._seen = (-1, -1)
        self._closers: list[Callable[[], None]] = []
        self._contexts: Contexts | None = None
        self._upkeep: Upkeep | None = None

    @property
    def log_directory(self) -> Path:
        return get_log_directory(self._spool, self._current())

    async def start(self) -> None:
        """Everything but the listening sockets, which come by `serve`. Raises PostOfficeError, OSError, apsw.Error."""
        self._read_on()
        self._flush()
        if self._options.role != "deliver":
            self._build_listeners()
        if self._options.role != "serve":
            self._upkeep = Upkeep(self._spool / "trace", self._current, self._clock, self._purge_removed)
            self._tasks.start(self._upkeep.run(), "the periodic upkeep")

    async def serve(self, service: str, listening: socket.socket) -> None:
        """Accept for a service on a listening socket from now on."""
        await self._acceptors[service].serve(listening)

    def close_listener(self, service: str, listening: socket.socket) -> None:
        """Accept there no more; connections live on."""
        self._acceptors[service].close_listener(listening)

    def refresh(self) -> tuple[int, int]:
        """Take over what changed in the databases; the generations of settings and directory now obeyed."""
        self._settings.look_again()
        self._directory.look_again()
        seen = self._current().generation, self._directory.get_generation()
        if seen != self._seen:
            self._seen = seen
            if self._contexts is not None:
                self._contexts.get_server_context()
            if self._upkeep is not None:
                self._upkeep.settings_changed()
            for acceptor in self._acceptors.values():
                for session in acceptor.sessions():
                    if isinstance(session, HoldsRights):
                        session.recheck()
        return seen

    def reload(self) -> None:
        """Signal HUP: open logs by name again, read certificates anew."""
        self._journal.reopen()
        if self._contexts is not None:
            self._contexts.reload()

    def report(self) -> dict[str, object]:
        """For `postoffice status`."""
        return {
            "messages_in": self.trace.messages_in, "messages_out": self.trace.messages_out,
            "connections": sum(acceptor.connections for acceptor in self._acceptors.values()),
        }

    async def stop(self, seconds: float) -> None:
        """Let sessions end, at most ``seconds``; then close everything."""
        await asyncio.gather(*(acceptor.shut_down(seconds) for acceptor in self._acceptors.values()))
        await self._tasks.stop()
        await self._store.wait_idle()
        if self._flushing is not None:
            self._flushing.cancel()
        self._journal.close()
        await self._store.close()
        for close in reversed(self._closers):
            close()
        self._directory.close()
        self._settings.close()

    async def _purge_removed(self) -> None:
        """Mailboxes of accounts that are gone: the mail first, then the memory that there was an account."""
        for removed in self._directory.list_removed():
            try:
                await self._store.submit(PurgeAccount(removed.id))
            except StoreFailure as failure:
                log.warning("the mailbox of %s is not purged yet: %s", removed.address, failure)
                return
            self._directory.forget_removed(removed.id)

    # --- building -----------------------------------------------------------------------------------------

    def _open_store(self) -> EmbeddedStore:
        snapshot = self._current()
        return EmbeddedStore.open(
            get_mailbox_directory(self._spool, snapshot), slot=self._options.slot, clock=self._clock,
            options=StoreOptions(segment_size=snapshot[store.SEGMENT_SIZE], spool=self._spool,
                                 release=self._make_release()))

    def _make_release(self) -> Callable[[int, int], bool]:
        """A dead segment may go when the trace has read it: asked of the trace files, remembered for some seconds."""
        reached: dict[int, tuple[float, int]] = {}

        def release(segment: int, slot: int) -> bool:
            now = self._clock.monotonic()
            known = reached.get(slot)
            if known is None or now - known[0] > _RELEASE_CACHE_SECONDS:
                position = self._journal.find_reached(slot)
                known = reached[slot] = now, position[0] if position else -1
            return segment < known[1]

        return release

    def _read_on(self) -> None:
        """Make the trace good after an unclean stop, for this process's slot and, in Deliver, for abandoned ones."""
        # The month's file whole before anybody reads it: another process may be in the middle of making it.
        month = files.get_month_path(self._spool / "trace", files.get_month(self._clock.now()))
        files.open_for_writing(month).close()
        slots = [self._options.slot]
        if self._options.role != "serve":
            slots += [slot for slot in self._store.list_slots() if slot != self._options.slot]
        for slot in slots:
            self._journal.read_on(self._store.list_records(self._journal.find_reached(slot), slot=slot))

    def _flush(self) -> None:
        self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        self._journal.flush()

    def _build_listeners(self) -> None:
        self._contexts = contexts = Contexts(self._get_tls_choice, self._spool, self._certificate_unusable)
        counters = Counters(self._spool / COUNTERS)
        pool = HashingPool(max(1, len(os.sched_getaffinity(0)) // max(1, self._current()[dispatch.WORKERS])))
        signin = SignIn(Surroundings(self._directory, self._current, counters, self.trace, self._clock, pool))
        self._closers += [counters.close, pool.close]
        self._build_pop3(signin, contexts)
        self._build_smtp(signin, contexts)

    def _build_pop3(self, signin: SignIn, contexts: Contexts) -> None:
        maildrops = Maildrops(self._spool)
        self._closers.append(maildrops.close)
        rules = RulesReader(self._current)

        def context() -> ssl.SSLContext | None:
            return contexts.get_server_context("pop3")

        listener = Pop3Listener(Pop3Services(
            self._mail, signin, maildrops, self.trace, self._clock, rules, context, __version__))
        counts = ConnectionCounts(rules.get_limits)
        self._acceptors["pop3"] = Acceptor(listener, counts, self._clock)
        self._acceptors["pop3s"] = Acceptor(listener, counts, self._clock, context=context)

    def _build_smtp(self, signin: SignIn, contexts: Contexts) -> None:
        pipeline = Pipeline(CHECKS, Sources(self._directory, self._mail))
        intake = Intake(self._mail, self._directory, self.trace, pipeline, {Agent.LOCAL: LocalDelivery()},
                        self._clock, build_office_names(__version__))
        ids = MessageIds(self._options.slot, self._store.last_message_id())

        def context() -> ssl.SSLContext | None:
            return contexts.get_server_context("smtp")

        services = SmtpServices(
            intake, pipeline, self._mail, self._directory, signin, self.trace, self._clock, ids, self._current,
            context, __version__, tasks=self._tasks)
        counts = ConnectionCounts(lambda: get_limits(services))
        accept = SmtpListener(services, submission=False)
        submission = SmtpListener(services, submission=True)
        self._acceptors["smtp"] = Acceptor(accept, counts, self._clock)
        self._acceptors["submission"] = Acceptor(submission, counts, self._clock)
        self._acceptors["smtps"] = Acceptor(submission, counts, self._clock, context=context)

    def _get_tls_choice(self) -> TlsChoice:
        snapshot = self._current()
        return TlsChoice(snapshot[tls.CERTIFICATES] or (SELF_SIGNED,), snapshot[tls.MINIMUM_VERSION])

    def _certificate_unusable(self, file: Path, reason: str) -> None:
        self.trace.record(Event(event_types.CERTIFICATE_UNUSABLE, self._clock.now(), (file, reason)))


def build_process(options: ProcessOptions) -> Process:
    """The services of a process on its spool. Raises PostOfficeError, OSError, apsw.Error."""
    return Process(options, SystemClock())

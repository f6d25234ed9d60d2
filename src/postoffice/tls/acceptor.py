"""Listening sockets and the connections that came in through them.

Owns: which links live, how many each client has, the sweep of deadlines once a second, the graceful end.
Leaves to `tls.link` what happens on a connection, to its caller the binding of sockets and the choice of
limits.

A client is one IPv4 address or one IPv6 /64. Connections outlive the listening socket that they came
through.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from postoffice.base.clock import Clock
from postoffice.base.streams import Address, Session
from postoffice.tls.link import HANDSHAKE_SECONDS, Link

log = logging.getLogger(__name__)

BACKLOG = 1024                  # asyncio listens anew with its own number unless told
SWEEP_SECONDS = 1.0
ABORT_SECONDS = 1.0             # for the loop to tell that aborted connections are gone

ClientKey = tuple[int, int]     # IP version; the address, or the first 64 bits of an IPv6 one


class Refusal(enum.Enum):
    """Why a connection is turned away before its session begins."""

    TOO_MANY = "too many connections"
    TOO_MANY_FROM_CLIENT = "too many connections from this address"
    STOPPING = "the server is stopping"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Connections at one time; 0: no limit."""

    total: int = 0
    per_client: int = 0


class SessionFactory(Protocol):
    """What a protocol gives its acceptor."""

    def make_session(self) -> Session: ...

    def refuse(self, reason: Refusal) -> bytes:
        """The short line for a connection that is turned away (never sent where TLS is implicit)."""


class ConnectionCounts:
    """How many connections there are, in all and per client. Acceptors of one service share one."""

    def __init__(self, limits: Callable[[], ConnectionLimits]) -> None:
        self._limits = limits
        self._per_client: Counter[ClientKey] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    def enter(self, client: Address) -> Refusal | None:
        """Count a connection, or say why not."""
        limits = self._limits()
        key = get_client_key(client)
        if limits.total and self._total >= limits.total:
            return Refusal.TOO_MANY
        if limits.per_client and self._per_client[key] >= limits.per_client:
            return Refusal.TOO_MANY_FROM_CLIENT
        self._total += 1
        self._per_client[key] += 1
        return None

    def leave(self, client: Address) -> None:
        key = get_client_key(client)
        self._total -= 1
        self._per_client[key] -= 1
        if self._per_client[key] <= 0:
            del self._per_client[key]


def get_client_key(client: Address) -> ClientKey:
    """What counts as one client: an IPv4 address, an IPv6 /64 (its owner has all of it)."""
    return (4, int(client)) if isinstance(client, IPv4Address) else (6, int(client) >> 64)


class Acceptor:
    """Serves listening sockets with sessions of one factory.

    ``context``: for implicit TLS, gives the current context; while it gives None, connections are closed
    without a word.
    """

    def __init__(
        self, factory: SessionFactory, counts: ConnectionCounts, clock: Clock, *,
        context: Callable[[], ssl.SSLContext | None] | None = None,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._factory = factory
        self._counts = counts
        self._clock = clock
        self._context = context
        self._handshake_seconds = handshake_seconds
        self._servers: dict[socket.socket, asyncio.AbstractServer] = {}
        self._links: dict[Link, None] = {}              # in order of arrival
        self._counted: set[Link] = set()
        self._stopping = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None

    @property
    def connections(self) -> int:
        return len(self._links)

    def sessions(self) -> Iterator[Session]:
        """The sessions that live now; the list may change while it is walked."""
        for link in tuple(self._links):
            if link.session is not None:
                yield link.session

    async def serve(self, listening: socket.socket) -> None:
        """Accept on a bound socket from now on. The acceptor owns it and closes it with
        `close_listener`."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        self._servers[listening] = await loop.create_server(self._make_link, sock=listening, backlog=BACKLOG)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def close_listener(self, listening: socket.socket) -> None:
        """Stop accepting there; its connections live on. Unknown sockets are ignored."""
        server = self._servers.pop(listening, None)
        if server is not None:
            server.close()

    async def shut_down(self, seconds: float) -> None:
        """Close every listener, ask all sessions to end, drop after ``seconds`` those that have not."""
        self._stopping = True
        for listening in tuple(self._servers):
            self.close_listener(listening)
        self._empty = asyncio.Event()
        for link in tuple(self._links):
            link.shut_down()
        if self._links and not await _is_set_within(self._empty, seconds):
            for link in tuple(self._links):
                link.abort()
            await _is_set_within(self._empty, ABORT_SECONDS)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    # --- the links' side ----------------------------------------------------------------------------------

    def _make_link(self) -> Link:
        context = None
        if self._context is not None:
            context = self._context()
            if context is None:
                return Link(self._factory.make_session, self._clock, admit=self._turn_away, gone=self._gone)
        return Link(self._factory.make_session, self._clock, admit=self._admit, gone=self._gone,
                    context=context, handshake_seconds=self._handshake_seconds)

    def _turn_away(self, link: Link) -> bytes | None:
        self._links[link] = None
        return b""

    def _admit(self, link: Link) -> bytes | None:
        self._links[link] = None
        refusal = Refusal.STOPPING if self._stopping else self._counts.enter(link.peer.address)
        if refusal is not None:
            return self._factory.refuse(refusal)
        self._counted.add(link)
        return None

    def _gone(self, link: Link) -> None:
        self._links.pop(link, None)
        if link in self._counted:
            self._counted.discard(link)
            self._counts.leave(link.peer.address)
        if self._empty is not None and not self._links:
            self._empty.set()

    def _sweep(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        now = self._clock.monotonic()
        for link in tuple(self._links):
            link.tick(now)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False

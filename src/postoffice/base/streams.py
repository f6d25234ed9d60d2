"""The seam between sockets and sessions.

A listener owns transports and gives each session a `Wire`; `tls.link.Link` is the one that talks to real sockets and
TLS, `testing.streams` the one in memory. A session never sees a transport, a wire never knows a protocol.
Everything here is called on the event loop's thread and never blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from ssl import SSLContext
from typing import Protocol

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Peer:
    """Both ends of a connection. IPv4-mapped IPv6 addresses appear as IPv4."""

    address: Address
    port: int
    local_address: Address
    local_port: int


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What was agreed: ``version`` as OpenSSL names it ("TLSv1.3"), cipher, bits, and the SNI name if one was sent."""

    version: str
    cipher: str
    bits: int
    server_name: str | None = None


class Wire(Protocol):
    """One connection as its session sees it."""

    @property
    def peer(self) -> Peer: ...

    @property
    def tls(self) -> TlsInfo | None:
        """None in clear."""

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer. Never blocks; `session.writable(False)` tells that the buffer is high."""

    def close(self) -> None:
        """Flush what is queued, say close_notify, close; aborted after about a second. Idempotent."""

    def abort(self) -> None:
        """Drop the connection now, queued bytes lost. Idempotent."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def start_tls(self, context: SSLContext) -> None:
        """Begin a server-side handshake after all queued bytes are written.

        Bytes the peer sent before its ClientHello in the same segment as the command must already have been dropped
        by the session's engine; from now on every received byte belongs to TLS. `session.secured(info)` follows, or
        `session.lost(exc)`.
        """

    def set_deadline(self, seconds: float | None) -> None:
        """Ask for `session.expired()` when that much time passes without another call. Resolution 1 s; None: never."""


class Session(Protocol):
    """What a listener drives. Methods are callbacks on the loop; none may raise for anything the peer does."""

    def opened(self, wire: Wire) -> None:
        """The connection (and for implicit TLS the handshake) is there; greet."""

    def received(self, data: bytes) -> None: ...

    def secured(self, info: TlsInfo) -> None:
        """The handshake asked for by `start_tls` is done."""

    def writable(self, ready: bool, /) -> None:
        """False: stop producing, the write buffer is above its high mark. True: go on."""

    def peer_closed(self) -> None:
        """The peer ended its side; answer what is pending and close."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone. Called exactly once, last."""

    def expired(self) -> None:
        """The deadline set by `set_deadline` has passed."""

    def shut_down(self) -> None:
        """The server stops or the account lost its right: say so (421, -ERR) when idle, else after the command."""

"""A wire in memory, for sessions under test: what the session does to its connection is there to be looked
at."""

from __future__ import annotations

from ipaddress import ip_address
from ssl import SSLContext

from postoffice.base.streams import Peer, Session, TlsInfo

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)


def build_peer(
    address: str = "192.0.2.7", port: int = 50000, local: str = "192.0.2.1", local_port: int = 110,
) -> Peer:
    """A connection from a documentation address (RFC 5737)."""
    return Peer(ip_address(address), port, ip_address(local), local_port)


class MemoryWire:
    """A `base.streams.Wire`. ``high_water``: bytes not yet taken above which the session is told to stop;
    `take` gives what was written and tells it to go on. Deadlines are noted, not run."""

    def __init__(
        self, peer: Peer | None = None, tls: TlsInfo | None = None, *, high_water: int = 1 << 30,
    ) -> None:
        self._peer = peer or build_peer()
        self._tls = tls
        self._high_water = high_water
        self._full = False
        self._written = bytearray()
        self.session: Session | None = None
        self.writes = 0                         # calls of write so far
        self.closed = False                     # by the session
        self.aborted = False
        self.paused = False                     # reading
        self.deadline: float | None = None
        self.starting: SSLContext | None = None # start_tls was called with it, `secure` is awaited

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def tls(self) -> TlsInfo | None:
        return self._tls

    def write(self, data: bytes) -> None:
        if self.closed or self.aborted:
            return
        self.writes += 1
        self._written += data
        if len(self._written) > self._high_water and not self._full and self.session is not None:
            self._full = True
            self.session.writable(False)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def start_tls(self, context: SSLContext) -> None:
        self.starting = context
        self.paused = False

    def set_deadline(self, seconds: float | None) -> None:
        self.deadline = seconds

    # The peer's side.

    def open(self, session: Session) -> None:
        """Connect: the session greets."""
        self.session = session
        session.opened(self)

    def give(self, data: bytes) -> None:
        """The peer sends."""
        assert self.session is not None
        self.session.received(data)

    def secure(self, info: TlsInfo = TLS) -> None:
        """The handshake the session asked for is done."""
        assert self.session is not None and self.starting is not None
        self._tls, self.starting = info, None
        self.session.secured(info)

    def take(self) -> bytes:
        """What was written since the last call; the peer has read it."""
        data = bytes(self._written)
        self._written.clear()
        if self._full:
            self._full = False
            assert self.session is not None
            self.session.writable(True)
        return data

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        assert self.session is not None
        self.session.lost(error)

"""The link between a transport and a session: clear text, implicit TLS and upgrades by one piece of code.

Owns: the TLS state over `ssl.MemoryBIO`, back-pressure in both directions, the orderly close (flush,
close_notify, FIN, wait for the peer, about a second), deadlines as far as `tick` is called, and the rule
that an exception in a session never reaches the event loop. Leaves to `tls.acceptor`: listening, counting,
calling `tick` once a second.

Invariants: `Session.opened` comes before every other callback; `Session.lost` exactly once, last, if
`opened` came; a session of an implicit-TLS port is made only when its handshake is done; after `start_tls`
no byte reaches the session but by TLS; nothing is called after `lost`. RFC 8446 §6.1, RFC 3207 §4, RFC
2595 §4.

`loop.start_tls` is not used: it loses a ClientHello that came with the command, lets clear text through in
a race and holds many times the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import ssl
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import ParamSpec, cast

from postoffice.base.clock import Clock
from postoffice.base.streams import Address, Peer, Session, TlsInfo

log = logging.getLogger(__name__)
P = ParamSpec("P")

READ_SLICE = 16 * 1024          # ciphertext given to OpenSSL at once: its buffers stay this small
WRITE_SLICE = 64 * 1024         # plaintext encrypted at once, likewise
HIGH_WATER = 128 * 1024         # bytes queued in the transport above which the session is told to stop
LOW_WATER = 32 * 1024
CLOSE_SECONDS = 1.0             # how long a peer may take to end its side
FLUSH_SECONDS = 10.0            # how long what is queued may stand without progress while closing
HANDSHAKE_SECONDS = 30.0


class _State(enum.Enum):
    NEW = 0
    HANDSHAKE = 1               # implicit TLS (no session yet) or an upgrade (session waits)
    OPEN = 2
    CLOSING = 3                 # what is queued goes out, what comes in is dropped
    LOST = 4


class ServerTls(ssl.SSLObject):
    """An SSLObject that remembers the name its client asked for."""

    sni: str | None = None


class Link(asyncio.Protocol):
    """One connection: an asyncio protocol to its transport, a `base.streams.Wire` to its session.

    ``admit`` is called when the connection is there; bytes mean: refuse with them (b"": without a word).
    ``gone`` is called once when it is over, whatever happened. ``context``: implicit TLS. A session that
    has a method ``crashed()`` may write a temporary reply there when one of its callbacks has raised; then
    the link closes.
    """

    __slots__ = (
        "_admit", "_clock", "_context", "_deadline", "_end_waits", "_gone", "_handshake_seconds", "_held",
        "_incoming", "_limit", "_loop", "_make_session", "_outgoing", "_paused", "_peer", "_peer_done", "_queued",
        "_received", "_state", "_tls", "_tls_info", "_transport", "_unsent", "session",
    )

    _transport: asyncio.Transport               # these three stand from connection_made on
    _loop: asyncio.AbstractEventLoop
    _peer: Peer

    def __init__(
        self, make_session: Callable[[], Session], clock: Clock, *,
        admit: Callable[[Link], bytes | None], gone: Callable[[Link], None],
        context: ssl.SSLContext | None = None, handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._make_session = make_session
        self._clock = clock
        self._admit = admit
        self._gone = gone
        self._context = context
        self._handshake_seconds = handshake_seconds
        self._state = _State.NEW
        self.session: Session | None = None
        self._received: Callable[[bytes], None] = _drop
        self._tls: ssl.SSLObject | None = None
        self._tls_info: TlsInfo | None = None
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self._paused = False
        self._held: list[bytes] = []            # received while the session had paused
        self._peer_done = False                 # the peer ended its side
        self._end_waits = False                 # and the session has yet to hear of it
        self._queued: list[bytes] = []          # written by the session during a handshake
        self._unsent = 0                        # while closing: what the peer had not taken when last seen
        self._deadline: float | None = None     # the session's own
        self._limit: float | None = None        # the handshake's or the close's

    # --- Wire ---------------------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def tls(self) -> TlsInfo | None:
        return self._tls_info

    def write(self, data: bytes) -> None:
        if self._state is _State.OPEN:
            if self._tls is None:
                self._transport.write(data)
            else:
                self._encrypt(self._tls, data)
        elif self._state is _State.HANDSHAKE:
            self._queued.append(data)

    def close(self) -> None:
        if self._state is _State.HANDSHAKE:
            self.abort()                        # the peer could not read anything
        elif self._state is _State.OPEN:
            self._begin_close()

    def abort(self) -> None:
        if self._state is not _State.LOST:
            self._state = _State.CLOSING
            self._transport.abort()

    def pause_reading(self) -> None:
        if not self._paused and self._state is _State.OPEN:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if self._state is _State.OPEN:
                if self._held or self._end_waits:           # not from within the session's own call
                    self._loop.call_soon(self._give_held)
                if not self._peer_done:
                    self._transport.resume_reading()

    def start_tls(self, context: ssl.SSLContext) -> None:
        if self._state is not _State.OPEN or self._tls is not None:
            return
        self._held.clear()                      # clear text sent ahead is never taken for what TLS protects
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._begin_handshake(context)

    def set_deadline(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else self._clock.monotonic() + seconds

    # --- the transport's side -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        peer = _get_peer(transport)
        if peer is None:                        # reset before it was accepted
            self.abort()
            return
        self._peer = peer
        self._transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        refusal = self._admit(self)
        if refusal is not None:
            self._state = _State.OPEN
            if refusal and self._context is None:
                self._transport.write(refusal)
            self._begin_close()
        elif self._context is not None:
            self._begin_handshake(self._context)
        else:
            self._open()

    def data_received(self, data: bytes) -> None:
        if self._state is _State.OPEN:
            if self._tls is not None:
                self._decrypt(self._tls, data)
            elif self._paused or self._held:
                self._hold(data)
            else:
                try:
                    self._received(data)
                except Exception:
                    log.exception("A session failed")
                    self._crash()
        elif self._state is _State.HANDSHAKE and self._tls is not None:
            self._decrypt(self._tls, data)

    def eof_received(self) -> bool:
        """True keeps our side open: the session may still answer what is pending."""
        if self._state is _State.HANDSHAKE:
            self.abort()
        elif self._state is _State.OPEN:
            self._end_of_input()
            return True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._state is _State.LOST:
            return
        self._state = _State.LOST
        session, self.session = self.session, None
        self._received = _drop
        self._tls = self._incoming = self._outgoing = None
        self._held.clear()
        self._queued.clear()
        try:
            if session is not None:
                session.lost(error)
        except Exception:
            log.exception("A session failed while its connection was lost")
        finally:
            self._gone(self)

    def pause_writing(self) -> None:
        if self._state is _State.OPEN and self.session is not None:
            self._call(self.session.writable, False)

    def resume_writing(self) -> None:
        if self._state is _State.OPEN and self.session is not None:
            self._call(self.session.writable, True)

    # --- the acceptor's side ------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Called about once a second with the clock's monotonic time: what is overdue is ended."""
        if self._limit is not None and now >= self._limit:
            if self._state is _State.HANDSHAKE:
                self.abort()
            elif self._state is _State.CLOSING:
                self._press_close(now)
        elif self._deadline is not None and now >= self._deadline and self._state is _State.OPEN:
            self._deadline = None
            if self.session is not None:
                self._call(self.session.expired)

    def shut_down(self) -> None:
        """Ask the session to end; a connection that has none yet ends at once."""
        if self._state is _State.OPEN and self.session is not None:
            self._call(self.session.shut_down)
        elif self._state is _State.HANDSHAKE:
            self.abort()

    # --- TLS ----------------------------------------------------------------------------------------------

    def _begin_handshake(self, context: ssl.SSLContext) -> None:
        self._state = _State.HANDSHAKE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._limit = self._clock.monotonic() + self._handshake_seconds

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> None:
        """Take ciphertext: drive the handshake, then hand the session all plaintext of it in one piece."""
        incoming = self._incoming
        assert incoming is not None
        plain: list[bytes] = []
        ended = False
        view = memoryview(data)
        try:
            for start in range(0, len(data), READ_SLICE):
                incoming.write(view[start : start + READ_SLICE])
                if self._state is _State.HANDSHAKE and not self._shake_hands(tls):
                    continue
                if self._state is not _State.OPEN:      # the session closed when it heard of the handshake
                    return
                ended = _read_all(tls, incoming, plain)
                if ended:
                    break
        except ssl.SSLError as error:
            self._fail_tls(error)
            return
        self._flush()                                   # alerts, key updates
        if plain:
            whole = b"".join(plain) if len(plain) > 1 else plain[0]
            if self._paused or self._held:
                self._hold(whole)
            else:
                self._call(self._received, whole)
        if ended and self._state is _State.OPEN:
            self._end_of_input()

    def _shake_hands(self, tls: ssl.SSLObject) -> bool:
        """One step; True when the handshake is done and the session has been told."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        self._flush()
        self._state = _State.OPEN
        self._limit = None
        info = self._tls_info = _describe(tls)
        if self.session is None:
            self._open()
        else:
            self._call(self.session.secured, info)
        queued, self._queued = self._queued, []
        for data in queued:
            self.write(data)
        return True

    def _encrypt(self, tls: ssl.SSLObject, data: bytes) -> None:
        outgoing = self._outgoing
        assert outgoing is not None
        try:
            if len(data) <= WRITE_SLICE:
                tls.write(data)
                self._transport.write(outgoing.read())
                return
            view = memoryview(data)
            for start in range(0, len(data), WRITE_SLICE):
                # The object may be gone: a transport that is lost tells so from within its write.
                tls.write(view[start : start + WRITE_SLICE])
                self._transport.write(outgoing.read())
        except ssl.SSLError as error:
            self._fail_tls(error)

    def _flush(self) -> None:
        if self._outgoing is not None and self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    def _fail_tls(self, error: ssl.SSLError) -> None:
        """The peer broke TLS (or never spoke it): say OpenSSL's alert, end."""
        log.debug("TLS with %s failed: %s", self._peer.address, error)
        self._flush()
        self._finish_close()

    # --- ending -------------------------------------------------------------------------------------------

    def _begin_close(self) -> None:
        if self._tls is not None:
            # WantRead: our close_notify is out, the peer's not in yet. Any other error: the peer is past it.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        self._finish_close()

    def _finish_close(self) -> None:
        """Send FIN after what is queued and read on until the peer ends too: a close with unread input
        would be a reset, and the last reply would be lost with it."""
        if self._state is _State.LOST:
            return
        self._state = _State.CLOSING
        transport = self._transport
        self._deadline = None
        self._held.clear()
        if not transport.is_closing():
            if self._peer_done:
                transport.close()
            else:
                if self._paused:
                    self._paused = False
                    transport.resume_reading()
                transport.write_eof()
        self._unsent = transport.get_write_buffer_size()
        self._limit = self._clock.monotonic() + (FLUSH_SECONDS if self._unsent else CLOSE_SECONDS)

    def _press_close(self, now: float) -> None:
        """The time for closing is over: who still takes what is queued gets more of it, all others none."""
        queued = self._transport.get_write_buffer_size()
        if queued < self._unsent:
            self._unsent = queued
            self._limit = now + (FLUSH_SECONDS if queued else CLOSE_SECONDS)
        else:
            self.abort()

    # --- the session --------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._state = _State.OPEN
        try:
            session = self._make_session()
        except Exception:
            log.exception("A session could not be made")
            self._begin_close()
            return
        self.session = session
        self._received = session.received
        self._call(session.opened, self)

    def _hold(self, data: bytes) -> None:
        """Keep what came although the session has paused: uvloop reads on after connection_made whatever
        was paused there, and one read of the transport holds many TLS records. Never more than a read's
        worth."""
        self._held.append(data)
        if self._paused:
            self._transport.pause_reading()

    def _give_held(self) -> None:
        if self._held and not self._paused and self._state is _State.OPEN:
            data = b"".join(self._held)
            self._held.clear()
            self._call(self._received, data)
        if self._end_waits and not (self._held or self._paused):
            self._end_waits = False
            if self._state is _State.OPEN and self.session is not None:
                self._call(self.session.peer_closed)

    def _end_of_input(self) -> None:
        if self._peer_done:
            return
        self._peer_done = True
        if self._held or self._paused:          # told after what came before
            self._end_waits = True
        elif self.session is not None:
            self._call(self.session.peer_closed)

    def _call(self, callback: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
        try:
            callback(*arguments, **named)
        except Exception:
            log.exception("A session failed")
            self._crash()

    def _crash(self) -> None:
        """A bug in a session, already logged: a temporary reply if the session knows one; then the end."""
        last_words = getattr(self.session, "crashed", None)
        if last_words is not None:
            try:
                last_words()
            except Exception:
                log.exception("A session failed again while it was ended")
        if self._state is _State.OPEN:
            self._begin_close()
        elif self._state is _State.HANDSHAKE:
            self.abort()


def _drop(_data: bytes) -> None:
    """What a connection without a session does with input."""


def _read_all(tls: ssl.SSLObject, incoming: ssl.MemoryBIO, plain: list[bytes]) -> bool:
    """Append all plaintext that is there; True when the peer said close_notify."""
    while True:
        try:
            data = tls.read(READ_SLICE)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            return True
        if not data:
            return True
        plain.append(data)
        if not incoming.pending and not tls.pending():
            return False            # spares the exception


def _describe(tls: ssl.SSLObject) -> TlsInfo:
    name, _, bits = tls.cipher() or ("", "", 0)
    return TlsInfo(tls.version() or "", name, bits, getattr(tls, "sni", None))


def _get_peer(transport: asyncio.BaseTransport) -> Peer | None:
    """Both ends, or None when the connection is gone already."""
    remote, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not remote or not local:
        return None
    return Peer(_parse(remote[0]), remote[1], _parse(local[0]), local[1])


def _parse(text: str) -> Address:
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address

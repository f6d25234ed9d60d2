"""A POP3 session: answers the engine's commands with what the store and the sign-in say.

Owns the order of things on one connection: greeting, sign-in, the locked maildrop, replies joined into few
writes, long messages pulled as the client takes them, removal at QUIT and the end. Runs as callbacks; only
a sign-in is a task.

Invariants: the maildrop's lock is free before QUIT's +OK goes out, and as soon as the connection or its
end is noticed; nothing is removed but by QUIT, and QUIT says +OK only when the removal is durable; no
statement or transaction of the store is open between two callbacks. RFC 1939, 2449, 2595, 3206, 5034.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from postoffice.base.streams import TlsInfo, Wire
from postoffice.policy.api import SignedIn
from postoffice.pop3.answers import format_capabilities, format_greeting, format_listing, format_summary
from postoffice.pop3.auth import MECHANISMS
from postoffice.pop3.authorization import SERVICE, TROUBLE, Authorization
from postoffice.pop3.maildrop import Maildrop
from postoffice.pop3.outgoing import Outgoing
from postoffice.pop3.protocol.commands import AuthResponse, Command, Event, Refused, State, Violation
from postoffice.pop3.protocol.replies import format_error, stuff
from postoffice.pop3.protocol.server import ServerEngine
from postoffice.pop3.services import Rules, Services
from postoffice.store.api import Pending
from postoffice.store.model import Item, StoreFailure
from postoffice.trace import event_types as events
from postoffice.trace.events import Event as TraceEvent
from postoffice.trace.events import EventType

log = logging.getLogger(__name__)

MAX_BAD_COMMANDS = 25
SIGN_IN_SECONDS = 120.0                 # to sign in, in all: who only knocks does not hold a place for long
WHOLE_BYTES = 64 * 1024                 # messages up to this size are read and sent in one piece
JOIN_BYTES = 64 * 1024                  # replies are joined up to about this size
BACKLOG_BYTES = 4 * 1024                # unanswered input above which reading stops
TURN_COMMANDS = 100                     # commands answered before others get the loop

_NO_MESSAGE = format_error("No such message")
_VANISHED = format_error("The message is gone")
_NOT_REMOVED = format_error("Messages not removed", "SYS/TEMP")
_OK = b"+OK\r\n"


class Pop3Session:
    """See `base.streams.Session`. `recheck` is called whenever accounts or access rules may have
    changed."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engine = ServerEngine()
        self._rules: Rules = services.rules()
        self._wire: Wire                # these two from `opened` on
        self._authorization: Authorization
        self._client = ""
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._busy = False              # a sign-in, a long message or the removal is under way
        self._full = False              # the client does not take what is written
        self._running = False
        self._paused = False
        self._ended = False
        self._peer_done = False
        self._stopping = False
        self._bad_commands = 0
        self._signed_in: SignedIn | None = None
        self._maildrop: Maildrop | None = None
        self._outgoing: Outgoing | None = None
        self._retrieved = 0
        self._removed = 0
        self._bytes = 0
        self._reason = "connection lost"

    # --- base.streams.Session -------------------------------------------------------------------------

    def opened(self, wire: Wire) -> None:
        self._wire = wire
        self._authorization = Authorization(self._services, self._engine, wire, self)
        peer = wire.peer
        self._client = str(peer.address)
        self._record(events.POP3_CONNECTED, self._client, peer.local_port)
        if not self._rules.admits(peer.address):
            self._end("not admitted", format_error("Access from this address is not allowed", "SYS/PERM"))
            return
        wire.set_deadline(min(SIGN_IN_SECONDS, self._rules.idle_seconds))
        wire.write(format_greeting(self._rules, self._services.version, self._services.clock.now()))

    def received(self, data: bytes) -> None:
        if self._ended:
            return
        self._engine.receive(data)
        self._run()

    def secured(self, info: TlsInfo) -> None:
        """RFC 2595 §4: all that was known before is forgotten; the client asks CAPA again."""
        self.go_on()

    def writable(self, ready: bool, /) -> None:
        self._full = not ready
        if ready and not self._running and not self._ended:
            self._pump()
            self._run()

    def peer_closed(self) -> None:
        """What came before is still answered: some clients send all commands and close their side."""
        self._peer_done = True
        self._run()

    def lost(self, error: Exception | None) -> None:
        self._ended = True
        self._engine.stop()
        self._authorization.end()
        if not self._is_removing():
            self._release()
        login = self._signed_in.login if self._signed_in is not None else ""
        self._record(events.POP3_CLOSED, self._client, login, self._retrieved, self._removed,
                     self._bytes, self._reason)

    def expired(self) -> None:
        """RFC 1939 §3: without a word, and nothing is removed."""
        self._end("idle")

    def shut_down(self) -> None:
        self._stopping = True
        if not self._busy and not self._ended:
            self._end("server stopped", format_error("The server is stopping", "SYS/TEMP"))

    def crashed(self) -> None:
        """A bug of ours: said as something temporary."""
        self._out.clear()
        self._end("internal error", None if self._outgoing is not None else TROUBLE)

    # --- the rights of the account --------------------------------------------------------------------

    def recheck(self) -> None:
        """End the session when its account lost the right to it."""
        if self._signed_in is None or self._ended or self._is_removing():
            return
        client = self._wire.peer.address
        if (self._services.rules().admits(client)
                and self._services.signin.is_current(self._signed_in, client, SERVICE)):
            return
        if self._outgoing is not None:
            self._reason = "right withdrawn"
            self._release()
            self._wire.abort()          # no place for words in the middle of a message
        else:
            self._end("right withdrawn", format_error("The account was changed, sign in again", "AUTH"))

    # --- the loop -------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Answer what can be answered now. Not re-entered: a write may tell `writable` from within."""
        if self._running:
            return
        self._running = True
        left = TURN_COMMANDS
        try:
            while not (self._busy or self._full or self._ended) and left:
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
        if self._ended or self._busy and self._is_removing():
            return
        if not (self._busy or self._full):
            if not left:
                asyncio.get_running_loop().call_soon(self._run)
            elif self._stopping:
                self.shut_down()
                return
            elif self._peer_done:
                self._end("closed by the client")
                return
        if self._signed_in is not None:
            self._wire.set_deadline(self._rules.idle_seconds)
        stuck = self._busy or self._full
        self._set_reading(on=left > 0 and (not stuck or self._engine.buffered <= BACKLOG_BYTES))

    def _handle(self, event: Event) -> None:
        if type(event) is Command:
            try:
                _HANDLERS[event.verb](self, event)
            except Exception:
                log.exception("POP3: %s failed", event.verb)
                self._fail()
        elif type(event) is AuthResponse:
            self._authorization.take_response(event.data)
        elif type(event) is Refused:
            self._authorization.reset()
            self.refuse(format_error(event.text))
        elif type(event) is Violation:
            self._record(events.POP3_VIOLATION, self._client, event.text)
            self._end("protocol error", format_error(event.text))

    def _fail(self) -> None:
        """An unexpected exception while a command was answered; what of its reply is out cannot be taken
        back."""
        if self._outgoing is not None:
            self._release()
            self._wire.abort()
        else:
            self._busy = False
            self.say(TROUBLE)

    def refuse(self, reply: bytes) -> None:
        """A line that should not have been sent."""
        self._bad_commands += 1
        if self._bad_commands > MAX_BAD_COMMANDS:
            self._record(events.POP3_VIOLATION, self._client, "too many bad commands")
            self._end("too many bad commands", format_error("Too many bad commands"))
        else:
            self.say(reply)

    def say(self, reply: bytes) -> None:
        self._out.append(reply)
        self._out_bytes += len(reply)

    def wait(self) -> None:
        self._busy = True

    def go_on(self) -> None:
        self._busy = False
        if not self._ended:
            self._run()

    def _flush(self) -> None:
        if self._out:
            data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
            self._out.clear()
            self._out_bytes = 0
            self._wire.write(data)

    def _set_reading(self, *, on: bool) -> None:
        """Stop reading only with a backlog: a connection that is not read is not seen to be lost."""
        if on and self._paused:
            self._paused = False
            self._wire.resume_reading()
        elif not on and not self._paused:
            self._paused = True
            self._wire.pause_reading()

    def _end(self, reason: str, last_words: bytes | None = None) -> None:
        """Say what is to be said, free the maildrop, close."""
        if self._ended:
            return
        self._ended = True
        self._reason = reason
        self._engine.stop()
        self._authorization.end()
        if last_words is not None:
            self.say(last_words)
        self._release()
        self._flush()
        self._wire.close()

    def _release(self) -> None:
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None
        if self._maildrop is not None and self._signed_in is not None:
            self._maildrop = None
            self._services.maildrops.release(self._signed_in.account.id)

    def _is_removing(self) -> bool:
        return self._busy and self._maildrop is not None and self._outgoing is None

    # --- before sign-in -------------------------------------------------------------------------------

    def _offers_stls(self) -> bool:
        return (self._wire.tls is None and self._services.rules().offer_stls
                and self._services.context() is not None)

    def _capa(self, command: Command) -> None:
        """RFC 2449 §5: what is there depends on TLS and on sign-in."""
        before = self._engine.state is State.AUTHORIZATION
        mechanisms = MECHANISMS if before and self._authorization.is_offered() else ()
        self.say(format_capabilities(self._rules, self._services.version, mechanisms=mechanisms,
                                     stls=before and self._offers_stls()))

    def _stls(self, command: Command) -> None:
        context = self._services.context()
        if context is None or not self._offers_stls():
            self.refuse(format_error("Not offered"))
            return
        self._engine.drop_input()
        self._authorization.reset()
        self.say(b"+OK Begin TLS\r\n")
        self._flush()
        self._paused = False
        self._busy = True               # until secured
        self._wire.start_tls(context)

    def signed_in(self, signed_in: SignedIn, maildrop: Maildrop) -> None:
        self._signed_in = signed_in
        self._maildrop = maildrop
        self._rules = self._services.rules()
        self._engine.enter_transaction()
        self.say(format_summary(maildrop))

    # --- the maildrop ---------------------------------------------------------------------------------

    def _get_maildrop(self) -> Maildrop:
        assert self._maildrop is not None, "the engine lets nobody here before sign-in"
        return self._maildrop

    def _stat(self, command: Command) -> None:
        maildrop = self._get_maildrop()
        self.say(b"+OK %d %d\r\n" % (maildrop.count, maildrop.size))

    def _list(self, command: Command) -> None:
        self._list_by(command, lambda item: item.size)

    def _uidl(self, command: Command) -> None:
        self._list_by(command, lambda item: item.uidl)

    def _list_by(self, command: Command, show: Callable[[Item], str | int]) -> None:
        maildrop = self._get_maildrop()
        if not command.number:
            self.say(format_listing(maildrop, show))
            return
        item = maildrop.find(command.number)
        self.say(f"+OK {command.number} {show(item)}\r\n".encode() if item is not None else _NO_MESSAGE)

    def _retr(self, command: Command) -> None:
        maildrop = self._get_maildrop()
        item = maildrop.find(command.number)
        reader = maildrop.open(item) if item is not None else None
        if item is None or reader is None:
            self.say(_NO_MESSAGE if item is None else _VANISHED)
            return
        size = reader.size
        if size > WHOLE_BYTES:
            self.say(b"+OK %d octets\r\n" % size)
            self._send(Outgoing(reader))
        else:
            try:
                data = reader.read(0, size)
            finally:
                reader.close()
            if len(data) != size:
                raise OSError(f"message {item.message_id} has {len(data)} of {size} bytes")
            self.say(b"+OK %d octets\r\n%b" % (size, stuff(data)))
        self._retrieved += 1
        self._bytes += size
        self._record_message(events.POP3_RETRIEVED, item)

    def _top(self, command: Command) -> None:
        maildrop = self._get_maildrop()
        item = maildrop.find(command.number)
        reader = maildrop.open(item) if item is not None else None
        if reader is None:
            self.say(_NO_MESSAGE if item is None else _VANISHED)
            return
        self.say(_OK)
        self._send(Outgoing(reader, command.count))

    def _send(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._busy = True
        self._pump()

    def _pump(self) -> None:
        """Give the client more of its message as long as it takes it."""
        outgoing = self._outgoing
        while outgoing is not None and not self._full:
            try:
                piece = outgoing.next_piece()
            except OSError:
                log.exception("POP3: a message could not be read to its end")
                self._reason = "message unreadable"
                self._release()
                self._wire.abort()
                return
            if not piece:
                outgoing.close()
                self._outgoing = outgoing = None
                self._busy = False
            else:
                self.say(piece)
                if self._out_bytes > JOIN_BYTES:
                    self._flush()
        if self._signed_in is not None and not self._ended:
            self._wire.set_deadline(self._rules.idle_seconds)

    def _dele(self, command: Command) -> None:
        maildrop = self._get_maildrop()
        item = maildrop.find(command.number)
        if item is None:
            self.say(_NO_MESSAGE)
            return
        maildrop.delete(command.number, item)
        self.say(_OK)

    def _noop(self, command: Command) -> None:
        self.say(_OK)

    def _rset(self, command: Command) -> None:
        maildrop = self._get_maildrop()
        maildrop.reset()
        self.say(format_summary(maildrop))

    # --- the end --------------------------------------------------------------------------------------

    def _quit(self, command: Command) -> None:
        maildrop = self._maildrop
        pending = maildrop.commit() if maildrop is not None else None
        if maildrop is None or pending is None:
            self._end("quit", b"+OK Bye\r\n")
            return
        self._busy = True
        self._wire.set_deadline(None)   # the answer depends on us now
        pending.add_done_callback(partial(self._removed_all, maildrop.get_deleted()))

    def _removed_all(self, deleted: list[Item], pending: Pending) -> None:
        """The removal is durable, or has failed and nothing is removed. The lock falls before the
        answer."""
        self._busy = False
        try:
            pending.result()
        except StoreFailure as failure:
            log.error("POP3: messages could not be removed: %s", failure)
            self._close_after_removal("messages not removed", _NOT_REMOVED)
            return
        except Exception:
            log.exception("POP3: messages could not be removed")
            self._close_after_removal("messages not removed", _NOT_REMOVED)
            return
        self._removed = len(deleted)
        for item in deleted:
            self._record_message(events.POP3_DELETED, item)
        self._close_after_removal("quit", b"+OK Bye\r\n")

    def _close_after_removal(self, reason: str, reply: bytes) -> None:
        if self._ended:                 # the client did not wait
            self._release()
        else:
            self._end(reason, reply)

    # --- trace ----------------------------------------------------------------------------------------

    def _record(self, row: EventType, *values: object) -> None:
        client = self._client
        self._services.trace.record(TraceEvent(row, self._services.clock.now(), values, client=client))

    def _record_message(self, row: EventType, item: Item) -> None:
        assert self._signed_in is not None
        client = self._client
        self._services.trace.record(TraceEvent(
            row, self._services.clock.now(), (self._signed_in.login, client, item.uid),
            item.message_id, client))


_HANDLERS: dict[str, Callable[[Pop3Session, Command], None]] = {
    "USER": lambda session, command: session._authorization.take_user(command),
    "PASS": lambda session, command: session._authorization.take_pass(command),
    "AUTH": lambda session, command: session._authorization.take_auth(command),
    "STLS": Pop3Session._stls,
    "CAPA": Pop3Session._capa,
    "QUIT": Pop3Session._quit,
    "STAT": Pop3Session._stat,
    "LIST": Pop3Session._list,
    "RETR": Pop3Session._retr,
    "DELE": Pop3Session._dele,
    "NOOP": Pop3Session._noop,
    "RSET": Pop3Session._rset,
    "TOP": Pop3Session._top,
    "UIDL": Pop3Session._uidl,
}

"""Dispatch: the parent of the server's processes. Small and synchronous: one selector, no threads, no event loop.

Owns every listening socket, the children, the control socket and the signals (TERM and INT stop, HUP reopens logs and
re-reads certificates). Started as root it becomes the spool's owner first (`privileges`). What goes on in the children
is theirs; what is in the databases it only reads.

Invariants: a child ends when Dispatch ends, however that happens; a port is opened before the one it replaces is
closed; nothing is left running when the start fails.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postoffice import __version__
from postoffice.base.clock import Clock, SystemClock
from postoffice.base.errors import InputError, PostOfficeError
from postoffice.base.locks import LockFile, try_hold
from postoffice.catalog import build_registry
from postoffice.config.keys import Key
from postoffice.config.registry import Snapshot
from postoffice.config.saved import SavedSettings
from postoffice.dispatch import programlog
from postoffice.dispatch.channel import Message
from postoffice.dispatch.children import Child, Role, State, describe_exit
from postoffice.dispatch.control import NAME as CONTROL_NAME
from postoffice.dispatch.control import Answer, Control
from postoffice.dispatch.ports import Ports
from postoffice.dispatch.programlog import ProgramLog
from postoffice.dispatch.report import build_status
from postoffice.dispatch.sockets import Listener
from postoffice.operations.logs import get_log_directory
from postoffice.operations.office import DATABASE
from postoffice.settings import dispatch as dispatch_keys
from postoffice.trace import event_types
from postoffice.trace.events import Event, EventType
from postoffice.trace.journal import Journal

START_SECONDS = 25.0                    # until every child must be ready; the command waits 30
OBEY_SECONDS = 10.0
STOP_SECONDS = 27.0                     # graceful; then what is left is killed
STATUS_SECONDS = 1.0
RETRY_SECONDS = 30.0                    # a port that could not be opened is tried again
_TICK_SECONDS = 0.5
LOCK_NAME = "dispatch.lock"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """``workers``: None, what the settings say. ``progress(line)``: what a person at a terminal likes to read."""

    spool: Path
    workers: int | None = None
    foreground: bool = False
    progress: Callable[[str], None] = lambda line: None


@dataclass
class _Pending:
    """An answer that waits for the children. ``outcome`` gives it once there is one."""

    answer: Answer
    outcome: Callable[[], dict[str, Any] | None]
    deadline: float
    late: Callable[[], dict[str, Any]]


class Supervisor:
    """One server. `run` returns when it has stopped."""

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        self._options = options
        self._spool = options.spool
        self._clock = clock or SystemClock()
        self._lock = _hold_instance(self._spool)
        self._unclean = (self._spool / CONTROL_NAME).exists()
        self._settings = SavedSettings(self._spool / DATABASE, build_registry())
        self._journal = Journal(self._spool / "trace", self._settings.current, self._clock.now, slot=255)
        self._selector = selectors.DefaultSelector()
        self._ports = Ports(self._clock, self._port_told)
        self._children: list[Child] = []
        self._pending: list[_Pending] = []
        self._signals: list[int] = []
        self._control: Control | None = None
        self._started_seconds = self._clock.now()
        self._ready = False
        self._stopping = ""                     # why
        self._stop_until = 0.0
        self._restarting = False
        self._last_error = ""
        self._retry_at = 0.0
        self.program_log: ProgramLog | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The present settings."""
        return self._settings.current()

    # --- life ---------------------------------------------------------------------------------------------

    def run(self, ready: Callable[[], None]) -> None:
        """Start, call ``ready`` once every port listens and every child serves, go on until told to stop.

        Raises PostOfficeError when the start fails; then nothing is left running."""
        self._catch_signals()
        try:
            self._open_ports_at_start()
            self._control = Control(self._spool, self._selector, self._handle)
            self._children = self._plan_children()
            for child in self._children:
                self._start_child(child)
            self._wait_ready()
            self._event(event_types.STARTED, __version__, self._count_workers())
            self._ready = True
            ready()
            notify_service_manager("READY=1")
            while not self._has_ended():
                self._turn()
        finally:
            self._clean_up()

    def _open_ports_at_start(self) -> None:
        """Open all or raise. After a kill -9 the children of the dead server may hold the ports for a moment."""
        until = self._clock.monotonic() + (3.0 if self._unclean else 0.0)
        while True:
            self._ports.apply(self._settings.current())
            if not self._ports.failures:
                break
            if self._clock.monotonic() >= until:
                raise PostOfficeError(next(iter(self._ports.failures.values())))
            self._selector.select(0.05)
        if not self._ports.open:
            self._options.progress("No port is set: the server listens nowhere.")

    def _wait_ready(self) -> None:
        until = self._clock.monotonic() + START_SECONDS
        while not all(child.serving for child in self._children):
            self._turn()
            for child in self._children:
                if child.state is State.HELD_BACK:
                    raise PostOfficeError(child.failure or f"{child.name} could not start: {child.last_error}.",
                                          "" if child.failure else f"The reason stands in {self._get_error_log()}")
            if self._stopping:
                raise PostOfficeError(f"The start was interrupted ({self._stopping}).")
            if self._clock.monotonic() >= until:
                late = next(child for child in self._children if not child.serving)
                raise PostOfficeError(f"{late.name} (pid {late.pid}) was not ready within {START_SECONDS:.0f} seconds.")

    def _get_error_log(self) -> str:
        if self._options.foreground:
            return "the lines above."
        return str(get_log_directory(self._spool, self.snapshot) / programlog.NAME)

    def _turn(self) -> None:
        """Wait for something to happen, at most a tick, and see to it."""
        for key, mask in self._selector.select(self._get_timeout()):
            key.data(mask)
        while self._signals:
            self._handle_signal(self._signals.pop(0))
        now = self._clock.monotonic()
        for child in self._children:
            if child.state is State.HELD_BACK and now >= child.start_again and self._ready and not self._stopping:
                self._start_child(child)
        if self._ready and not self._stopping and self._retry_at and now >= self._retry_at:
            self._apply_ports()
        self._ports.expire()
        self._settle_pending()
        if self._stopping and now >= self._stop_until:
            self._kill_children()
        self._journal.flush()

    def _get_timeout(self) -> float:
        waits = [child.start_again for child in self._children if child.state is State.HELD_BACK]
        waits += [pending.deadline for pending in self._pending]
        return max(0.0, min([_TICK_SECONDS, *(wait - self._clock.monotonic() for wait in waits)]))

    def _has_ended(self) -> bool:
        return bool(self._stopping) and all(child.process is None for child in self._children)

    def _clean_up(self) -> None:
        self._kill_children()
        for child in self._children:
            if child.process is not None:
                child.process.wait()
                self._forget_channel(child)
                child.ended(self._clock.monotonic(), stopping=True)
        self._ports.close_all()
        if self._ready:
            self._event(event_types.STOPPED, self._stopping or "an error in Dispatch")
        for pending in self._pending:
            pending.answer(pending.outcome() or pending.late())
        self._pending.clear()
        self._journal.close()
        if self._control is not None:
            self._control.close()
        signal.set_wakeup_fd(-1)
        for end in self._wakeup:
            end.close()
        self._selector.close()
        self._settings.close()
        self._lock.close()

    # --- signals ------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        self._wakeup = reading, writing
        self._selector.register(reading, selectors.EVENT_READ, lambda _mask: reading.recv(4096))

    def _handle_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    self._child_ended(child)
        elif number == signal.SIGHUP:
            self._reload()
        else:
            self._begin_stop(f"signal {signal.Signals(number).name}")

    def _reload(self) -> None:
        self._journal.reopen()
        for child in self._children:
            self._tell(child, {"do": "reload"})

    # --- children -----------------------------------------------------------------------------------------

    def _plan_children(self) -> list[Child]:
        workers = self._options.workers
        if workers is None:
            workers = self._settings.current()[dispatch_keys.WORKERS]
        if workers == 0:
            return [Child("Serve", Role.ALL, 0)]
        serving = [Child(f"Serve {number}", Role.SERVE, number - 1) for number in range(1, workers + 1)]
        return [*serving, Child("Deliver", Role.DELIVER, workers)]

    def _count_workers(self) -> int:
        return sum(child.role is Role.SERVE for child in self._children)

    def _start_child(self, child: Child) -> None:
        try:
            child.start(self._spool, self._clock.now(), self._clock.monotonic(),
                        None if self._options.foreground else 2)
        except OSError as error:
            child.last_error = f"{error.strerror}"
            child.ended(self._clock.monotonic(), stopping=False)
            return
        assert child.channel is not None
        self._selector.register(child.channel, selectors.EVENT_READ, lambda _mask: self._hear(child))

    def _child_ended(self, child: Child) -> None:
        assert child.process is not None
        code, pid = child.process.wait(), child.pid
        if child.channel is not None:
            self._hear(child)                           # its last words
        self._forget_channel(child)
        expected = bool(self._stopping) or self._restarting or child.state is State.STOPPING
        waiting = set(child.closing)
        delay = child.ended(self._clock.monotonic(), stopping=expected)
        for number in waiting:
            self._check_closed(number)
        if expected:
            return
        status = describe_exit(code)
        child.last_error = child.failure or child.last_error or f"ended with {status}"
        self._last_error = f"{child.name} (pid {pid}) ended with {status}"
        if self._ready:
            self._event(event_types.PROCESS_DIED, child.name, pid, status, f"{delay:g}")
            log.error("%s (pid %d) ended with %s; started again in %g s", child.name, pid, status, delay)

    def _forget_channel(self, child: Child) -> None:
        if child.channel is not None and child.channel.fileno() in self._selector.get_map():
            self._selector.unregister(child.channel)

    def _kill_children(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                if self._ready and child.state is not State.STARTING:
                    log.error("%s (pid %d) has not ended in time and is killed", child.name, child.pid)
                child.process.kill()

    def _tell(self, child: Child, message: Message, listeners: list[Listener] | None = None) -> None:
        if child.channel is None or child.state is State.STARTING:
            return
        if not child.channel.send(message, [listener.socket for listener in listeners or ()]):
            child.last_error = "does not read what Dispatch says"

    def _hear(self, child: Child) -> None:
        while child.channel is not None:
            try:
                message, _descriptors = child.channel.receive()
            except BlockingIOError:
                return
            if message is None:
                self._forget_channel(child)             # SIGCHLD tells the rest
                return
            self._heard(child, message)

    def _heard(self, child: Child, message: Message) -> None:
        match message["say"]:
            case "ready":
                child.state = State.RUNNING
                self._send_listeners(child, list(self._ports.open.values()) if child.serves else [])
                child.obeyed = (message["settings"], message["directory"])
                self._options.progress(f"{child.name} is ready (pid {child.pid}).")
            case "serving":
                child.serving = True
            case "failed":
                child.failure = message["sentence"]
            case "obeyed":
                child.obeyed = (message["settings"], message["directory"])
            case "closed":
                child.closing.discard(message["number"])
                self._check_closed(message["number"])
            case "report":
                child.report = message
                child.last_error = message.get("last_error") or child.last_error

    # --- ports --------------------------------------------------------------------------------------------

    def _apply_ports(self) -> None:
        """Bring the ports to what the settings say and tell the children."""
        snapshot = self._settings.current()
        try:
            changes = self._ports.apply(snapshot)
        except PostOfficeError as error:
            self._ports.failures["Socket"] = str(error)
            return
        if self.program_log is not None:
            self.program_log.move(get_log_directory(self._spool, snapshot))
        self._retry_at = self._clock.monotonic() + RETRY_SECONDS if self._ports.failures else 0.0
        serving = [child for child in self._children if child.serves and child.state is State.RUNNING]
        for child in serving:
            self._send_listeners(child, changes.opened)
        for listener in changes.closing:
            for child in serving:
                child.closing.add(listener.number)
                self._tell(child, {"do": "close", "number": listener.number})
            self._check_closed(listener.number)

    def _send_listeners(self, child: Child, listeners: list[Listener]) -> None:
        for start in range(0, max(1, len(listeners)), 32):
            part = listeners[start : start + 32]
            self._tell(child, {"do": "open", "listeners": [
                {"number": one.number, "service": one.service.name} for one in part]}, part)

    def _check_closed(self, number: int) -> None:
        if any(number in child.closing for child in self._children):
            return
        if self._ports.finish_closing(number):
            self._apply_ports()

    def _port_told(self, listener: Listener, reason: str) -> None:
        endpoint, key = listener.endpoint, listener.service.key.path
        if reason:
            self._event(event_types.NOT_LISTENING, key, endpoint.address, endpoint.port, reason)
        else:
            self._event(event_types.LISTENING, key, endpoint.address, endpoint.port)
        self._options.progress(f"{listener.service.module}: {'closed' if reason else 'listening on'} {endpoint}"
                               f" ({listener.service.name})")

    # --- requests -----------------------------------------------------------------------------------------

    def _handle(self, request: dict[str, Any], answer: Answer) -> None:
        try:
            match request.get("request"):
                case "status":
                    self._request_status(answer)
                case "applied":
                    self._request_applied(request, answer)
                case "check-ports":
                    self._check_ports(str(request["key"]), str(request["value"]))
                    answer({"ok": True})
                case "reload":
                    self._reload()
                    answer({"ok": True})
                case "stop":
                    self._begin_stop("postoffice stop")
                    self._wait(answer, lambda: {"ok": True} if self._has_ended() else None, STOP_SECONDS + 5)
                case "restart":
                    self._begin_restart()
                    self._wait(answer, lambda: None if self._restarting or not self._all_running() else {"ok": True},
                               STOP_SECONDS + START_SECONDS)
                case other:
                    answer({"error": f"There is no request {other!r}."})
        except PostOfficeError as error:
            answer({"error": str(error)})
        except (KeyError, TypeError, ValueError) as error:
            answer({"error": f"The request is not understood: {error!r}."})

    def _check_ports(self, path: str, value: str) -> None:
        registry = self._settings.registry
        key = registry.get(path)
        self._ports.check(self._settings.current(), key.path, _parse(key, value))

    def _request_status(self, answer: Answer) -> None:
        asked = [child for child in self._children if child.state is State.RUNNING]
        for child in asked:
            child.report = {}
            self._tell(child, {"do": "report"})
        self._wait(answer, lambda: self._build_status() if all(child.report for child in asked) else None,
                   STATUS_SECONDS, self._build_status)

    def _build_status(self) -> dict[str, Any]:
        return build_status(self._children, self._ports, self._started_seconds,
                            stopping=bool(self._stopping), last_error=self._last_error)

    def _request_applied(self, request: dict[str, Any], answer: Answer) -> None:
        wanted = int(request.get("settings", 0)), int(request.get("directory", 0))
        for change in self._settings.take_changes():
            self._event(event_types.CHANGED, change.path, change.before or "", change.after or "", change.who)
        self._journal.flush()
        self._apply_ports()
        for child in self._children:
            if child.notice is not None:
                child.notice.ring()

        def outcome() -> dict[str, Any] | None:
            if self._ports.failures:
                return {"error": next(iter(self._ports.failures.values()))}
            if self._ports.settled and not self._list_disobedient(wanted):
                return {"ok": True}
            return None

        def late() -> dict[str, Any]:
            names = ", ".join(f"{child.name} (pid {child.pid})" for child in self._list_disobedient(wanted))
            return {"error": f"Saved, but {names or 'an old port'} has not followed within {OBEY_SECONDS:.0f} seconds. "
                             "See: postoffice status"}

        self._wait(answer, outcome, OBEY_SECONDS, late)

    def _list_disobedient(self, wanted: tuple[int, int]) -> list[Child]:
        """Living children that work with older settings or accounts. One that starts reads them anew."""
        return [child for child in self._children if child.state in (State.STARTING, State.RUNNING)
                and (child.obeyed[0] < wanted[0] or child.obeyed[1] < wanted[1])]

    def _wait(self, answer: Answer, outcome: Callable[[], dict[str, Any] | None], seconds: float,
              late: Callable[[], dict[str, Any]] | None = None) -> None:
        self._pending.append(_Pending(answer, outcome, self._clock.monotonic() + seconds,
                                      late or (lambda: {"error": "That took too long."})))
        self._settle_pending()

    def _settle_pending(self) -> None:
        now = self._clock.monotonic()
        for pending in list(self._pending):
            found = pending.outcome() or (pending.late() if now >= pending.deadline else None)
            if found is not None:
                self._pending.remove(pending)
                pending.answer(found)

    # --- stop and restart ---------------------------------------------------------------------------------

    def _begin_stop(self, why: str) -> None:
        if self._stopping:
            return
        self._stopping = why
        self._stop_until = self._clock.monotonic() + STOP_SECONDS
        notify_service_manager("STOPPING=1")
        self._options.progress(f"Stopping ({why}).")
        self._stop_children()
        for listener in self._ports.close_for_good():
            for child in self._children:
                if child.process is not None and child.serves:
                    child.closing.add(listener.number)
            self._check_closed(listener.number)

    def _stop_children(self) -> None:
        for child in self._children:
            if child.state is State.STARTING and child.process is not None:
                child.process.kill()                    # it has done nothing yet
            self._tell(child, {"do": "stop", "seconds": STOP_SECONDS - 3})
            child.state = State.STOPPING

    def _begin_restart(self) -> None:
        """All children end gracefully and start anew; the ports stay open meanwhile and clients wait in the queue."""
        if self._stopping or self._restarting:
            raise PostOfficeError("The server is stopping or restarting already.")
        self._restarting = True
        self._stop_children()
        self._pending.append(_Pending(lambda _answer: None, self._go_on_restart,
                                      self._clock.monotonic() + STOP_SECONDS, self._force_restart))

    def _go_on_restart(self) -> dict[str, Any] | None:
        if any(child.process is not None for child in self._children):
            return None
        self._restarting = False
        self._children = self._plan_children()
        for child in self._children:
            self._start_child(child)
        return {"ok": True}

    def _force_restart(self) -> dict[str, Any]:
        self._kill_children()
        for child in self._children:
            if child.process is not None:
                self._child_ended(child)
        return self._go_on_restart() or {"ok": True}

    def _all_running(self) -> bool:
        return all(child.serving for child in self._children)

    def _event(self, row: EventType, *values: object) -> None:
        self._journal.record(Event(row, self._clock.now(), values))


def _parse(key: Key[Any], text: str) -> object:
    try:
        return key.parse(text)
    except ValueError as error:
        raise InputError(key.path, f"{text!r}: {error}.") from None


def _hold_instance(spool: Path) -> LockFile:
    lock = try_hold(spool / LOCK_NAME)
    if lock is None:
        raise PostOfficeError(f"The server is already running for {spool}.",
                              "Stop it with: postoffice stop (or restart it with: postoffice restart)")
    return lock


def notify_service_manager(state: str) -> None:
    """sd_notify(3): tell systemd, if it listens ($NOTIFY_SOCKET)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
        except OSError as error:
            log.warning("The service manager could not be told %s: %s", state, error)

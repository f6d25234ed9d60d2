"""The ports as they are and as they should be: the difference is opened first, then closed.

Owns the open listeners, the ones whose end the children have yet to confirm, and the reservations. Where a new socket
overlaps one of ours that is to go (``2525`` becomes ``127.0.0.1:2525``) the kernel refuses both at once: then, and
only then, the old one goes first. A key whose new port cannot be opened keeps its old ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from postoffice.base.clock import Clock
from postoffice.config.registry import Snapshot
from postoffice.dispatch.sockets import (
    Endpoint,
    Listener,
    PortError,
    Reservations,
    Service,
    build_plan,
    open_listener,
    say_goodbye,
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What `Ports.apply` did: ``opened`` for the children to serve, then ``closing`` for them to close."""

    opened: list[Listener] = field(default_factory=list)
    closing: list[Listener] = field(default_factory=list)


class Ports:
    """All listening sockets of the server. ``told(listener, reason)``: opened ("") or closed, for the log."""

    def __init__(self, clock: Clock, told: Callable[[Listener, str], None]) -> None:
        self._clock = clock
        self._told = told
        self._numbers = 0
        self._reserved = Reservations()
        self.open: dict[Endpoint, Listener] = {}
        self.closing: dict[int, Listener] = {}
        self.failures: dict[str, str] = {}              # key path -> why its ports are not as set
        self._again = False                             # apply anew when the closing ones are gone

    @property
    def settled(self) -> bool:
        """Nothing is under way."""
        return not self.closing and not self._again

    def apply(self, snapshot: Snapshot) -> Changes:
        """Make the ports what the settings say. Raises PostOfficeError when the settings contradict themselves."""
        plan = build_plan(snapshot)
        self.failures = {}
        self._again = False
        opened = []
        for endpoint, service in plan.items():
            current = self.open.get(endpoint)
            if current is not None and current.service is service:
                continue
            listener = self._try_open(endpoint, service, plan)
            if listener is not None:
                opened.append(listener)
        closing = [listener for endpoint, listener in self.open.items()
                   if plan.get(endpoint) is not listener.service and listener not in opened
                   and listener.service.key.path not in self.failures]
        for listener in closing:
            del self.open[listener.endpoint]
            self.closing[listener.number] = listener
        for listener in opened:
            self.open[listener.endpoint] = listener
        return Changes(opened, closing)

    def finish_closing(self, number: int) -> bool:
        """The last child has closed it: serve what is queued with a goodbye and let it go. True when `apply` should
        be called again, for ports that waited for this one."""
        listener = self.closing.pop(number, None)
        if listener is None:
            return False
        say_goodbye(listener.socket, listener.service.goodbye)
        self._told(listener, "closed")
        return self._again and not self.closing

    def check(self, snapshot: Snapshot, path: str, value: object) -> None:
        """Whether ports key ``path`` could have this value; what it adds is opened and kept for the change.

        Raises PortError, or PostOfficeError when two services want one port."""
        plan = build_plan(snapshot, {path: value})
        for endpoint, service in plan.items():
            if endpoint in self.open or self._reserved.has(endpoint):
                continue
            try:
                listening = open_listener(endpoint, service)
            except PortError as error:
                if error.busy and self._find_overlap(endpoint, plan):
                    continue
                raise
            if listening is not None:
                self._reserved.keep(endpoint, listening, self._clock.monotonic())

    def expire(self) -> None:
        """Let go of reservations nobody came for. Call every second."""
        self._reserved.expire(self._clock.monotonic())

    def close_for_good(self) -> list[Listener]:
        """The server stops: all are to close, as soon as the children have closed theirs."""
        closing = list(self.open.values())
        self.open = {}
        self.closing |= {listener.number: listener for listener in closing}
        return closing

    def close_all(self) -> None:
        """The end of the server: no goodbye is left unsaid."""
        for listener in (*self.open.values(), *self.closing.values()):
            say_goodbye(listener.socket, listener.service.goodbye)
        self.open, self.closing = {}, {}
        self._reserved.expire(float("inf"))

    def _try_open(self, endpoint: Endpoint, service: Service, plan: dict[Endpoint, Service]) -> Listener | None:
        current = self.open.get(endpoint)
        if current is not None:                         # another service had it: the same port changes hands
            self._again = True
            return None
        listening = self._reserved.take(endpoint)
        try:
            listening = listening or open_listener(endpoint, service)
        except PortError as error:
            if error.busy and (self.closing or self._find_overlap(endpoint, plan)):
                self._again = True
            else:
                self.failures[service.key.path] = str(error)
            return None
        if listening is None:
            return None
        self._numbers += 1
        listener = Listener(self._numbers, endpoint, service, listening, self._clock.now())
        self._told(listener, "")
        return listener

    def _find_overlap(self, endpoint: Endpoint, plan: dict[Endpoint, Service]) -> Listener | None:
        """One of ours that is to go and stands in the way of ``endpoint``."""
        for other, listener in self.open.items():
            if other.overlaps(endpoint) and plan.get(other) is not listener.service:
                return listener
        return None

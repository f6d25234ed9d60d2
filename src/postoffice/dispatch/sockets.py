"""The listening sockets: which the settings ask for, how they are opened, how the last connections of one are served.

Owns: the plan (settings to endpoints), binding with an error that names key and address, reservation of ports that
somebody is about to set, and the end of a socket: what the kernel still has queued when the last worker has closed is
accepted here and told to come back (RFC 5321 §3.8). Leaves to `supervisor`: when, and which child has which socket.

An address "all" is two sockets, IPv4 and IPv6 apart, so that each can be refused with its own name.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postoffice.base.errors import PostOfficeError
from postoffice.config.keys import Key
from postoffice.config.kinds import Port
from postoffice.config.registry import Snapshot
from postoffice.settings import dispatch as dispatch_keys
from postoffice.settings import pop3_server, smtp_accept

BACKLOG = 1024
RESERVE_SECONDS = 15.0
_ANY_ADDRESSES = ("0.0.0.0", "::")
_SMTP_GOODBYE = b"421 4.3.2 Service not available here now, try again later\r\n"
_POP3_GOODBYE = b"-ERR [SYS/TEMP] Service not available here now, try again later\r\n"


@dataclass(frozen=True, slots=True)
class Service:
    """A row: something that listens. ``goodbye`` is said to connections that come too late; nothing where TLS is
    implicit, since the client would not understand it. ``enable``: the key that switches the whole service."""

    name: str
    module: str
    key: Key[tuple[Port, ...]]
    goodbye: bytes
    enable: Key[bool] | None = None


SERVICES: tuple[Service, ...] = (
    Service("smtp", "SMTP-Accept", smtp_accept.SOCKET, _SMTP_GOODBYE),
    Service("submission", "SMTP-Accept", smtp_accept.SUBMISSION_SOCKET, _SMTP_GOODBYE),
    Service("smtps", "SMTP-Accept", smtp_accept.SSL_SOCKET, b""),
    Service("pop3", "POP3-Server", pop3_server.SOCKET, _POP3_GOODBYE, pop3_server.ENABLE),
    Service("pop3s", "POP3-Server", pop3_server.SSL_SOCKET, b"", pop3_server.ENABLE),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A numeric address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def overlaps(self, other: Endpoint) -> bool:
        """Whether the kernel refuses to have both: same port, same address or one of them every address."""
        if self.port != other.port or (":" in self.address) != (":" in other.address):
            return False
        return self.address == other.address or self.address in _ANY_ADDRESSES or other.address in _ANY_ADDRESSES


@dataclass(frozen=True, slots=True)
class Listener:
    """An open listening socket. ``number`` names it between the processes; ``since`` is seconds since 1970."""

    number: int
    endpoint: Endpoint
    service: Service
    socket: socket.socket
    since: float


class PortError(PostOfficeError):
    """A port cannot be opened. ``busy``: because somebody has it."""

    def __init__(self, message: str, remedy: str, *, busy: bool) -> None:
        super().__init__(message, remedy)
        self.busy = busy


def build_plan(snapshot: Snapshot, changed: Mapping[str, object] | None = None) -> dict[Endpoint, Service]:
    """What should listen. ``changed``: values by path that count instead of the snapshot's.

    Raises PostOfficeError when two services want the same port."""
    changed = changed or {}

    def get(key: Key[object]) -> object:
        return changed.get(key.path, snapshot[key])

    addresses = get(dispatch_keys.LISTEN_ADDRESSES)             # type: ignore[arg-type]
    plan: dict[Endpoint, Service] = {}
    for service in SERVICES:
        if service.enable is not None and not get(service.enable):      # type: ignore[arg-type]
            continue
        for endpoint in list_endpoints(get(service.key), addresses):    # type: ignore[arg-type]
            for other, owner in plan.items():
                if endpoint.overlaps(other):
                    raise PostOfficeError(
                        f"{service.key.path}: {endpoint} is already the port of {owner.key.path}.",
                        "Give each service a port of its own.")
            plan[endpoint] = service
    return plan


def list_endpoints(ports: Iterable[Port], addresses: Iterable[object]) -> list[Endpoint]:
    """Ports as endpoints: those without an address get each of ``addresses``; none means all. Port 0 is off."""
    usual = [str(address) for address in addresses] or list(_ANY_ADDRESSES)
    return list(dict.fromkeys(
        Endpoint(address, port.port)
        for port in ports if port.port
        for address in ([str(port.address)] if port.address else usual)
    ))


def open_listener(endpoint: Endpoint, service: Service) -> socket.socket | None:
    """A socket that listens. None for an IPv6 "all" where the machine has no IPv6.

    Raises PortError naming key and address."""
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    listening: socket.socket | None = None
    try:
        listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((endpoint.address, endpoint.port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        if listening is not None:
            listening.close()
        if endpoint.address == "::" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EINVAL):
            return None
        raise _explain(endpoint, service, error) from None
    return listening


def _explain(endpoint: Endpoint, service: Service, error: OSError) -> PortError:
    what = f"{service.key.path}: port {endpoint.port} on {endpoint.address}"
    if error.errno == errno.EADDRINUSE:
        return PortError(f"{what} is taken by another program.",
                         f"Stop that program (ss -ltnp 'sport = :{endpoint.port}' shows it) or set another port with: "
                         f"dbedit -s {service.key.path} PORT", busy=True)
    if error.errno in (errno.EACCES, errno.EPERM):
        return PortError(f"{what} may only be opened by root.",
                         f"Start the server as root, or set a port above 1023 with: dbedit -s {service.key.path} PORT",
                         busy=False)
    if error.errno == errno.EADDRNOTAVAIL:
        return PortError(f"{what} cannot be opened: this machine does not have the address {endpoint.address}.",
                         f"Set an address it has (ip address shows them) in {dispatch_keys.LISTEN_ADDRESSES.path} "
                         f"or {service.key.path}.", busy=False)
    return PortError(f"{what} cannot be opened: {error.strerror}.", "Set another port or address.", busy=False)


def say_goodbye(listening: socket.socket, goodbye: bytes) -> int:
    """Accept what the kernel still has queued, say goodbye, close the socket. Returns how many there were."""
    count = 0
    listening.setblocking(False)
    with listening:
        while True:
            try:
                connection, _address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return count
            count += 1
            with connection:
                connection.setblocking(False)
                with contextlib.suppress(OSError):      # it may be gone already; then nobody needs to be told
                    connection.send(goodbye)
                    connection.shutdown(socket.SHUT_WR)


class Reservations:
    """Ports opened for somebody who is about to set them, kept for a few seconds."""

    def __init__(self) -> None:
        self._kept: dict[Endpoint, tuple[socket.socket, float]] = {}

    def keep(self, endpoint: Endpoint, listening: socket.socket, now: float) -> None:
        self._kept[endpoint] = (listening, now + RESERVE_SECONDS)

    def has(self, endpoint: Endpoint) -> bool:
        return endpoint in self._kept

    def take(self, endpoint: Endpoint) -> socket.socket | None:
        """The socket of an endpoint, if it was kept."""
        found = self._kept.pop(endpoint, None)
        return found[0] if found else None

    def expire(self, now: float) -> None:
        """Close what nobody came for. ``now`` is monotonic seconds."""
        for endpoint, (listening, until) in list(self._kept.items()):
            if until <= now:
                del self._kept[endpoint]
                say_goodbye(listening, b"")

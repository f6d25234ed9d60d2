"""Which ports the settings ask for, how they open, move and say goodbye: `dispatch.sockets` and `dispatch.ports`."""

from __future__ import annotations

import socket

import pytest

from postoffice.base.clock import SystemClock
from postoffice.base.errors import PostOfficeError
from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.dispatch.ports import Ports
from postoffice.dispatch.sockets import SERVICES, Endpoint, Listener, PortError, build_plan, open_listener, say_goodbye

REGISTRY = build_registry()
OFF = {service.key.path: "0" for service in SERVICES} | {"Dispatch/Config/ListenAddresses": "127.0.0.1"}
SMTP, POP3 = "SMTP-Accept/Config/Socket", "POP3-Server/Config/Socket"


def make_snapshot(**values: object) -> Snapshot:
    names = {"smtp": SMTP, "pop3": POP3, "addresses": "Dispatch/Config/ListenAddresses", "pop3_enable": "POP3-Server/Config/Enable"}
    return Snapshot.of(REGISTRY, OFF | {names[name]: str(value) for name, value in values.items()})


def take_port() -> tuple[socket.socket, int]:
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    return held, held.getsockname()[1]


def find_port() -> int:
    held, port = take_port()
    held.close()
    return port


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def __call__(self, listener: Listener, reason: str) -> None:
        self.lines.append((listener.endpoint.port, reason))


def test_ports_without_an_address_get_every_listen_address() -> None:
    plan = build_plan(make_snapshot(smtp="2525 127.0.0.9:26 [::1]:27", addresses="127.0.0.1 127.0.0.2"))
    assert set(map(str, plan)) == {"127.0.0.1:2525", "127.0.0.2:2525", "127.0.0.9:26", "[::1]:27"}


def test_no_listen_address_means_all() -> None:
    assert set(map(str, build_plan(make_snapshot(smtp="25", addresses="")))) == {"0.0.0.0:25", "[::]:25"}


def test_a_disabled_service_opens_nothing() -> None:
    assert not build_plan(make_snapshot(pop3="2110", pop3_enable="no"))
    assert build_plan(make_snapshot(pop3="2110"))


@pytest.mark.parametrize("pop3", ["2525", "127.0.0.1:2525", "0.0.0.0:2525"])
def test_two_services_on_one_port_are_refused_with_both_names(pop3: str) -> None:
    with pytest.raises(PostOfficeError) as caught:
        build_plan(make_snapshot(smtp="2525", pop3=pop3))
    assert SMTP in str(caught.value) and POP3 in str(caught.value)


def test_a_taken_port_names_key_address_and_remedy() -> None:
    held, port = take_port()
    with held, pytest.raises(PortError) as caught:
        open_listener(Endpoint("127.0.0.1", port), SERVICES[0])
    assert caught.value.busy
    assert SMTP in caught.value.message and str(port) in caught.value.message and "127.0.0.1" in caught.value.message
    assert "dbedit -s" in caught.value.remedy


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(PortError, match=r"does not have the address 192\.0\.2\.1"):
        open_listener(Endpoint("192.0.2.1", find_port()), SERVICES[0])


def test_goodbye_reaches_who_was_still_queued() -> None:
    listening = open_listener(Endpoint("127.0.0.1", find_port()), SERVICES[0])
    assert listening is not None
    late = socket.create_connection(listening.getsockname(), timeout=5)
    with late:
        assert say_goodbye(listening, b"421 later\r\n") == 1
        assert late.recv(100) == b"421 later\r\n"
        assert late.recv(100) == b""


def test_a_moved_port_opens_before_the_old_one_closes() -> None:
    log = Log()
    ports = Ports(SystemClock(), log)
    first, second = find_port(), find_port()
    (old,) = ports.apply(make_snapshot(smtp=first)).opened
    changes = ports.apply(make_snapshot(smtp=second))
    assert [one.endpoint.port for one in changes.opened] == [second]
    assert changes.closing == [old]
    socket.create_connection(("127.0.0.1", first), timeout=5).close()          # the children have yet to close it
    assert not ports.settled
    ports.finish_closing(old.number)
    assert ports.settled
    assert log.lines == [(first, ""), (second, ""), (first, "closed")]
    ports.close_all()


def test_a_key_whose_new_port_is_taken_keeps_its_old_one() -> None:
    ports = Ports(SystemClock(), Log())
    old, other = find_port(), find_port()
    ports.apply(make_snapshot(smtp=old))
    held, taken = take_port()
    with held:
        changes = ports.apply(make_snapshot(smtp=f"{taken} {other}"))
        assert changes.closing == []
        assert str(taken) in ports.failures[SMTP]
    assert {endpoint.port for endpoint in ports.open} == {old, other}
    assert [one.endpoint.port for one in ports.apply(make_snapshot(smtp=f"{taken} {other}")).opened] == [taken]
    assert not ports.failures
    ports.close_all()


def test_a_checked_port_is_kept_for_the_change() -> None:
    ports = Ports(SystemClock(), Log())
    ports.apply(make_snapshot(smtp=find_port()))
    wanted = find_port()
    ports.check(make_snapshot(), SMTP, REGISTRY.get(SMTP).parse(str(wanted)))
    with pytest.raises(OSError, match="in use"), socket.socket() as thief:
        thief.bind(("127.0.0.1", wanted))
    assert [one.endpoint.port for one in ports.apply(make_snapshot(smtp=wanted)).opened] == [wanted]
    ports.close_all()


def test_a_taken_port_is_refused_by_the_check() -> None:
    held, taken = take_port()
    with held, pytest.raises(PortError, match=str(taken)):
        Ports(SystemClock(), Log()).check(make_snapshot(), SMTP, REGISTRY.get(SMTP).parse(str(taken)))


def test_a_port_that_changes_hands_is_closed_first_and_opened_then() -> None:
    ports = Ports(SystemClock(), Log())
    one, two = find_port(), find_port()
    ports.apply(make_snapshot(smtp=one, pop3=two))
    swapped = make_snapshot(smtp=two, pop3=one)
    changes = ports.apply(swapped)
    assert len(changes.closing) == 2 and not changes.opened and not ports.settled
    first, second = changes.closing
    assert not ports.finish_closing(first.number)
    assert ports.finish_closing(second.number)
    opened = ports.apply(swapped).opened
    assert {(listener.service.name, listener.endpoint.port) for listener in opened} == {("smtp", two), ("pop3", one)}
    assert ports.settled
    ports.close_all()


@pytest.mark.parametrize(("one", "other", "overlap"), [
    (("0.0.0.0", 25), ("127.0.0.1", 25), True), (("127.0.0.1", 25), ("127.0.0.1", 25), True),
    (("127.0.0.1", 25), ("127.0.0.2", 25), False), (("0.0.0.0", 25), ("0.0.0.0", 26), False),
    (("::", 25), ("0.0.0.0", 25), False), (("::", 25), ("::1", 25), True),
])
def test_overlap(one: tuple[str, int], other: tuple[str, int], overlap: bool) -> None:
    assert Endpoint(*one).overlaps(Endpoint(*other)) is overlap
    assert Endpoint(*other).overlaps(Endpoint(*one)) is overlap

"""From POP3-Server's keys to what a session obeys."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from postoffice.config.registry import Registry, Snapshot
from postoffice.pop3.rules import RulesReader, read_rules
from postoffice.settings import dispatch, pop3_server

REGISTRY = Registry((*dispatch.KEYS, *pop3_server.KEYS))


def build(**texts: str) -> Snapshot:
    paths = {f"POP3-Server/Config/{name}": text for name, text in texts.items()}
    return Snapshot.of(REGISTRY, {"Dispatch/Config/HostName": "mail.example.test", **paths})


def test_as_shipped() -> None:
    rules = read_rules(build())
    assert (rules.host_name, rules.banner, rules.compatible_banner) == ("mail.example.test", "", False)
    assert (rules.idle_seconds, rules.min_poll_seconds, rules.offer_stls) == (600, 0, True)
    assert rules.admits(ip_address("192.0.2.1")) and rules.admits(ip_address("2001:db8::1"))


def test_every_key_is_obeyed() -> None:
    rules = read_rules(build(Banner="Hello", CompatibleBanner="yes", IdleTimeout="30", POPMinPoll="5m", AllowSTLS="no"))
    assert (rules.banner, rules.compatible_banner, rules.idle_seconds) == ("Hello", True, 30)
    assert (rules.min_poll_seconds, rules.offer_stls) == (300, False)


@pytest.mark.parametrize(("allowed", "denied", "client", "admitted"), [
    ("192.0.2.0/24", "", "192.0.2.9", True),
    ("192.0.2.0/24", "", "198.51.100.1", False),
    ("192.0.2.0/24", "", "2001:db8::1", False),
    ("192.0.2.0/24 2001:db8::/32", "", "2001:db8::1", True),
    ("192.0.2.0/24", "192.0.2.9", "192.0.2.9", False),
    ("192.0.2.0/24", "192.0.2.9", "192.0.2.10", True),
    ("", "192.0.2.0/24", "192.0.2.9", False),
    ("", "192.0.2.0/24", "198.51.100.1", True),
    ("example.test", "", "192.0.2.9", False),       # no reverse name is known: nobody has that one
    ("", "example.test", "192.0.2.9", True),
])
def test_who_is_admitted(allowed: str, denied: str, client: str, admitted: bool) -> None:
    rules = read_rules(build(DomainAllowed=allowed, DomainNotAllowed=denied))
    assert rules.admits(ip_address(client)) is admitted


def test_the_reader_follows_the_settings() -> None:
    current = [build()]
    reader = RulesReader(lambda: current[0])
    first = reader()
    assert reader() is first
    current[0] = build(IdleTimeout="20", MaxSessions="7", MaxSessionsPerClient="3")
    assert reader().idle_seconds == 20
    assert (reader.get_limits().total, reader.get_limits().per_client) == (7, 3)

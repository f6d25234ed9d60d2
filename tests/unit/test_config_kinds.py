"""Kinds of values: what they take, what they refuse and how they say so."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postoffice.config import kinds
from postoffice.config.kinds import Port


@pytest.mark.parametrize(("text", "ports"), [
    ("25", (Port(None, 25),)),
    ("25 [::1]:2525 127.0.0.1:26", (Port(None, 25), Port(ip_address("::1"), 2525), Port(ip_address("127.0.0.1"), 26))),
    ("0", ()), ("", ()), ("  ", ()),
])
def test_ports(text: str, ports: tuple[Port, ...]) -> None:
    assert kinds.PORTS.parse(text) == ports
    assert kinds.PORTS.parse(kinds.PORTS.format(ports)) == ports


@pytest.mark.parametrize("text", ["x", "65536", "-1", "25 0", "25 25", "::1:25", "host:25", ":25", "25,26", "[::1]", "2 5x", "٢٥"])
def test_ports_refuse(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        kinds.PORTS.parse(text)


@pytest.mark.parametrize(("kind", "text", "value"), [
    (kinds.YES_NO, "YES", True),
    (kinds.Seconds(), "5m", 300), (kinds.Seconds(), "300", 300), (kinds.Seconds(), "2 d", 172800),
    (kinds.Bytes(), "50M", 52428800), (kinds.Bytes(), "1 KiB", 1024), (kinds.Bytes(), "0", 0),
    (kinds.NETWORKS, "192.0.2.0/24, 2001:db8::1", (ip_network("192.0.2.0/24"), ip_network("2001:db8::1"))),
    (kinds.NETWORKS, "192.0.2.7/24", (ip_network("192.0.2.0/24"),)),
    (kinds.NETWORKS, "192.0.2.0 ::ffff:192.0.2.9", (ip_network("192.0.2.0"), ip_network("192.0.2.9"))),
    (kinds.Networks(zero_is_wildcard=True), "222.33.44.0 10.0.0.0 10.0.7.1 0.0.0.0 10.1.0.0/24", (
        ip_network("222.33.44.0/24"), ip_network("10.0.0.0/8"), ip_network("10.0.7.1"), ip_network("0.0.0.0/32"),
        ip_network("10.1.0.0/24"))),
    (kinds.DOMAIN, "日本語.JP", "xn--wgv71a119e.jp"),
    (kinds.Domain(may_begin_with_dot=True), ".example.co.jp", "example.co.jp"),
    (kinds.DOMAINS, "a.test B.test a.test", ("a.test", "b.test")),
    (kinds.DOMAINS_OR_NETWORKS, "10.0.0.0/8 .example.jp", (ip_network("10.0.0.0/8"), "example.jp")),
])
def test_values(kind: kinds.YesNo, text: str, value: object) -> None:
    assert kind.parse(text) == value
    assert kind.parse(kind.format(kind.parse(text))) == value


@pytest.mark.parametrize(("kind", "text"), [
    (kinds.YES_NO, "true"), (kinds.Int(1, 5), "6"), (kinds.Int(1, 5), "0x3"), (kinds.Int(), "9" * 30), (kinds.Seconds(), "5y"),
    (kinds.Seconds(10), "9"), (kinds.Bytes(), "5X"), (kinds.NETWORKS, "10.0.0.0/33"), (kinds.NETWORKS, "host"),
    (kinds.DOMAIN, "192.0.2.1"), (kinds.DOMAIN, ".a.b"), (kinds.REGEX, "a{99999999999999999999}"), (kinds.PATH, "/a\tb"),
    (kinds.NETWORKS, "fe80::1%lo"), (kinds.DOMAIN, "a..b"), (kinds.DOMAIN, "-a.b"), (kinds.DOMAIN, ""), (kinds.DOMAIN, "a b"), (kinds.DOMAIN, "x" * 64 + ".jp"),
    (kinds.REGEX, "("), (kinds.PATH, "relative"), (kinds.TEXT, "two\nlines"), (kinds.ADDRESSES, "localhost"),
])
def test_refusals_say_what_is_allowed(kind: kinds.YesNo, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w{3}"):
        kind.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_clear_refusal(text: str) -> None:
    for kind in (kinds.YES_NO, kinds.PORTS, kinds.NETWORKS, kinds.DOMAINS, kinds.DOMAINS_OR_NETWORKS, kinds.Seconds(), kinds.Bytes(),
                 kinds.PATHS, kinds.TEXT, kinds.ADDRESSES, kinds.REGEX):
        try:
            value = kind.parse(text)
        except ValueError as error:
            assert str(error)
        else:
            assert kind.parse(kind.format(value)) == value

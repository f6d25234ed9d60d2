"""Addresses and SMTP paths: what is accepted, what is refused, how they compare."""

from __future__ import annotations

import pytest

from postoffice.message.address import Address, parse_address, parse_path


@pytest.mark.parametrize(
    ("text", "local", "domain", "rest"),
    [
        (b"<user@example.test> SIZE=1", "user", "example.test", b" SIZE=1"),
        (b"<User.Name+tag@Example.TEST>", "User.Name+tag", "Example.TEST", b""),
        (b"<a..b@docomo.ne.jp>", "a..b", "docomo.ne.jp", b""),
        (b"<ab.@docomo.ne.jp>", "ab.", "docomo.ne.jp", b""),
        (b'<"a b"@x.test>', "a b", "x.test", b""),
        (b'<"a\\"\\\\b"@x.test>', 'a"\\b', "x.test", b""),
        (b'<"a@b"@x.test>', "a@b", "x.test", b""),
        (b"<@a.test,@b.test:c@d.test>", "c", "d.test", b""),
        (b"<u%other.test@x.test>", "u%other.test", "x.test", b""),
        (b"<a!b@x.test>", "a!b", "x.test", b""),
        (b"<u@[192.0.2.1]>", "u", "[192.0.2.1]", b""),
        (b"<u@[IPv6:2001:db8::1]>", "u", "[IPv6:2001:db8::1]", b""),
        (b"<postmaster>", "postmaster", "", b""),
        (b"<" + b"a" * 64 + b"@x.test>", "a" * 64, "x.test", b""),
        (b"<u@" + b"a" * 63 + b".test>", "u", "a" * 63 + ".test", b""),
    ],
)
def test_path(text: bytes, local: str, domain: str, rest: bytes) -> None:
    assert parse_path(text) == (Address(local, domain), rest)


def test_null_path() -> None:
    assert parse_path(b"<> BODY=8BITMIME") == (None, b" BODY=8BITMIME")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"user@x.test", b"<user@x.test", b"< user@x.test>", b"<user @x.test>", b"<user@>", b"<@x.test>", b"<@>",
        b"<.user@x.test>", b'<""@x.test>', b'<"a@x.test>', b'<"a\x00"@x.test>', b'<"a\r\nb"@x.test>', b"<a\x00b@x.test>",
        b"<a\rb@x.test>", b"<a@x..test>", b"<a@.test>", b"<a@x.test.>", b"<a@-x.test>", b"<a@x-.test>", b"<a@x.te\x00st>",
        b"<a@[300.1.1.1]>", b"<a@[IPv6:zz]>", b"<a@[IPv6:fe80::1%eth0]>", b"<a@[x]>", b"<a@[>", b"<a@b@c>",
        b"<" + b"a" * 65 + b"@x.test>", b"<u@" + b"a" * 64 + b".test>", b"<u@" + b"a." * 128 + b"b>",
        "<山田@x.test>".encode(), b"<caf\xe9@x.test>", b"<a@x.test\r\n>",
    ],
)
def test_refused_path(text: bytes) -> None:
    with pytest.raises(ValueError, match="[a-z]"):
        parse_path(text)


def test_utf8_only_when_asked_for_and_valid() -> None:
    text = "<山田@例え.テスト>".encode()
    address, _ = parse_path(text, utf8=True)
    assert address == Address("山田", "例え.テスト")
    for bad in (b"<caf\xe9@x.test>", "<a\u0085b@x.test>".encode(), "<a\u2028b@x.test>".encode()):
        with pytest.raises(ValueError, match="UTF-8|control"):
            parse_path(bad, utf8=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("User@Example.TEST", "user@example.test"),
        ('"user"@example.test', "user@example.test"),
        ("u@例え.テスト", "U@xn--r8jz45g.xn--zckzah"),
        ("u@ＥＸＡＭＰＬＥ.test", "u@example.test"),
        ("re\u0301mi@x.test", "R\u00c9MI@x.test"),
        ("u@[IPv6:2001:DB8:0::1]", "u@[ipv6:2001:db8::1]"),
    ],
)
def test_equal_keys(one: str, other: str) -> None:
    assert parse_address(one, utf8=True).key == parse_address(other, utf8=True).key


def test_different_keys() -> None:
    keys = {parse_address(text, utf8=True).key for text in ("a@x.test", "b@x.test", "a@y.test", "a", "a.@x.test")}
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("user", "x.test"), "user@x.test"),
        (Address("a..b.", "docomo.ne.jp"), "a..b.@docomo.ne.jp"),
        (Address("a b", "x.test"), '"a b"@x.test'),
        (Address('a"\\', "x.test"), '"a\\"\\\\"@x.test'),
        (Address(".a", "x.test"), '".a"@x.test'),
        (Address("postmaster", ""), "postmaster"),
    ],
)
def test_text(address: Address, text: str) -> None:
    assert str(address) == text
    assert parse_address(text) == address


def test_parse_address_takes_all_or_nothing() -> None:
    with pytest.raises(ValueError, match="after its end"):
        parse_address("a@x.test b")
    with pytest.raises(ValueError, match="missing"):
        parse_address("")

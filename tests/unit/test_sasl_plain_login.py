"""PLAIN (RFC 4616) and LOGIN."""

from __future__ import annotations

import pytest

from postoffice.base.errors import UsageError
from postoffice.sasl.login import Login
from postoffice.sasl.mechanism import Challenge, CheckPassword, Malformed, Mechanism
from postoffice.sasl.plain import MAX_OCTETS, Plain


def test_plain_in_one_message_or_after_an_empty_challenge() -> None:
    assert Plain().take(b"\0taro\0secret") == CheckPassword("taro", "secret")
    plain = Plain()
    assert plain.take(None) == Challenge(b"")
    assert plain.take(b"\0taro\0secret") == CheckPassword("taro", "secret")


def test_plain_takes_an_identity_only_when_it_is_the_login() -> None:
    assert Plain().take(b"taro\0taro\0secret") == CheckPassword("taro", "secret")
    assert isinstance(Plain().take(b"hanako\0taro\0secret"), Malformed)


def test_plain_keeps_what_a_password_may_hold() -> None:
    assert Plain().take("\0太郎\0 pass=word,\t".encode()) == CheckPassword("太郎", " pass=word,\t")


@pytest.mark.parametrize("data", [
    b"", b"taro", b"\0taro", b"taro\0secret", b"\0\0", b"\0taro\0", b"\0\0secret", b"\0taro\0secret\0", b"\0ta\0ro\0secret",
    b"\0\xff\0secret", b"\0taro\0\xe9", b"\xff\0taro\0secret", b"\0taro\0" + b"x" * MAX_OCTETS,
])
def test_plain_malformed(data: bytes) -> None:
    assert isinstance(Plain().take(data), Malformed)


def test_login_asks_for_name_and_password() -> None:
    login = Login()
    assert login.take(None) == Challenge(b"Username:")
    assert login.take(b"taro") == Challenge(b"Password:")
    assert login.take(b"sec\xc3\xa9ret") == CheckPassword("taro", "secéret")


def test_login_with_an_initial_response() -> None:
    login = Login()
    assert login.take(b"taro") == Challenge(b"Password:")
    assert login.take(b"secret") == CheckPassword("taro", "secret")


@pytest.mark.parametrize("data", [b"", b"a\0b", b"\xff", b"x" * (MAX_OCTETS + 1)])
def test_login_malformed(data: bytes) -> None:
    assert isinstance(Login().take(data), Malformed)
    login = Login()
    login.take(b"taro")
    assert isinstance(login.take(data), Malformed)


@pytest.mark.parametrize("mechanism", [Plain(), Login()])
def test_they_ask_for_no_verifier(mechanism: Mechanism) -> None:
    with pytest.raises(UsageError):
        mechanism.supply(b"salt", 4096, b"", b"")

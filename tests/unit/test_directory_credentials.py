"""Passwords, login names and addresses as they are admitted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postoffice.base.errors import InputError
from postoffice.directory.admission import check_access, check_address, check_limit, check_name
from postoffice.directory.credentials import (
    DUMMY_HASH,
    build_credentials,
    check_password,
    format_scram,
    parse_argon2,
    parse_scram,
    verify_password,
)
from postoffice.directory.logins import FORBIDDEN, check_login, get_login_key
from postoffice.directory.model import ScramVerifier
from postoffice.directory.resolve import build_territory
from tests.unit.offices import Settings

RULE = r"^\S.{4,}\S$"
TERRITORY = build_territory("mail.example.test", ["example.test", "xn--r8jz45g.test"], allow_detail=True)


# --- passwords ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["secret", "a b c d", "パスワード。", "x" * 1024])
def test_passwords_within_the_rule(password: str) -> None:
    assert check_password(password, RULE) == password


@pytest.mark.parametrize("password", ["", "short", " secret", "secret ", "      ", "sec\nret", "sec\0ret", "secret\n", "s\x7fecret", "x" * 1025])
def test_passwords_against_the_rule(password: str) -> None:
    with pytest.raises(InputError) as caught:
        check_password(password, RULE)
    if password.strip():
        assert password not in str(caught.value).replace("longer", ""), "it is never repeated"


def test_the_rule_is_told_in_words() -> None:
    with pytest.raises(InputError, match=r"at least 6 characters, the first and the last not blank"):
        check_password("abc", RULE)
    with pytest.raises(InputError, match=r"does not keep the rule \^\\d"):
        check_password("abc", r"^\d+$")


def test_a_hash_verifies_its_password_alone() -> None:
    stored = build_credentials("caf\u00e9 au lait", Settings().current())
    assert stored.scram is None
    assert stored.argon2.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(stored.argon2, "caf\u00e9 au lait")
    assert verify_password(stored.argon2, "cafe\u0301 au lait"), "a Mac sends it decomposed"
    assert not verify_password(stored.argon2, "cafe au lait")
    assert not verify_password("$argon2id$broken", "x")
    assert not verify_password("", "")
    assert not verify_password(DUMMY_HASH, "")
    assert build_credentials("caf\u00e9 au lait", Settings().current()).argon2 != stored.argon2, "salted"


def test_a_hash_from_elsewhere_must_be_one_and_affordable() -> None:
    good = build_credentials("secret", Settings().current()).argon2
    assert parse_argon2(good) == good
    for bad in ("", "secret", "$2b$12$abcdefghijklmnopqrstuv", good.replace("m=19456", "m=4194304"), good.replace("t=2", "t=1000"),
                good.replace("p=1", "p=200"), good[:-40], good + "\n"):
        with pytest.raises(InputError):
            parse_argon2(bad)


def test_scram_verifiers_in_their_written_form() -> None:
    verifier = ScramVerifier(b"0123456789abcdef", 100_000, b"s" * 32, b"k" * 32)
    text = format_scram(verifier)
    assert text.startswith("SCRAM-SHA-256$100000:")
    assert parse_scram(text) == verifier
    for bad in ("", "SCRAM-SHA-1$4096:AAAA$AAAA:AAAA", text.replace("100000", "1"), text.replace("100000", "999999999"), text[:-6], text + "x",
                text.replace("$", ":")):
        with pytest.raises(InputError):
            parse_scram(bad)


# --- logins ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("char", sorted(FORBIDDEN))
def test_a_forbidden_character_is_named(char: str) -> None:
    with pytest.raises(InputError, match="login") as caught:
        check_login(f"ya{char}mada")
    assert str(caught.value).endswith(f"the character {char}")


@pytest.mark.parametrize(("login", "said"), [
    ("", "at least one"), ("ya mada", r"blank \(U\+0020\)"), ("yamada\u3000", r"blank \(U\+3000\)"), ("a\tb", r"blank \(U\+0009\)"),
    ("a\0b", r"U\+0000"), ("a\u202eb", r"U\+202E"), ("a\ud800", r"U\+D800"),
])
def test_other_logins_that_are_none(login: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_login(login)


@pytest.mark.parametrize("login", ["a", "Taro.Yamada", "山田", "a" * 5000, "o'neil", "x+y", "a/b*c", "-"])
def test_logins(login: str) -> None:
    assert check_login(login) == login


@given(st.text())
def test_equal_keys_stay_equal(text: str) -> None:
    assert get_login_key(get_login_key(text)) == get_login_key(text)


# --- the rest -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "said"), [
    ("yamada", "has no domain"), ("yamada@example.com", "postoffice domain add example.com"), ("@example.test", "is no mail address"),
    ("ya mada@example.test", "is no mail address"), ("yamada.@example.test", "two dots in a row or a dot before the @"),
    ("ya..mada@example.test", "two dots"), ("yamada@example.test\nX: y", "is no mail address"), ("yamada@[127.0.0.1]", "not a local mail domain"),
    ("<yamada@example.test>", "is no mail address"), ("", "is no mail address"),
])
def test_addresses_that_no_account_may_have(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_address(text, TERRITORY)


@pytest.mark.parametrize("text", ["Taro.Yamada@Example.TEST", "山田@example.test", "yamada@例え.test", '"a b"@example.test', "a+b@mail.example.test"])
def test_addresses(text: str) -> None:
    assert check_address(f" {text} ", TERRITORY) == text


def test_an_address_it_has_is_not_judged_again() -> None:
    assert check_address("old@gone.test", TERRITORY, held=frozenset({("old", "gone.test")})) == "old@gone.test"


def test_limits() -> None:
    assert [check_limit(text) for text in ("", "default", "0", "unlimited", "10", "1K", "2 GB", "500m")] == [
        None, None, 0, 0, 10, 1024, 2 << 30, 500 << 20]
    for bad in ("-1", "ten", "1.5G", "1X"):
        with pytest.raises(InputError, match="limit"):
            check_limit(bad)


def test_access_lists() -> None:
    assert check_access("") == ()
    assert check_access("192.0.2.0/24, 2001:db8::1 Office.Example.com") == ("192.0.2.0/24", "2001:db8::1", "office.example.com")
    with pytest.raises(InputError, match="access"):
        check_access("not_@_network")


def test_names() -> None:
    assert check_name(" 山田 太郎 ") == "山田 太郎"
    for bad in ("", "  ", "a\nb", "x" * 201, "a\0"):
        with pytest.raises(InputError, match="name"):
            check_name(bad)

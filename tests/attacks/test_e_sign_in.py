"""E61-E66: attacks on signing in, as far as they concern the directory and the one sign-in."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from postoffice.directory.credentials import build_credentials
from postoffice.directory.model import Credentials, NoSuchUser, ToAccounts
from postoffice.message.address import parse_address
from postoffice.policy.api import SignedIn
from tests.unit.offices import add
from tests.unit.test_signin import AWAY, BAN, HOME, RIGHT, VERIFIER, WRONG, Desk, finish


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.change("MaxLoginDelay", "0")
    yield desk
    desk.close()


def test_e61_time_does_not_tell_known_from_unknown_from_stopped(desk: Desk) -> None:
    desk.change("BanExceptions", "192.0.2.0/24")
    desk.directory.set(replace(desk.suzuki, enabled=False))
    logins = ("yamada", "nobody", "suzuki", "Account.Manager", "nobody@example.com", "x" * 5000)
    times: dict[str, list[float]] = {login: [] for login in logins}
    for _ in range(7):
        for login in logins:
            begin = time.perf_counter()
            assert desk.try_in("wrong", login) is WRONG
            times[login].append(time.perf_counter() - begin)
    medians = [statistics.median(found) for found in times.values()]
    assert max(medians) < 2 * min(medians), dict(zip(logins, medians, strict=True))


@pytest.mark.parametrize("other", [
    {"login": "suzuki"}, {"service": "smtp"}, {"client": AWAY}, {"password": RIGHT + " "}, {"password": RIGHT[:-1]},
])
def test_e61_what_is_remembered_is_of_this_user_service_client_and_password(desk: Desk, other: dict[str, object]) -> None:
    assert desk.try_in() == "yamada"
    hashed = desk.pools[0].hashed
    assert desk.try_in() == "yamada"
    assert desk.pools[0].hashed == hashed
    desk.try_in(**other)            # type: ignore[arg-type]
    assert desk.pools[0].hashed == hashed + 1, "not known from before"


def test_e62_one_bad_sign_in_neither_delays_nor_breaks_others(desk: Desk) -> None:
    """A client that fails all the time, and one whose session goes away in the middle."""
    async def run() -> list[object]:
        gone = [asyncio.ensure_future(desk.ask(f"gone {number}")) for number in range(5)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        failing = [asyncio.ensure_future(desk.ask(f"guess {number}")) for number in range(5)]
        right = await asyncio.gather(desk.ask(client=AWAY), desk.ask(login="suzuki"))
        await asyncio.gather(*failing)
        await asyncio.gather(*gone, return_exceptions=True)
        return list(right)

    assert asyncio.run(run()) == ["yamada", "suzuki"]


@pytest.mark.parametrize("name", [
    "\udcff\udcfe", "yamada\0", "\0", "%", "*", "yam*", "yamada%", "/", "../yamada", "yamada/../suzuki", "x" * 10_240, "y" + "a" * 10_240 + "@example.test",
    "yamada ", " yamada", "yamada\t", "yamada\u3000", "yamada\u200b", "ｙａｍａｄａ", "yamada@", "@example.test", "yamada@example.test ",
    "<yamada@example.test>", "yamada@example.test\r\n", "' OR '1'='1", "yamada@example.test@example.test", "yamada@[127.0.0.1]", "yamada@EXAMPLE.TEST.x",
])
def test_e63_names_that_are_nearly_one(desk: Desk, name: str) -> None:
    assert desk.try_in(login=name) is WRONG
    assert desk.signin.get_scram_verifier(name)[0] is None
    assert finish(desk, name, proved=True) is WRONG


@pytest.mark.parametrize("name", ["YAMADA", "Yamada@Example.Test", "yamada@example.test."[:-1]])
def test_e63_case_alone_does_not_matter(desk: Desk, name: str) -> None:
    assert desk.try_in(login=name) == "yamada"


def test_e63_normal_forms_are_one_account_and_count_as_one(desk: Desk) -> None:
    add(desk.directory, "gado", login="ガード", credentials=desk.credentials)
    decomposed = "カ\u3099ード"
    assert desk.try_in(login=decomposed) == "ガード"
    for number in range(5):
        desk.try_in(f"a{number}", login="ガード")
        desk.try_in(f"b{number}", login=decomposed)
    assert desk.try_in(login="ガード") is BAN


def test_e64_all_protocols_share_one_counter_and_the_owner_is_not_locked_out(desk: Desk) -> None:
    for number in range(10):
        assert desk.try_in(f"guess {number}", service=("smtp", "pop3", "imap", "web")[number % 4]) is WRONG
    for service in ("smtp", "pop3", "imap", "web"):
        assert desk.try_in(service=service) is BAN
        assert desk.try_in(client=AWAY, service=service) == "yamada", "the true owner"


def test_e64_a_whole_ipv6_network_guesses_as_one(desk: Desk) -> None:
    for number in range(10):
        assert desk.try_in(f"guess {number}", client=ip_address(f"2001:db8:1:2:{number:x}::1")) is WRONG
    assert desk.try_in(client=ip_address("2001:db8:1:2::ffff")) is BAN
    assert desk.try_in(client=ip_address("2001:db8:1:3::ffff")) == "yamada"


def test_e64_unknown_names_are_banned_like_known_ones(desk: Desk) -> None:
    """Otherwise the eleventh answer, or its delay, would tell who exists."""
    assert desk.guess(10, "nobody") == [WRONG] * 10
    assert desk.try_in(login="nobody") is BAN
    assert desk.try_in(login="NOBODY") is BAN


def test_e64_naming_many_accounts_once_each_ends_at_thirty(desk: Desk) -> None:
    results = [desk.try_in("spring2026", login=f"user{number}") for number in range(31)]
    assert results == [WRONG] * 30 + [BAN]


def test_e64_a_flood_of_networks_leaves_the_counters_bounded(desk: Desk) -> None:
    counters, now = desk.opened[0], desk.clock.now()
    for number in range(2000):
        counters.note_failure(f"2001:db8:{number:x}::/64", "1", b"xx", now, 1.0)
        now += 0.01
    assert len(counters._fetch("SELECT client FROM failures")) <= 101, "only what lies within the window"


def test_e65_a_scram_verifier_of_an_unknown_name_gives_nothing_away(desk: Desk) -> None:
    desk.directory.set_credentials(desk.yamada.id, Credentials(desk.credentials.argon2, VERIFIER))
    _, real = desk.signin.get_scram_verifier("yamada")
    _, fake = desk.signin.get_scram_verifier("nobody")
    assert (len(real.salt), real.iterations) == (len(fake.salt), fake.iterations)
    assert fake == desk.signin.get_scram_verifier("nobody")[1]
    assert fake != desk.signin.get_scram_verifier("nobody2")[1]


def test_e66_a_changed_password_ends_sessions_and_is_forgotten(desk: Desk) -> None:
    session = asyncio.run(desk.signin.verify_password("yamada", RIGHT, HOME, "pop3"))
    assert isinstance(session, SignedIn)
    desk.directory.set_credentials(desk.yamada.id, build_credentials("another one", desk.settings.current()))
    assert not desk.signin.is_current(session, HOME, "pop3")
    assert desk.try_in() is WRONG, "replayed"
    desk.directory.set_credentials(desk.yamada.id, None)
    assert desk.try_in("another one") is WRONG


def test_e66_a_deleted_account_is_gone_at_once_and_a_new_one_there_at_once(desk: Desk) -> None:
    session = asyncio.run(desk.signin.verify_password("yamada", RIGHT, HOME, "pop3"))
    assert isinstance(session, SignedIn)
    address = parse_address("yamada@example.test")
    desk.directory.remove(desk.yamada.id)
    assert not desk.signin.is_current(session, HOME, "pop3")
    assert desk.try_in() is WRONG
    assert desk.directory.resolve(address) == NoSuchUser()
    again = add(desk.directory, credentials=build_credentials("a new secret", desk.settings.current()))
    assert desk.directory.resolve(address) == ToAccounts((again,)), "no answer of before hides it"
    assert desk.try_in("a new secret") == "yamada"
    assert desk.try_in() is WRONG, "nor does the old password open it"
    assert not desk.signin.is_current(session, HOME, "pop3"), "nor the old session"
    assert again.id != desk.yamada.id, "nor does it have the old mail"


def test_e66_guesses_at_the_old_account_do_not_ban_the_new_one(desk: Desk) -> None:
    desk.guess(10)
    desk.directory.remove(desk.yamada.id)
    add(desk.directory, credentials=desk.credentials)
    assert desk.try_in() == "yamada"


def test_e66_an_address_taken_away_receives_no_more(desk: Desk) -> None:
    account = desk.directory.set(replace(desk.yamada, addresses=("alias@example.test",)))
    alias = parse_address("alias@example.test")
    assert desk.directory.resolve(alias) == ToAccounts((account,))
    assert desk.try_in(login="alias@example.test") == "yamada"
    account = desk.directory.set(replace(account, addresses=()))
    assert desk.directory.resolve(alias) == NoSuchUser()
    assert desk.try_in(login="alias@example.test") is WRONG
    desk.directory.set(replace(account, enabled=False))
    assert desk.directory.resolve(parse_address("yamada@example.test")) == NoSuchUser(stopped=True)
    assert desk.directory.resolve(parse_address("yamada+x@example.test")) == NoSuchUser(stopped=True)

"""The one sign-in under a clock that moves when told: who comes in, who waits, who is banned, and who is not."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from postoffice.base.streams import Address
from postoffice.directory.credentials import build_credentials
from postoffice.directory.model import Account, Credentials, ScramVerifier
from postoffice.policy.api import SignedIn, SignInFailure
from postoffice.policy.counters import Counters
from postoffice.policy.hashing import HashingPool
from postoffice.policy.signin import SignIn, Surroundings
from postoffice.testing.fakes import FakeClock, MemoryTrace
from postoffice.trace.event_types import BANNED, LOGGED_IN, LOGIN_FAILED
from tests.unit.offices import Settings, add, open_directory

HOME = ip_address("192.0.2.1")
AWAY = ip_address("198.51.100.7")
RIGHT = "open sesame"
WRONG, BAN, BUSY, ACCESS = SignInFailure.WRONG, SignInFailure.BANNED, SignInFailure.BUSY, SignInFailure.ACCESS

Y = "System-Security/Config/"


class CountingPool(HashingPool):
    """The real pool, counting."""

    def __init__(self) -> None:
        super().__init__(1)
        self.hashed = 0

    async def run(self, client: str, work: Callable[[], bool], limit: int) -> bool | None:
        self.hashed += 1
        return await super().run(client, work, limit)


class Desk:
    """A sign-in with accounts yamada and suzuki, whose password is `RIGHT`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings()
        self.directory = open_directory(folder, self.settings)
        self.credentials = build_credentials(RIGHT, self.settings.current())
        self.yamada = add(self.directory, credentials=self.credentials)
        self.suzuki = add(self.directory, "suzuki", credentials=self.credentials)
        self.clock = FakeClock()
        self.trace = MemoryTrace()
        self.slept: list[float] = []
        self.names: dict[Address, str] = {}
        self.opened: list[Counters] = []
        self.pools: list[CountingPool] = []
        self.signin = self.start()

    def start(self) -> SignIn:
        """Another process's sign-in on the same databases."""
        counters, pool = Counters(self.folder / "policy" / "counters.db"), CountingPool()
        self.opened.append(counters)
        self.pools.append(pool)
        return SignIn(Surroundings(self.directory, self.settings.current, counters, self.trace, self.clock, pool,
                                   self.names.get, self.sleep))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def close(self) -> None:
        for counters in self.opened:
            counters.close()
        for pool in self.pools:
            pool.close()
        self.directory.close()

    def try_in(self, password: str = RIGHT, login: str = "yamada", client: Address = HOME, service: str = "pop3") -> object:
        """The account that came in, or the failure."""
        return asyncio.run(self.ask(password, login, client, service))

    async def ask(self, password: str = RIGHT, login: str = "yamada", client: Address = HOME, service: str = "pop3") -> object:
        result = await self.signin.verify_password(login, password, client, service)
        return result.account.login if isinstance(result, SignedIn) else result

    def change(self, name: str, text: str) -> None:
        self.settings.change({Y + name: text})

    def guess(self, count: int, login: str = "yamada", client: Address = HOME) -> list[object]:
        return [self.try_in(f"guess {number}", login, client) for number in range(count)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_name_and_addresses_sign_in(desk: Desk) -> None:
    for login in ("yamada", "YAMADA", "yamada@example.test"):
        assert desk.try_in(login=login) == "yamada"
    assert desk.trace.list_values(LOGGED_IN)[0] == ("pop3", "192.0.2.1", "yamada", "password")
    assert desk.slept == []


def test_wrong_unknown_stopped_and_without_password_look_the_same(desk: Desk) -> None:
    desk.directory.set(replace(desk.suzuki, enabled=False))
    add(desk.directory, "tanaka")
    for login, password in (("yamada", "wrong"), ("nobody", RIGHT), ("suzuki", RIGHT), ("tanaka", RIGHT), ("Account.Manager", ""), ("", "")):
        assert desk.try_in(password, login, client=ip_address(f"192.0.2.{len(desk.slept) + 1}")) is WRONG, login
    assert desk.slept == [0.5] * 6
    assert desk.pools[0].hashed == 6, "each was hashed"
    assert desk.trace.list_values(LOGIN_FAILED)[0] == ("pop3", "192.0.2.1", "yamada", "wrong name or password")


def test_the_delay_rises_with_different_wrong_passwords(desk: Desk) -> None:
    desk.guess(7)
    assert desk.slept == [0.5, 1, 2, 4, 5, 5, 5]
    desk.slept.clear()
    desk.try_in("guess", client=AWAY)
    desk.try_in("guess", login="suzuki")
    assert desk.slept == [0.5, 1], "another client begins anew; another account of the same client does not quite"
    desk.change("MaxLoginDelay", "3")
    desk.try_in("guess 99")
    assert desk.slept[-1] == 3
    desk.change("MaxLoginDelay", "0")
    desk.try_in("guess 98")
    assert len(desk.slept) == 3


def test_one_wrong_password_again_and_again_counts_once(desk: Desk) -> None:
    """A mail program with an old password must not lock its owner out."""
    assert [desk.try_in("old password") for _ in range(30)] == [WRONG] * 30
    assert desk.slept == [0.5] * 30
    assert desk.try_in() == "yamada"


def test_ten_different_ones_ban_the_pair_and_nobody_else(desk: Desk) -> None:
    assert desk.guess(10) == [WRONG] * 10
    desk.slept.clear()
    hashed = desk.pools[0].hashed
    assert desk.try_in() is BAN, "the right password, too: the guesser must not learn it"
    assert desk.try_in(login="yamada@example.test", service="smtp") is BAN, "by whatever name, in whatever protocol"
    assert desk.slept == [5, 5]
    assert desk.pools[0].hashed == hashed, "nothing is hashed for the banned"
    assert desk.try_in(login="suzuki") == "suzuki", "another account from there"
    assert desk.try_in(client=AWAY) == "yamada", "the owner from elsewhere"
    assert desk.trace.list_values(BANNED) == [("192.0.2.1", "yamada@example.test", 900, "10 different wrong passwords")]
    desk.clock.seconds += 899
    assert desk.try_in() is BAN
    desk.clock.seconds += 2
    assert desk.try_in() == "yamada"


def test_failures_older_than_the_window_do_not_count(desk: Desk) -> None:
    desk.guess(9)
    desk.clock.seconds += 601
    assert desk.guess(9) == [WRONG] * 9
    assert desk.try_in() == "yamada"
    assert desk.slept[9] == 0.5


def test_thirty_accounts_ban_all_sign_ins_of_a_client(desk: Desk) -> None:
    desk.change("MaxLoginDelay", "1")
    for number in range(29):
        assert desk.try_in("spring2026", login=f"user{number}") is WRONG
    assert desk.try_in() == "yamada"
    assert desk.try_in("spring2026", login="suzuki") is WRONG
    assert desk.try_in() is BAN
    assert desk.try_in(login="suzuki", service="smtp") is BAN
    assert desk.try_in(client=AWAY) == "yamada"
    assert desk.trace.list_values(BANNED) == [("192.0.2.1", "*", 900, "failures on 30 accounts")]
    desk.clock.seconds += 901
    assert desk.try_in() == "yamada"


def test_an_ipv6_network_is_one_client_and_an_ipv4_address_too(desk: Desk) -> None:
    for number in range(10):
        assert desk.try_in(f"guess {number}", client=ip_address(f"2001:db8:0:1::{number:x}")) is WRONG
    assert desk.try_in(client=ip_address("2001:db8:0:1:ffff::1")) is BAN
    assert desk.try_in(client=ip_address("2001:db8:0:2::1")) == "yamada"
    desk.guess(10)
    assert desk.try_in(client=ip_address("192.0.2.2")) == "yamada"


def test_processes_and_protocols_count_together(desk: Desk) -> None:
    other = desk.start()

    async def both() -> None:
        for number in range(5):
            await desk.signin.verify_password("yamada", f"a{number}", HOME, "pop3")
            await other.verify_password("yamada@example.test", f"b{number}", HOME, "smtp")

    asyncio.run(both())
    assert desk.try_in() is BAN
    assert asyncio.run(other.verify_password("yamada", RIGHT, HOME, "web")) is BAN


def test_the_numbers_are_keys(desk: Desk) -> None:
    desk.change("BanWrongPasswords", "2")
    desk.change("BanTime", "60")
    assert desk.guess(2) == [WRONG, WRONG]
    assert desk.try_in() is BAN
    desk.clock.seconds += 61
    assert desk.try_in() == "yamada"
    desk.change("BanWrongPasswords", "0")
    desk.change("BanAccounts", "0")
    assert desk.guess(40) == [WRONG] * 40
    for number in range(40):
        assert desk.try_in("x", login=f"user{number}") is WRONG
    assert desk.try_in() == "yamada", "0 is never"


def test_exception_networks_are_neither_delayed_nor_banned_nor_counted(desk: Desk) -> None:
    desk.change("BanExceptions", "192.0.2.0/24")
    assert desk.guess(20) == [WRONG] * 20
    assert desk.slept == []
    assert desk.try_in() == "yamada"
    assert desk.opened[0].list_bans(desk.clock.now()) == []


def test_a_lifted_ban_is_over_and_does_not_come_back_at_the_next_slip(desk: Desk) -> None:
    desk.guess(10)
    counters = Counters(desk.folder / "policy" / "counters.db")
    (ban,) = counters.list_bans(desk.clock.now())
    assert (ban.client, ban.subject, ban.login) == ("192.0.2.1", str(desk.yamada.id), "yamada@example.test")
    assert ban.until - ban.since == 900
    assert counters.lift(ban)
    assert not counters.lift(ban)
    counters.close()
    assert desk.try_in("guess 99") is WRONG
    assert desk.try_in() == "yamada"


def test_guessing_in_parallel_gains_nothing(desk: Desk) -> None:
    """All are under way before the first has failed; the right one comes last."""
    async def storm() -> list[object]:
        return await asyncio.gather(*(desk.ask(f"guess {number}") for number in range(20)), desk.ask(RIGHT))

    results = asyncio.run(storm())
    assert results[:10] == [WRONG] * 10
    assert results[10:] == [BAN] * 11


def test_a_right_password_is_remembered_until_anything_changes(desk: Desk) -> None:
    pool = desk.pools[0]

    def hashes(**more: object) -> int:
        before = pool.hashed
        assert desk.try_in(**more) == "yamada"          # type: ignore[arg-type]
        return pool.hashed - before

    assert [hashes(), hashes(), hashes(login="yamada@example.test")] == [1, 0, 0]
    assert [hashes(service="smtp"), hashes(client=AWAY), hashes(service="smtp")] == [1, 1, 0]
    assert desk.try_in("wrong") is WRONG
    account = desk.directory.set(replace(desk.yamada, name="Other"))
    assert [hashes(), hashes()] == [1, 0]
    desk.clock.seconds += 301
    assert [hashes(), hashes()] == [1, 0]
    desk.change("LoginCacheTime", "0")
    assert [hashes(), hashes()] == [1, 1], "what was remembered before counts no more"
    desk.directory.set(replace(account, enabled=False))
    assert desk.try_in() is WRONG


def test_a_changed_password_counts_at_once(desk: Desk) -> None:
    assert desk.try_in() == "yamada"
    desk.directory.set_credentials(desk.yamada.id, build_credentials("another one", desk.settings.current()))
    assert desk.try_in() is WRONG
    assert desk.try_in("another one") == "yamada"


def test_an_account_changed_while_its_password_was_hashed_is_asked_again(desk: Desk) -> None:
    """Stopped or given another password meanwhile: the right is judged as it is now, not as it was."""
    async def run() -> object:
        under_way = asyncio.ensure_future(desk.ask())
        while not desk.pools[0].hashed:
            await asyncio.sleep(0)
        desk.directory.set(replace(desk.yamada, enabled=False))
        return await under_way

    assert asyncio.run(run()) is BUSY
    assert desk.try_in() is WRONG


def test_clients_take_turns_in_the_queue() -> None:
    """Ten of one client wait; the one of another is hashed second, not last."""
    order: list[str] = []

    async def run() -> None:
        pool = HashingPool(1)

        def work(name: str) -> Callable[[], bool]:
            def append() -> bool:
                order.append(name)
                return True
            return append

        names = [*(f"a{number}" for number in range(10)), "b", "c"]
        assert await asyncio.gather(*(pool.run(name[0], work(name), 100) for name in names)) == [True] * 12
        pool.close()

    asyncio.run(run())
    assert order[:4] == ["a0", "a1", "b", "c"]
    assert order[4:] == [f"a{number}" for number in range(2, 10)]


def test_a_fault_while_hashing_reaches_who_asked_and_stops_nothing() -> None:
    async def run() -> None:
        pool = HashingPool(1)

        def fail() -> bool:
            raise MemoryError("no 19 MiB left")

        with pytest.raises(MemoryError):
            await pool.run("a", fail, 10)
        assert await pool.run("a", lambda: True, 10)
        pool.close()

    asyncio.run(run())


def test_a_full_queue_is_busy_and_a_flood_does_not_keep_others_out(desk: Desk) -> None:
    desk.change("HashingQueue", "10")
    desk.change("BanWrongPasswords", "0")

    async def storm() -> tuple[list[object], object]:
        flood = [asyncio.ensure_future(desk.ask(f"guess {number}")) for number in range(30)]
        await asyncio.sleep(0)
        owner = await desk.ask(RIGHT, client=AWAY)
        return list(await asyncio.gather(*flood)), owner

    results, owner = asyncio.run(storm())
    assert owner == "yamada"
    assert results.count(BUSY) == 20
    assert results.count(WRONG) == 10
    assert BUSY in results[:11], "the newcomer took a place of the one with most"


def test_one_failure_delays_no_other(desk: Desk) -> None:
    """The wrong one sleeps for its five seconds; the right one is through meanwhile (attack E62)."""
    gate = asyncio.Event()

    async def run() -> None:
        async def wait(_seconds: float) -> None:
            await gate.wait()

        slow = SignIn(Surroundings(desk.directory, desk.settings.current, desk.opened[0], desk.trace, desk.clock, desk.pools[0],
                                   sleep=wait))
        failing = asyncio.ensure_future(slow.verify_password("yamada", "wrong", HOME, "pop3"))
        for login in ("suzuki", "yamada"):
            assert isinstance(await asyncio.wait_for(slow.verify_password(login, RIGHT, HOME, "pop3"), 10), SignedIn)
        assert not failing.done()
        gate.set()
        assert await failing is WRONG

    asyncio.run(run())


def test_unknown_names_take_as_long_as_known_ones(desk: Desk) -> None:
    desk.change("BanExceptions", "192.0.2.0/24")

    def measure(login: str) -> float:
        begin = time.perf_counter()
        desk.try_in("wrong", login)
        return time.perf_counter() - begin

    pairs = [(measure("yamada"), measure("nobody")) for _ in range(9)]
    known, unknown = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert 0.5 < unknown / known < 2, (known, unknown)


def test_what_is_stored_of_a_wrong_password_is_two_octets(desk: Desk) -> None:
    desk.try_in("hunter2-secret")
    desk.opened[0].note_failure("a", "b", desk.opened[0].mark("password", "hunter2-secret"), desk.clock.now(), 600)
    stored = b"".join(path.read_bytes() for path in (desk.folder / "policy").iterdir())
    assert b"hunter2" not in stored
    assert len(desk.opened[0].mark("password", "hunter2-secret")) == 2
    assert "hunter2" not in repr(desk.trace.events)


# --- access ---------------------------------------------------------------------------------------------------------------


def restrict(desk: Desk, *access: str) -> Account:
    return desk.directory.set(replace(desk.directory.find_account(desk.yamada.id) or desk.yamada, access=access))


def test_an_account_is_open_from_its_networks_alone(desk: Desk) -> None:
    restrict(desk, "192.0.2.0/24", "2001:db8::/32", "office.example.com")
    for service in ("pop3", "imap", "web"):
        assert desk.try_in(service=service) == "yamada"
        assert desk.try_in(client=ip_address("2001:db8::1"), service=service) == "yamada"
        assert desk.try_in(client=AWAY, service=service) is ACCESS
    assert desk.try_in(client=AWAY, service="smtp") == "yamada", "sending is not restricted"
    assert desk.try_in("wrong", client=AWAY) is WRONG, "the rule is told to the owner alone"
    desk.names[AWAY] = "PC1.Office.example.COM."
    assert desk.try_in(client=AWAY) == "yamada", "a domain counts where the name is known"
    desk.names[AWAY] = "evil-office.example.com"
    assert desk.try_in(client=AWAY) is ACCESS


def test_the_system_wide_rule_comes_first(desk: Desk) -> None:
    desk.change("LoginAllowedFrom", "192.0.2.0/24")
    assert desk.try_in() == "yamada"
    hashed = desk.pools[0].hashed
    assert desk.try_in("whatever", client=AWAY) is ACCESS
    assert desk.pools[0].hashed == hashed
    assert desk.try_in(client=AWAY, service="smtp") == "yamada"


def test_who_may_be_offered_a_login(desk: Desk) -> None:
    assert desk.signin.may_offer(HOME, secure=True)
    assert not desk.signin.may_offer(HOME, secure=False)
    desk.change("PlaintextLoginFrom", "192.0.2.0/24")
    assert desk.signin.may_offer(HOME, secure=False)
    assert not desk.signin.may_offer(AWAY, secure=False)


def test_a_session_lasts_while_its_right_does(desk: Desk) -> None:
    def sign_in() -> SignedIn:
        result = asyncio.run(desk.signin.verify_password("yamada", RIGHT, HOME, "pop3"))
        assert isinstance(result, SignedIn)
        return result

    def stands(session: SignedIn) -> bool:
        return desk.signin.is_current(session, HOME, "pop3")

    session = sign_in()
    assert stands(session)
    account = desk.directory.set(replace(desk.yamada, name="New Name"))
    assert stands(session), "a new name ends nothing"
    account = restrict(desk, "198.51.100.0/24")
    assert not stands(session)
    assert desk.signin.is_current(session, HOME, "smtp")
    account = restrict(desk, "192.0.2.0/24")
    assert stands(session)
    desk.change("LoginAllowedFrom", "198.51.100.0/24")
    assert not stands(session)
    desk.change("LoginAllowedFrom", "")
    account = desk.directory.set(replace(account, enabled=False))
    assert not stands(session)
    account = desk.directory.set(replace(account, enabled=True))
    assert stands(session)
    desk.directory.set_credentials(account.id, desk.credentials)
    assert not stands(session), "the password was set anew"
    session = sign_in()
    desk.directory.remove(account.id)
    assert not stands(session)


# --- SCRAM ----------------------------------------------------------------------------------------------------------------

VERIFIER = ScramVerifier(b"0123456789abcdef", 100_000, b"s" * 32, b"k" * 32)


def finish(desk: Desk, login: str, *, proved: bool, client: Address = HOME) -> object:
    result = asyncio.run(desk.signin.finish_scram(login, client, "pop3", proved=proved))
    return result.account.login if isinstance(result, SignedIn) else result


def test_scram_signs_in_and_counts_like_a_password(desk: Desk) -> None:
    desk.directory.set_credentials(desk.yamada.id, Credentials(desk.credentials.argon2, VERIFIER))
    account, verifier = desk.signin.get_scram_verifier("yamada@example.test")
    assert account is not None and account.login == "yamada"
    assert verifier == VERIFIER
    assert finish(desk, "yamada", proved=True) == "yamada"
    assert desk.trace.list_values(LOGGED_IN)[-1] == ("pop3", "192.0.2.1", "yamada", "SCRAM-SHA-256")
    assert [finish(desk, "yamada", proved=False) for _ in range(10)] == [WRONG] * 10
    assert finish(desk, "yamada", proved=True) is BAN
    assert desk.try_in() is BAN
    assert finish(desk, "yamada", proved=True, client=AWAY) == "yamada"


def test_scram_gives_unknown_names_a_verifier_that_stays(desk: Desk) -> None:
    account, fake = desk.signin.get_scram_verifier("nobody")
    assert account is None
    assert fake == desk.start().get_scram_verifier("NoBody")[1], "in every process, in every spelling"
    assert fake.salt != desk.signin.get_scram_verifier("somebody")[1].salt
    assert (len(fake.salt), fake.iterations, len(fake.stored_key), len(fake.server_key)) == (16, 100_000, 32, 32)
    assert finish(desk, "nobody", proved=False) is WRONG
    assert finish(desk, "nobody", proved=True) is WRONG, "nobody can prove it, but if so"


def test_an_account_without_a_verifier_is_not_banned_for_scram(desk: Desk) -> None:
    """Its owner's program tries SCRAM first each time; there is nothing to be guessed."""
    assert desk.signin.get_scram_verifier("yamada")[0] is None
    assert [finish(desk, "yamada", proved=False) for _ in range(20)] == [WRONG] * 20
    assert desk.try_in() == "yamada"


def test_a_proof_of_a_password_changed_meanwhile_is_none(desk: Desk) -> None:
    """An exchange may be held open for minutes."""
    desk.directory.set_credentials(desk.yamada.id, Credentials(desk.credentials.argon2, VERIFIER))

    def settle() -> object:
        return asyncio.run(desk.signin.finish_scram("yamada", HOME, "pop3", proved=True, verifier=VERIFIER))

    assert isinstance(settle(), SignedIn)
    desk.directory.set_credentials(desk.yamada.id, Credentials(desk.credentials.argon2, replace(VERIFIER, salt=b"another")))
    assert settle() is WRONG
    desk.directory.set_credentials(desk.yamada.id, desk.credentials)
    assert settle() is WRONG, "no verifier any more"


def test_a_stopped_account_has_no_verifier_and_no_way_in(desk: Desk) -> None:
    desk.directory.set_credentials(desk.yamada.id, Credentials(desk.credentials.argon2, VERIFIER))
    account = desk.directory.find_account(desk.yamada.id)
    assert account is not None
    desk.directory.set(replace(account, enabled=False))
    assert desk.signin.get_scram_verifier("yamada")[1] != VERIFIER
    assert finish(desk, "yamada", proved=True) is WRONG


# --- the counters ----------------------------------------------------------------------------------------------------------


def test_a_damaged_file_of_counters_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "counters.db"
    path.write_bytes(b"this is no database, " * 500)
    counters = Counters(path)
    assert counters.note_failure("a", "1", b"xx", 1000.0, 600.0).passwords == 1
    counters.close()


def test_a_clock_set_back_frees_nobody_for_ever_and_bans_nobody_for_years(desk: Desk) -> None:
    desk.guess(10)
    assert desk.try_in() is BAN
    desk.clock.seconds -= 365 * 86400
    assert desk.try_in() == "yamada"
    assert desk.guess(10)[0] is WRONG
    assert desk.try_in() is BAN


def test_no_password_or_login_however_odd_raises(desk: Desk) -> None:
    desk.change("MaxLoginDelay", "0")
    desk.change("BanWrongPasswords", "0")
    desk.change("BanAccounts", "0")
    for odd in ("\0", "\ud800", "é" * 5000, "a\nb", "@", "'; DROP TABLE accounts; --"):
        assert desk.try_in(odd) is WRONG
        assert desk.try_in(login=odd) is WRONG
    assert desk.try_in() == "yamada"



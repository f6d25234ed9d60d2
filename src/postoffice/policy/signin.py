"""The one sign-in of all protocols and processes: who is this, may they come in from there, and are they guessing?

Owns the order of judgement and what failures lead to; the passwords are the directory's, the counts `counters`', the
sessions say what is left to say. In this order: a login allowed from nowhere near is told so; a banned pair of
account and client is not even hashed; a password that was right a moment ago is known by its HMAC; all others are
hashed in a bounded pool; only a right password learns that the account's access rule forbids the place.

Invariants: unknown, stopped and passwordless accounts are hashed, counted, delayed and banned like known ones; a ban
that fell while a password was being hashed holds for that password too, so guessing in parallel gains nothing; what
is kept from one client is open to all others, so nobody can lock the owner out from elsewhere; no password is
kept or logged.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postoffice.base.clock import Clock
from postoffice.base.streams import Address
from postoffice.directory.api import Directory
from postoffice.directory.credentials import DUMMY_HASH, verify_password
from postoffice.directory.logins import get_login_key
from postoffice.directory.model import Account, ScramVerifier
from postoffice.policy.access import get_client_group, is_admitted, is_in, parse_access
from postoffice.policy.api import SignedIn, SignInFailure
from postoffice.policy.counters import Ban, Counters, Tally
from postoffice.policy.hashing import HashingPool
from postoffice.settings import account_manager
from postoffice.settings import system_security as keys
from postoffice.trace.api import Trace
from postoffice.trace.event_types import BANNED, LOGGED_IN, LOGIN_FAILED
from postoffice.trace.events import Event, EventType

if TYPE_CHECKING:
    from postoffice.config.registry import Snapshot

RESTRICTED_SERVICES = frozenset({"pop3", "imap", "web"})     # access rules are for reading mail, not for sending

_FIRST_DELAY_SECONDS = 0.5
_MAX_LENGTH = 1024                          # of a login or password, in characters: more is nobody's
_MAX_REMEMBERED = 10_000
_MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sign-in works with. ``find_client_name`` gives a client's reverse name where it is known already;
    ``sleep`` waits seconds (tests give one that does not)."""

    directory: Directory
    settings: Callable[[], Snapshot]
    counters: Counters
    trace: Trace
    clock: Clock
    pool: HashingPool
    find_client_name: Callable[[Address], str | None] = lambda _client: None
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One sign-in under way. ``subject`` is what failures count against: the account, or the unknown name."""

    login: str
    account: Account | None
    client: Address
    group: str
    subject: str
    service: str
    mechanism: str
    settings: Snapshot
    exempt: bool


class SignIn:
    """See `policy.api.SignInService`. One per process, used on its loop's thread."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()     # mark -> since, monotonic

    def may_offer(self, client: Address, *, secure: bool) -> bool:
        if secure:
            return True
        networks = self._around.settings()[keys.PLAINTEXT_LOGIN_FROM]
        return is_in(client, networks)

    async def verify_password(
        self, login: str, password: str, client: Address, service: str,
    ) -> SignedIn | SignInFailure:
        attempt = self._begin(login, client, service, "password")
        if not self._is_system_admitted(attempt):
            return self._refuse(attempt, SignInFailure.ACCESS)
        if self._is_banned(attempt):
            return await self._refuse_late(attempt, SignInFailure.BANNED, None)
        mark = self._get_mark(attempt, password)
        if self._is_remembered(mark, attempt.settings):
            return self._admit(attempt)
        right = await self._check(attempt, password)
        if right is None:
            return self._refuse(attempt, SignInFailure.BUSY)
        if self._is_banned(attempt):
            return await self._refuse_late(attempt, SignInFailure.BANNED, None)
        if not right:
            return await self._fail(attempt, self._around.counters.mark("password", password))
        # The account may have been changed while its password was hashed.
        now = self._around.directory.find_account(attempt.account.id) if attempt.account else None
        if now is None or now != attempt.account:
            return self._refuse(attempt, SignInFailure.BUSY)
        self._remember(mark)
        return self._admit(attempt)

    def get_scram_verifier(self, login: str) -> tuple[Account | None, ScramVerifier]:
        account = self._find(login)
        if account is not None and account.enabled:
            stored = self._find_verifier(account)
            if stored is not None:
                return account, stored
        # RFC 5802 §5.1: a salt that changed with each try, or an error, would tell which names exist.
        def make(word: str) -> bytes:
            return self._around.counters.mark("scram", word, get_login_key(login), size=32)
        iterations = self._around.settings()[account_manager.SCRAM_ITERATIONS]
        return None, ScramVerifier(make("salt")[:16], iterations, make("stored"), make("server"))

    async def finish_scram(
        self, login: str, client: Address, service: str, *, proved: bool, verifier: ScramVerifier | None = None,
    ) -> SignedIn | SignInFailure:
        attempt = self._begin(login, client, service, "SCRAM-SHA-256")
        if not self._is_system_admitted(attempt):
            return self._refuse(attempt, SignInFailure.ACCESS)
        if self._is_banned(attempt):
            return await self._refuse_late(attempt, SignInFailure.BANNED, None)
        account = attempt.account
        if proved and account is not None and account.enabled and account.has_password:
            stored = self._find_verifier(account)
            if verifier is None or verifier == stored:
                return self._admit(attempt)
            # The password was changed in the middle of the exchange: what was proved is the old one.
        if account is not None and self._find_verifier(account) is None:
            # Nothing can be guessed here, and the owner's program must not be banned for trying.
            return await self._refuse_late(attempt, SignInFailure.WRONG, Tally(1, 1))
        # Two proofs of one wrong password look different: each counts.
        return await self._fail(attempt, secrets.token_bytes(8))

    def is_current(self, signed_in: SignedIn, client: Address, service: str) -> bool:
        account = self._around.directory.find_account(signed_in.account.id)
        if account is None or not account.enabled or not account.has_password:
            return False
        if account.password_generation != signed_in.account.password_generation:
            return False
        return self._admits_service(account, client, service, self._around.settings())

    # --- the steps -----------------------------------------------------------------------------------------------

    def _begin(self, login: str, client: Address, service: str, mechanism: str) -> _Attempt:
        settings = self._around.settings()
        account = self._find(login)
        if account is not None:
            subject = str(account.id)
        else:
            subject = "?" + self._around.counters.mark("login", get_login_key(login), size=8).hex()
        exceptions = settings[keys.BAN_EXCEPTIONS]
        return _Attempt(login, account, client, get_client_group(client), subject, service, mechanism, settings,
                        is_in(client, exceptions))

    def _find(self, login: str) -> Account | None:
        return self._around.directory.find_login(login) if len(login) <= _MAX_LENGTH else None

    def _is_system_admitted(self, attempt: _Attempt) -> bool:
        rules = attempt.settings[keys.LOGIN_ALLOWED_FROM]
        return attempt.service not in RESTRICTED_SERVICES or is_admitted(
            attempt.client, self._around.find_client_name(attempt.client), rules)

    def _admits_service(self, account: Account, client: Address, service: str, settings: Snapshot) -> bool:
        if service not in RESTRICTED_SERVICES:
            return True
        name = self._around.find_client_name(client)
        rules = settings[keys.LOGIN_ALLOWED_FROM]
        return (is_admitted(client, name, rules)
                and is_admitted(client, name, parse_access(account.access)))

    def _is_banned(self, attempt: _Attempt) -> bool:
        return not attempt.exempt and self._around.counters.find_ban(
            attempt.group, attempt.subject, self._around.clock.now()) is not None

    def _get_mark(self, attempt: _Attempt, password: str) -> bytes | None:
        """What a successful sign-in is remembered by; None when there is nobody to remember."""
        account = attempt.account
        if account is None or not account.enabled or not account.has_password:
            return None
        # CVE-2025-30189: everything that decides is part of the key.
        words = (str(account.id), str(account.generation), attempt.service, attempt.group, password)
        return hmac.digest(self._key, "\0".join(words).encode("utf-8", "surrogatepass"), "sha256")

    def _is_remembered(self, mark: bytes | None, settings: Snapshot) -> bool:
        since = self._remembered.get(mark) if mark is not None else None
        # The key of this moment decides: set to 0, it forgets what was remembered before.
        return since is not None and self._around.clock.monotonic() < since + settings[keys.LOGIN_CACHE_TIME]

    def _remember(self, mark: bytes | None) -> None:
        if mark is None:
            return
        self._remembered[mark] = self._around.clock.monotonic()
        self._remembered.move_to_end(mark)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _check(self, attempt: _Attempt, password: str) -> bool | None:
        """Whether the password is right; None when too many wait. Takes as long for whoever cannot come in."""
        account = attempt.account
        credentials = self._around.directory.get_credentials(account.id) if account else None
        may_pass = credentials is not None and account is not None and account.enabled and len(password) <= _MAX_LENGTH
        argon2 = credentials.argon2 if credentials is not None else DUMMY_HASH
        tried = password[:_MAX_LENGTH]
        fits = await self._around.pool.run(
            attempt.group, lambda: verify_password(argon2, tried), attempt.settings[keys.HASHING_QUEUE])
        return None if fits is None else fits and may_pass

    def _find_verifier(self, account: Account) -> ScramVerifier | None:
        credentials = self._around.directory.get_credentials(account.id)
        return None if credentials is None else credentials.scram

    def _admit(self, attempt: _Attempt) -> SignedIn | SignInFailure:
        account = attempt.account
        assert account is not None
        if not self._admits_service(account, attempt.client, attempt.service, attempt.settings):
            return self._refuse(attempt, SignInFailure.ACCESS)
        self._record(LOGGED_IN, attempt, attempt.service, str(attempt.client), attempt.login, attempt.mechanism)
        return SignedIn(account, attempt.login)

    def _refuse(self, attempt: _Attempt, failure: SignInFailure) -> SignInFailure:
        self._record(LOGIN_FAILED, attempt, attempt.service, str(attempt.client), attempt.login[:_MAX_SHOWN],
                     failure.value)
        return failure

    async def _refuse_late(self, attempt: _Attempt, failure: SignInFailure, tally: Tally | None) -> SignInFailure:
        """Refuse after the delay that so many failures have earned; without a tally after the longest."""
        most = attempt.settings[keys.MAX_LOGIN_DELAY]
        steps = max(tally.passwords, tally.accounts) if tally else 30
        self._refuse(attempt, failure)
        if most and not attempt.exempt:
            await self._around.sleep(min(most, _FIRST_DELAY_SECONDS * 2 ** min(steps - 1, 30)))
        return failure

    async def _fail(self, attempt: _Attempt, mark: bytes) -> SignInFailure:
        if attempt.exempt:
            return self._refuse(attempt, SignInFailure.WRONG)
        settings, now = attempt.settings, self._around.clock.now()
        tally = self._around.counters.note_failure(
            attempt.group, attempt.subject, mark, now, settings[keys.BAN_WINDOW])
        if 0 < settings[keys.BAN_ACCOUNTS] <= tally.accounts:
            self._ban(attempt, now, None, "*", f"failures on {tally.accounts} accounts")
        elif 0 < settings[keys.BAN_WRONG_PASSWORDS] <= tally.passwords:
            self._ban(attempt, now, attempt.subject, attempt.account.address if attempt.account else attempt.login,
                      f"{tally.passwords} different wrong passwords")
        return await self._refuse_late(attempt, SignInFailure.WRONG, tally)

    def _ban(self, attempt: _Attempt, now: float, subject: str | None, login: str, reason: str) -> None:
        seconds = attempt.settings[keys.BAN_TIME]
        shown = login[:_MAX_SHOWN]
        if self._around.counters.ban(Ban(attempt.group, subject, shown, now, now + seconds, reason)):
            self._record(BANNED, attempt, attempt.group, shown, seconds, reason)

    def _record(self, event_type: EventType, attempt: _Attempt, *values: object) -> None:
        self._around.trace.record(
            Event(event_type, self._around.clock.now(), values, client=str(attempt.client)))

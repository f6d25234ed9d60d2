"""A sign-in in memory, for sessions under test: names and passwords in a dictionary, the outcome steered
by the test."""

from __future__ import annotations

import asyncio
import hashlib
import hmac

from postoffice.base.streams import Address
from postoffice.directory.model import Account, AccountClass, Delivery, ScramVerifier
from postoffice.policy.api import SignedIn, SignInFailure


def build_account(number: int, login: str, *, domain: str = "example.test", enabled: bool = True) -> Account:
    """An account with one address, ``login@domain``."""
    return Account(
        id=number, name=login.title(), address=f"{login}@{domain}", addresses=(), login=login,
        account_class=AccountClass.GENERAL, postmaster=False, enabled=enabled,
        deliveries=frozenset({Delivery.MAILBOX}), mailbox_limit=0, access=(), generation=1, has_password=True)


def build_verifier(password: str, salt: bytes = b"0123456789abcdef", iterations: int = 4096) -> ScramVerifier:
    """RFC 5802 §3, with few iterations: tests are in a hurry."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return ScramVerifier(salt, iterations, stored, hmac.digest(salted, b"Server Key", "sha256"))


class FakeSignIn:
    """See `policy.api.SignInService`. ``failure``: what the next sign-ins end in, whatever the password;
    ``gate``: while it is set to an unset event, sign-ins wait for it; ``clear_allowed``: whether a login
    is offered in clear."""

    def __init__(self, passwords: dict[str, str], *, clear_allowed: bool = True) -> None:
        self.accounts = {login: build_account(number, login) for number, login in enumerate(passwords, 1)}
        self.passwords = dict(passwords)
        self.clear_allowed = clear_allowed
        self.failure: SignInFailure | None = None
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.revoked: set[int] = set()
        self.tried: list[tuple[str, str, str]] = []         # login, client, service

    def may_offer(self, client: Address, *, secure: bool) -> bool:
        return secure or self.clear_allowed

    async def verify_password(
        self, login: str, password: str, client: Address, service: str,
    ) -> SignedIn | SignInFailure:
        return await self._finish(login, client, service, self.passwords.get(login) == password)

    def get_scram_verifier(self, login: str) -> tuple[Account | None, ScramVerifier]:
        account = self.accounts.get(login)
        return account, build_verifier(self.passwords.get(login, "nobody's"))

    async def finish_scram(
        self, login: str, client: Address, service: str, *, proved: bool, verifier: ScramVerifier | None = None,
    ) -> SignedIn | SignInFailure:
        return await self._finish(login, client, service, proved)

    def is_current(self, signed_in: SignedIn, client: Address, service: str) -> bool:
        return signed_in.account.id not in self.revoked

    async def _finish(
        self, login: str, client: Address, service: str, right: bool,
    ) -> SignedIn | SignInFailure:
        self.tried.append((login, str(client), service))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.failure is not None:
            return self.failure
        account = self.accounts.get(login)
        return SignedIn(account, login) if right and account is not None else SignInFailure.WRONG

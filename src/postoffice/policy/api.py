"""The one sign-in for all protocols, as sessions see it; `policy.signin.SignIn` is the real one."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from postoffice.base.streams import Address
from postoffice.directory.model import Account, ScramVerifier


class SignInFailure(enum.Enum):
    """Why not. A peer is told apart only WRONG (and all that must look like it) from BUSY and from its ACCESS rule."""

    WRONG = "wrong name or password"        # unknown, stopped, wrong password and banned pair look the same to the peer
    BANNED = "banned for a while"
    BUSY = "too many sign-ins at once"       # 454 / [SYS/TEMP]
    ACCESS = "not allowed from this address"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """``login`` is the name that was used."""

    account: Account
    login: str


class SignInService(Protocol):
    """Counts failures per (account, client), delays, bans; hashing runs in a bounded pool; unknown names take as
    long."""

    def may_offer(self, client: Address, *, secure: bool) -> bool:
        """Whether this client is offered a login at all: under TLS, or from a network of PlaintextLoginFrom."""

    async def verify_password(
        self, login: str, password: str, client: Address, service: str,
    ) -> SignedIn | SignInFailure:
        """``service``: "smtp", "pop3", "imap", "web". The delay for failures has passed when this returns."""

    def get_scram_verifier(self, login: str) -> tuple[Account | None, ScramVerifier]:
        """The stored verifier, or a stable fake for an unknown name, at once."""

    async def finish_scram(self, login: str, client: Address, service: str, *, proved: bool,
                           verifier: ScramVerifier | None = None) -> SignedIn | SignInFailure:
        """Settle a SCRAM exchange: counts, bans, access rules as for a password. ``verifier``: the one that was given
        out for it; a proof of a password that has been changed meanwhile is none."""

    def is_current(self, signed_in: SignedIn, client: Address, service: str) -> bool:
        """Whether the right still stands (account there, enabled, same generation of password, access rule)."""

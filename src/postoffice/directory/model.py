"""Accounts, addresses and what an address resolves to: values, without storage."""

from __future__ import annotations

import enum
from dataclasses import dataclass

AccountId = int


class AccountClass(enum.Enum):
    """Post.Office's three classes of account."""

    ADMINISTRATIVE = "administrative"
    GENERAL = "general"
    RESERVED = "reserved"


class Delivery(enum.Enum):
    """What happens to an account's mail; at least one is required. Later issues add forward, program, autoreply."""

    MAILBOX = "mailbox"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. Addresses are strings as entered; they compare by `message.address.Address.key`."""

    id: AccountId
    name: str                                  # real name
    address: str                               # main address
    addresses: tuple[str, ...]                 # additional ones, any domain
    login: str                                 # POP3 login name
    account_class: AccountClass
    postmaster: bool                           # has Postmaster privilege
    enabled: bool
    deliveries: frozenset[Delivery]
    mailbox_limit: int | None                  # bytes; 0 unlimited, None: the default key
    access: tuple[str, ...]                    # networks, addresses, domains for POP3/IMAP/web; empty: everywhere
    generation: int                            # rises with every change of this account or its password
    has_password: bool
    password_generation: int = 0               # rises with every change of the password alone

    @property
    def all_addresses(self) -> tuple[str, ...]:
        return (self.address, *self.addresses)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Nothing recoverable. ``argon2`` is a PHC string; ``scram`` a stored SCRAM-SHA-256 verifier or None."""

    argon2: str
    scram: ScramVerifier | None


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """RFC 5803: what a SCRAM-SHA-256 server stores."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


@dataclass(frozen=True, slots=True)
class ToAccounts:
    """The address is ours: these accounts get the mail, each once (several for Postmaster's designated postmasters)."""

    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class NoSuchUser:
    """The domain is ours, the user is not there (or is stopped: ``stopped``)."""

    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The domain is not ours."""

    domain: str


Resolution = ToAccounts | NoSuchUser | Elsewhere


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made. ``login`` "" asks for the default: the local part where it is free. The addresses, the
    login and the access list have passed `directory.admission`."""

    name: str
    address: str
    addresses: tuple[str, ...] = ()
    login: str = ""
    postmaster: bool = False
    enabled: bool = True
    deliveries: frozenset[Delivery] = frozenset({Delivery.MAILBOX})
    mailbox_limit: int | None = None
    access: tuple[str, ...] = ()
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class RemovedAccount:
    """An account that is gone while its mailbox may still wait to be purged. Its id is never given out again."""

    id: AccountId
    address: str
    seconds: float                             # since 1970

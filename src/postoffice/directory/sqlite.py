"""The directory in ``office.db``: its schema, every statement, and the caches that make it fast.

Owns the tables accounts, addresses, designated, removed_accounts and directory_state; `config.saved` has others in the
same file. What is ours (domains, host name) is computed from the settings by `directory.resolve`. The addresses of the
reserved accounts are computed too unless an administrator gives them one: ``Postmaster@`` whatever the host is called.

Invariants: one transaction per change, synced before it returns; every change raises the generation; a cached answer
is given only while neither the generation nor the settings moved, so a change is obeyed by the next call in every
process; ids are never used twice, so a new account cannot inherit a mailbox. An instance belongs to one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import apsw

from postoffice.base.errors import InputError, PostOfficeError, TemporaryError
from postoffice.config.saved import open_database, transaction
from postoffice.directory.logins import get_login_key, is_login
from postoffice.directory.model import (
    Account,
    AccountClass,
    AccountId,
    Credentials,
    Delivery,
    Elsewhere,
    NewAccount,
    NoSuchUser,
    RemovedAccount,
    Resolution,
    ScramVerifier,
    ToAccounts,
)
from postoffice.directory.resolve import (
    POSTMASTER,
    RESERVED,
    RESERVED_BY_LOCAL,
    RESERVED_BY_ROLE,
    Territory,
    build_territory,
    split_detail,
)
from postoffice.message.address import Address, parse_address
from postoffice.settings.dispatch import HOST_NAME
from postoffice.settings.smtp_router import ALLOW_DETAIL, LOCAL_MAIL_DOMAINS

if TYPE_CHECKING:
    from postoffice.config.registry import Snapshot

SCHEMA_VERSION = 1
_MAX_LOGINS = 50_000                # spellings of logins kept: there are 2^n of each

_SCHEMA = """
CREATE TABLE accounts(
  id INTEGER PRIMARY KEY AUTOINCREMENT, role TEXT UNIQUE, name TEXT NOT NULL, login TEXT NOT NULL,
  login_key TEXT NOT NULL UNIQUE, postmaster INTEGER NOT NULL, enabled INTEGER NOT NULL, deliveries TEXT NOT NULL,
  mailbox_limit INTEGER, access TEXT NOT NULL, generation INTEGER NOT NULL, password_generation INTEGER NOT NULL,
  argon2 TEXT, scram_salt BLOB, scram_iterations INTEGER, scram_stored BLOB, scram_server BLOB);
CREATE TABLE addresses(
  local TEXT NOT NULL, domain TEXT NOT NULL, account INTEGER NOT NULL, position INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY(domain, local)) WITHOUT ROWID;
CREATE INDEX addresses_account ON addresses(account, position);
CREATE TABLE designated(account INTEGER PRIMARY KEY, position INTEGER NOT NULL);
CREATE TABLE removed_accounts(id INTEGER PRIMARY KEY, address TEXT NOT NULL, seconds REAL NOT NULL);
CREATE TABLE directory_state(one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL);
INSERT INTO directory_state VALUES(1, 1);
"""
# An account with its addresses in one row: position 0 is the main one, absent where it is computed.
_SELECT = """
SELECT id, role, name, login, postmaster, enabled, deliveries, mailbox_limit, access, generation, password_generation,
  argon2 IS NOT NULL, (SELECT text FROM addresses WHERE account=id AND position=0),
  (SELECT group_concat(text, x'0A' ORDER BY position) FROM addresses WHERE account=id AND position>0)
FROM accounts """


class Settings(Protocol):
    """`config.saved.SavedSettings`, as far as the directory needs it."""

    def current(self) -> Snapshot: ...


class SqliteDirectory:
    """See `directory.api.Directory`; the methods below `list_accounts` are for those who change it.

    ``current`` gives the present settings and must be cheap. Raises PostOfficeError when the file is of a newer
    version, apsw errors when it cannot be used."""

    def __init__(self, path: Path, current: Callable[[], Snapshot], *, hold_seconds: float = 0.0) -> None:
        """``hold_seconds``: how old an answer may be. A busy process asks many times a millisecond."""
        self._current = current
        self._hold_seconds = hold_seconds
        self._held_until = 0.0
        self._connection = open_database(path)
        self._execute = self._connection.execute
        self._snapshot: Snapshot | None = None
        self._territory: Territory = build_territory("", (), allow_detail=True)
        self._generation = -1
        self._resolutions: dict[tuple[str, str], ToAccounts] = {}
        self._accounts: dict[AccountId, Account] = {}
        self._logins: dict[str, AccountId] = {}
        self._roles: dict[str, AccountId] = {}              # empty: not read yet
        self._create_tables()
        self._refresh()

    @classmethod
    def open(cls, path: Path, settings: Settings) -> SqliteDirectory:
        return cls(path, settings.current)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> SqliteDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- look-ups ------------------------------------------------------------------------------------------------

    def resolve(self, address: Address) -> Resolution:
        """See `Directory.resolve`. An address of a stopped account is `NoSuchUser`, marked so."""
        self._refresh()
        key = address.key
        known = self._resolutions.get(key)
        if known is not None:
            return known
        local, domain = key
        territory = self._territory
        if not territory.owns(domain):
            return Elsewhere(address.domain)
        account = self._find_owner(local, domain)
        if account is not None:
            found = self._find_receivers(account)
            if isinstance(found, ToAccounts):
                # Whole addresses alone are kept: of details and unknown names a sender can think up any number.
                self._resolutions[key] = found
            return found
        if territory.allow_detail and (base := split_detail(local)):
            account = self._find_owner(base, domain)
        return NoSuchUser() if account is None else self._find_receivers(account)

    def find_login(self, name: str) -> Account | None:
        """See `Directory.find_login`. Any text may be given; what can be no login is unknown."""
        self._refresh()
        known = self._logins.get(name)
        if known is not None:
            return self._accounts[known]
        if "@" in name:
            try:
                local, domain = parse_address(name, utf8=True).key
            except ValueError:
                return None
            account = self._find_owner(local, domain)
        else:
            if not is_login(name):
                return None
            row = self._fetch("SELECT id FROM accounts WHERE login_key=?", (get_login_key(name),))
            account = self._load(row[0]) if row else None
        if account is not None and len(self._logins) < _MAX_LOGINS:
            self._logins[name] = account.id
        return account

    def find_address(self, address: Address) -> Account | None:
        """Whose address this is, exactly (no detail, no forwarding), stopped accounts included."""
        self._refresh()
        return self._find_owner(*address.key)

    def find_account(self, account_id: AccountId) -> Account | None:
        self._refresh()
        return self._load(account_id)

    def get_credentials(self, account_id: AccountId) -> Credentials | None:
        row = self._fetch("SELECT argon2, scram_salt, scram_iterations, scram_stored, scram_server"
                          " FROM accounts WHERE id=?", (account_id,))
        if row is None or row[0] is None:
            return None
        return Credentials(row[0], None if row[1] is None else ScramVerifier(*row[1:]))

    def owns_address(self, account: Account, address: Address) -> bool:
        self._refresh()
        local, domain = address.key
        owner = self._find_owner(local, domain)
        if owner is None and self._territory.allow_detail and (base := split_detail(local)):
            owner = self._find_owner(base, domain)
        return owner is not None and owner.id == account.id

    def list_accounts(self) -> Iterator[Account]:
        """All accounts as they are now, reserved ones included, in the order they were made."""
        self._refresh()
        return map(self._build, self._fetch_all(_SELECT + "ORDER BY id"))

    def look_again(self) -> None:
        """Let the next question be answered by the database, whatever is held."""
        self._held_until = 0.0

    def get_generation(self) -> int:
        self._refresh()
        assert self._snapshot is not None
        # Domains and host name are settings: their changes count as well, and both numbers only rise.
        return self._generation + self._snapshot.generation

    def get_territory(self) -> Territory:
        """Which domains are ours, by the present settings."""
        self._refresh()
        return self._territory

    # --- changes -------------------------------------------------------------------------------------------------

    def add(self, new: NewAccount) -> Account:
        """Make an account. Raises InputError naming the account that has an address or login already."""
        with self._change_all():
            account_id = self._insert(new)
        return self._get(account_id)

    def add_many(self, news: Iterable[NewAccount], progress: Callable[[int], None] = lambda _done: None) -> int:
        """Make all of them in one transaction, or none; the number made. ``progress`` hears how many are done."""
        done = 0
        with self._change_all():
            for done, new in enumerate(news, 1):
                self._insert(new)
                if done % 500 == 0:
                    progress(done)
        progress(done)
        return done

    def set(self, account: Account) -> Account:
        """Make the account with this id what ``account`` says (class, generations and password aside).

        Raises InputError for what another account has, PostOfficeError when the account was changed or removed since
        ``account`` was read."""
        with self._change_all():
            self._change(account)
        return self._get(account.id)

    def remove(self, account_id: AccountId) -> None:
        """Remove an account at once; its mailbox is marked to be purged. Reserved accounts stay."""
        with self._change_all():
            account = self._get(account_id)
            role = self._get_role(account_id)
            if role is not None:
                raise InputError("account", f"{account.address} is a reserved account and cannot be removed.")
            self._execute("DELETE FROM addresses WHERE account=?", (account_id,))
            self._execute("DELETE FROM designated WHERE account=?", (account_id,))
            self._execute("DELETE FROM accounts WHERE id=?", (account_id,))
            self._execute("INSERT INTO removed_accounts VALUES(?,?,?)", (account_id, account.address, time.time()))

    def set_credentials(self, account_id: AccountId, credentials: Credentials | None) -> None:
        """Give an account a new password; None takes it away, so that nobody can sign in."""
        with self._change_all():
            self._get(account_id)
            self._execute(
                "UPDATE accounts SET argon2=?, scram_salt=?, scram_iterations=?, scram_stored=?, scram_server=?,"
                " generation=generation+1, password_generation=password_generation+1 WHERE id=?",
                (*_spread_credentials(credentials), account_id))

    def ensure_reserved(self) -> None:
        """Make the reserved accounts that are missing."""
        with self._change_all():
            have = self._load_roles()
            for reserved in RESERVED:
                if reserved.role not in have:
                    self._insert_row(NewAccount(reserved.name, "", postmaster=reserved is POSTMASTER),
                                     reserved.local, reserved.role)

    def get_postmaster(self) -> Account:
        """The Postmaster account. Raises PostOfficeError before set-up has made it."""
        self._refresh()
        account = self._find_role(POSTMASTER.role)
        if account is None:
            raise PostOfficeError("There is no Postmaster account.", "Run: postoffice setup")
        return account

    def get_reserved_role(self, account_id: AccountId) -> str | None:
        """The role of a reserved account; None for the others."""
        self._refresh()
        return self._get_role(account_id)

    def list_designated(self) -> list[Account]:
        """The designated postmasters, in the order they were named."""
        self._refresh()
        rows = self._fetch_all("SELECT account FROM designated ORDER BY position")
        return [account for (account_id,) in rows if (account := self._load(account_id)) is not None]

    def set_designated(self, accounts: Sequence[AccountId]) -> None:
        """Replace the designated postmasters."""
        with self._change_all():
            self._execute("DELETE FROM designated")
            for position, account_id in enumerate(dict.fromkeys(accounts)):
                if self._get_role(account_id) is not None:
                    raise InputError("address", f"{self._get(account_id).address} is a reserved account.",
                                     "Name an account that somebody reads.")
                self._execute("INSERT INTO designated VALUES(?,?)", (account_id, position))

    def list_removed(self) -> list[RemovedAccount]:
        """Removed accounts whose mailboxes have not been purged yet."""
        return [RemovedAccount(*row) for row in
                self._fetch_all("SELECT id, address, seconds FROM removed_accounts ORDER BY id")]

    def forget_removed(self, account_id: AccountId) -> None:
        """The mailbox of a removed account has been purged."""
        with self._change_all():
            self._execute("DELETE FROM removed_accounts WHERE id=?", (account_id,))

    # --- inside --------------------------------------------------------------------------------------------------

    def _create_tables(self) -> None:
        with transaction(self._connection):
            self._execute("CREATE TABLE IF NOT EXISTS schema_versions(owner TEXT PRIMARY KEY, version INTEGER NOT NULL)"
                          " WITHOUT ROWID")
            row = self._fetch("SELECT version FROM schema_versions WHERE owner='directory'")
            if row is None:
                self._execute(_SCHEMA)
                self._execute("INSERT INTO schema_versions VALUES('directory', ?)", (SCHEMA_VERSION,))
            elif row[0] > SCHEMA_VERSION:
                raise PostOfficeError("The account database was written by a newer version of Post.Office.",
                                      "Install that version or a newer one.")

    def _refresh(self) -> None:
        """Forget what may have changed: asked of the database each time, never of a notice."""
        if self._hold_seconds:
            now = time.monotonic()
            if now < self._held_until:
                return
            self._held_until = now + self._hold_seconds
        snapshot = self._current()
        # 2 µs; PRAGMA data_version, made for this, is prepared anew each time and takes 4.
        generation: int = self._fetch("SELECT generation FROM directory_state")[0]
        if snapshot is self._snapshot and generation == self._generation:
            return
        if snapshot is not self._snapshot:
            domains = snapshot[LOCAL_MAIL_DOMAINS]
            self._territory = build_territory(snapshot[HOST_NAME], domains, allow_detail=snapshot[ALLOW_DETAIL])
        self._forget()
        self._snapshot, self._generation = snapshot, generation

    def _forget(self) -> None:
        self._resolutions.clear()
        self._accounts.clear()
        self._logins.clear()
        self._roles.clear()

    def _find_owner(self, local: str, domain: str) -> Account | None:
        """The account of an address key; reserved names are at home in every domain of ours."""
        row = self._fetch("SELECT account FROM addresses WHERE domain=? AND local=?", (domain, local))
        if row is not None:
            return self._load(row[0])
        reserved = RESERVED_BY_LOCAL.get(local)
        if reserved is not None and self._territory.owns(domain):
            return self._find_role(reserved.role)
        return None

    def _find_receivers(self, account: Account) -> Resolution:
        if account.account_class is AccountClass.RESERVED:
            # Until they can act on mail themselves, what comes for the managers is read by a human.
            account = self._find_role(POSTMASTER.role) or account
        if self._get_role(account.id) == POSTMASTER.role:
            # A designated postmaster who is stopped must not make mail for Postmaster vanish.
            designated = tuple(one for one in self.list_designated() if one.enabled)
            return ToAccounts(designated or (account,))
        return ToAccounts((account,)) if account.enabled else NoSuchUser(stopped=True)

    def _find_role(self, role: str) -> Account | None:
        account_id = self._load_roles().get(role)
        return None if account_id is None else self._load(account_id)

    def _get_role(self, account_id: AccountId) -> str | None:
        for role, reserved_id in self._load_roles().items():
            if reserved_id == account_id:
                return role
        return None

    def _load_roles(self) -> dict[str, AccountId]:
        if not self._roles:
            self._roles.update(self._fetch_all("SELECT role, id FROM accounts WHERE role IS NOT NULL"))
        return self._roles

    def _get(self, account_id: AccountId) -> Account:
        account = self.find_account(account_id)
        if account is None:
            raise PostOfficeError("This account does not exist any more.")
        return account

    def _load(self, account_id: AccountId) -> Account | None:
        account = self._accounts.get(account_id)
        if account is None:
            row = self._fetch(_SELECT + "WHERE id=?", (account_id,))
            if row is None:
                return None
            account = self._accounts[account_id] = self._build(row)
        return account

    def _build(self, row: Sequence[Any]) -> Account:
        (account_id, role, name, login, postmaster, enabled, deliveries, limit, access, generation,
         password_generation, has_password, main, more) = row
        if main is None:
            main = f"{RESERVED_BY_ROLE[role].local}@{self._territory.host}"
        if role is not None and role != POSTMASTER.role:
            account_class = AccountClass.RESERVED
        elif postmaster:
            account_class = AccountClass.ADMINISTRATIVE
        else:
            account_class = AccountClass.GENERAL
        return Account(
            id=account_id, name=name, address=main, addresses=tuple(more.split("\n")) if more else (), login=login,
            account_class=account_class, postmaster=bool(postmaster), enabled=bool(enabled),
            deliveries=_split(deliveries), mailbox_limit=limit,
            access=tuple(access.split("\n")) if access else (), generation=generation,
            has_password=bool(has_password), password_generation=password_generation)

    def _insert(self, new: NewAccount) -> AccountId:
        return self._insert_row(new, new.login or self._choose_login(new.address), None)

    def _choose_login(self, address: str) -> str:
        """The local part where it is free, else the whole address with its @ made a dot, counted up."""
        local = parse_address(address, utf8=True).local
        base = local if is_login(local) else "".join(char for char in local if is_login(char)) or "user"
        choice, number = base, 1
        while self._fetch("SELECT 1 FROM accounts WHERE login_key=?", (get_login_key(choice),)):
            number += 1
            choice = f"{base}-{number}"
        return choice

    def _insert_row(self, new: NewAccount, login: str, role: str | None) -> AccountId:
        self._check_login_free(login, None)
        self._execute(
            "INSERT INTO accounts(role, name, login, login_key, postmaster, enabled, deliveries, mailbox_limit, access,"
            " argon2, scram_salt, scram_iterations, scram_stored, scram_server, generation, password_generation)"
            " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,1,1)",
            (role, new.name, login, get_login_key(login), new.postmaster, new.enabled, _join(new.deliveries),
             new.mailbox_limit, "\n".join(new.access), *_spread_credentials(new.credentials)))
        account_id = self._connection.last_insert_rowid()
        if role is None:
            self._insert_addresses(account_id, (new.address, *new.addresses), None)
        return account_id

    def _insert_addresses(self, account_id: AccountId, texts: Sequence[str], role: str | None) -> None:
        for position, text in enumerate(texts):
            local, domain = parse_address(text, utf8=True).key if text else ("", "")
            if not text:
                continue
            reserved = RESERVED_BY_LOCAL.get(local)
            if reserved is not None and reserved.role != role:
                raise InputError("address", f"{text} belongs to the reserved account {reserved.name}.",
                                 "Mail for Postmaster reaches others by: postoffice postmaster forward add ADDRESS"
                                 if reserved is POSTMASTER else "")
            row = self._fetch("SELECT account FROM addresses WHERE domain=? AND local=?", (domain, local))
            if row is not None:
                if row[0] == account_id:
                    raise InputError("address", f"{text} is given twice.")
                raise InputError("address", f"{text} already belongs to {self._describe(row[0])}.")
            self._execute("INSERT INTO addresses VALUES(?,?,?,?,?)", (local, domain, account_id, position, text))

    def _change(self, account: Account) -> None:
        present = self._get(account.id)
        if present.generation != account.generation:
            raise PostOfficeError(f"{present.address} was changed by somebody else meanwhile.", "Look again.")
        role = self._get_role(account.id)
        if role == POSTMASTER.role and not (account.enabled and account.postmaster):
            raise InputError("account", "The Postmaster account cannot be stopped or lose its privilege.")
        self._check_login_free(account.login, account.id)
        self._execute(
            "UPDATE accounts SET name=?, login=?, login_key=?, postmaster=?, enabled=?, deliveries=?, mailbox_limit=?,"
            " access=?, generation=generation+1 WHERE id=?",
            (account.name, account.login, get_login_key(account.login), account.postmaster, account.enabled,
             _join(account.deliveries), account.mailbox_limit, "\n".join(account.access), account.id))
        if account.all_addresses != present.all_addresses:
            main = account.address
            if role is not None and main == f"{RESERVED_BY_ROLE[role].local}@{self._territory.host}":
                main = ""                   # stays computed and follows the host name
            self._execute("DELETE FROM addresses WHERE account=?", (account.id,))
            self._insert_addresses(account.id, (main, *account.addresses), role)

    def _check_login_free(self, login: str, own: AccountId | None) -> None:
        row = self._fetch("SELECT id FROM accounts WHERE login_key=?", (get_login_key(login),))
        if row is not None and row[0] != own:
            raise InputError("login", f"The POP3 login name {login} already belongs to {self._describe(row[0])}.")

    def _describe(self, account_id: AccountId) -> str:
        """Read past the caches: inside a transaction they may be older than what it wrote."""
        row = self._fetch("SELECT name, coalesce((SELECT text FROM addresses WHERE account=id AND position=0), login)"
                          " FROM accounts WHERE id=?", (account_id,))
        return "a removed account" if row is None else f"{row[0]} <{row[1]}>"

    @contextmanager
    def _change_all(self) -> Iterator[None]:
        """One change: all of it or nothing, the generation raised with it and the caches emptied."""
        try:
            with transaction(self._connection):
                yield
                self._execute("UPDATE directory_state SET generation=generation+1")
        except apsw.Error as error:
            raise TemporaryError(f"The account database cannot be written: {error}.") from error
        finally:
            self._held_until = 0.0
            self._forget()

    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row or None. The statement is finished on return, so no snapshot stays open."""
        rows = self._execute(statement, values).fetchall()
        return rows[0] if rows else None

    def _fetch_all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        rows: list[Any] = self._execute(statement, values).fetchall()
        return rows


def _join(deliveries: Iterable[Delivery]) -> str:
    return " ".join(sorted(delivery.value for delivery in deliveries))


@lru_cache(maxsize=64)
def _split(deliveries: str) -> frozenset[Delivery]:
    return frozenset(map(Delivery, deliveries.split()))


def _spread_credentials(credentials: Credentials | None) -> tuple[Any, ...]:
    if credentials is None:
        return (None,) * 5
    scram = credentials.scram
    if scram is None:
        return (credentials.argon2, None, None, None, None)
    return (credentials.argon2, scram.salt, scram.iterations, scram.stored_key, scram.server_key)

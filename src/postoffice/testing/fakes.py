"""Stand-ins for services of the mail path: a directory in a dictionary, a trace that remembers, a clock that waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from postoffice.directory.model import (
    Account,
    Credentials,
    Elsewhere,
    NoSuchUser,
    Resolution,
    ToAccounts,
)
from postoffice.message.address import Address, parse_address
from postoffice.trace.api import Summary
from postoffice.trace.events import Event, EventType
from postoffice.trace.rows import pack_row


class FakeClock:
    """Time that moves when told to."""

    def __init__(self, seconds: float = 1_795_000_000.0) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class FakeDirectory:
    """See `directory.api.Directory`. The accounts' own domains are the local ones; the first account is Postmaster.
    ``broken``: every question raises it."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self.accounts: dict[int, Account] = {}
        self.groups: dict[tuple[str, str], tuple[int, ...]] = {}    # an address that leads to several accounts
        self.generation = 1
        self.resolved = 0
        self.broken: Exception | None = None
        self._by_address: dict[tuple[str, str], Account] = {}
        self._domains: set[str] = set()
        for account in accounts:
            self.put(account)

    def put(self, account: Account) -> None:
        """Add or replace an account."""
        self.accounts[account.id] = account
        self._index()

    def remove(self, account_id: int) -> None:
        del self.accounts[account_id]
        self._index()

    def resolve(self, address: Address) -> Resolution:
        if self.broken is not None:
            raise self.broken
        self.resolved += 1
        key = address.key
        if key in self.groups:
            return ToAccounts(tuple(self.accounts[number] for number in self.groups[key]))
        if key[0] == "postmaster" and (not key[1] or key[1] in self._domains) and self.accounts:
            return ToAccounts((next(iter(self.accounts.values())),))
        if key[1] not in self._domains:
            return Elsewhere(key[1])
        account = self._by_address.get(key)
        if account is None:
            return NoSuchUser()
        return ToAccounts((account,)) if account.enabled else NoSuchUser(stopped=True)

    def find_login(self, name: str) -> Account | None:
        return next((a for a in self.accounts.values() if name in (a.login, *a.all_addresses)), None)

    def find_account(self, account_id: int) -> Account | None:
        return self.accounts.get(account_id)

    def get_credentials(self, account_id: int) -> Credentials | None:
        return None

    def owns_address(self, account: Account, address: Address) -> bool:
        return any(parse_address(one).key == address.key for one in account.all_addresses)

    def list_accounts(self) -> Iterator[Account]:
        return iter(list(self.accounts.values()))

    def get_generation(self) -> int:
        return self.generation

    def _index(self) -> None:
        self.generation += 1
        self._by_address = {
            parse_address(one).key: account for account in self.accounts.values() for one in account.all_addresses}
        self._domains |= {key[1] for key in self._by_address}       # a domain outlives its last account


class MemoryTrace:
    """See `trace.api.Trace`: what was told is there to be looked at."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.messages: list[tuple[Summary, list[Event]]] = []

    def record(self, event: Event) -> None:
        self.events.append(event)

    def record_message(self, summary: Summary, events: list[Event], packed: bytes | None = None) -> None:
        self.messages.append((summary, events))

    def pack_record(self, summary: Summary, events: list[Event]) -> bytes:
        return pack_row(summary, events)

    def list_values(self, event_type: EventType) -> list[tuple[object, ...]]:
        """The values of the events of one type, those of messages included."""
        told = [*self.events, *(event for _, events in self.messages for event in events)]
        return [event.values for event in told if event.type is event_type]

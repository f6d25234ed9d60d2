"""The directory as its users see it; `directory.sqlite.SqliteDirectory` is the real one, tests may use a fake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from postoffice.directory.model import Account, AccountId, Credentials, Resolution
from postoffice.message.address import Address


class Directory(Protocol):
    """Synchronous, on the loop's thread, answers current with every committed change of any process.

    Look-ups take under 50 µs warm; an answer is cached only as long as the database's generation stands.
    """

    def resolve(self, address: Address) -> Resolution:
        """Where mail for this address goes. Bare ``postmaster``, postmaster at every local domain and at an address
        literal of this host always resolve; ``user+detail`` reaches ``user`` while SMTP-Router/Config/AllowDetail."""

    def find_login(self, name: str) -> Account | None:
        """The account a login name or any of its addresses means, stopped ones included."""

    def find_account(self, account_id: AccountId) -> Account | None: ...

    def get_credentials(self, account_id: AccountId) -> Credentials | None: ...

    def owns_address(self, account: Account, address: Address) -> bool:
        """Whether ``address`` (detail part aside) is one of the account's own."""

    def list_accounts(self) -> Iterator[Account]: ...

    def get_generation(self) -> int:
        """Rises with every committed change of accounts, addresses or domains, seen at once in every process."""

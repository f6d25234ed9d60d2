"""What every implementation of `directory.api.Directory` must do, as tests to inherit.

A subclass names `open_directory`: a directory for the domain example.test whose first account is Postmaster, with the
accounts of `ACCOUNTS`, and says with ``set_enabled`` how an account is stopped.
"""

from __future__ import annotations

from postoffice.directory.api import Directory
from postoffice.directory.model import Account, Elsewhere, NoSuchUser, ToAccounts
from postoffice.message.address import Address

# Login -> additional addresses; the main address is login@example.test.
ACCOUNTS = {"yamada": ("info@example.test",), "suzuki": ()}


class DirectoryContract:
    """Mix into a test class."""

    directory: Directory

    def set_enabled(self, account: Account, *, enabled: bool) -> None:
        raise NotImplementedError

    def get_account(self, login: str) -> Account:
        account = self.directory.find_login(login)
        assert account is not None
        return account

    def test_addresses_resolve_to_their_account(self) -> None:
        yamada = self.get_account("yamada")
        for local, domain in (("yamada", "example.test"), ("Info", "EXAMPLE.test")):
            assert self.directory.resolve(Address(local, domain)) == ToAccounts((yamada,))

    def test_others_do_not(self) -> None:
        assert self.directory.resolve(Address("nobody", "example.test")) == NoSuchUser()
        assert self.directory.resolve(Address("yamada", "example.com")) == Elsewhere("example.com")

    def test_postmaster_always_resolves(self) -> None:
        for domain in ("", "example.test"):
            found = self.directory.resolve(Address("PostMaster", domain))
            assert isinstance(found, ToAccounts)
            assert len(found.accounts) == 1

    def test_login_names_and_addresses_sign_in(self) -> None:
        yamada = self.get_account("yamada")
        for name in ("yamada@example.test", "info@example.test"):
            assert self.directory.find_login(name) == yamada
        for name in ("nobody", "nobody@example.test", "", "yamada "):
            assert self.directory.find_login(name) is None

    def test_accounts_are_found_by_id(self) -> None:
        yamada = self.get_account("yamada")
        assert self.directory.find_account(yamada.id) == yamada
        assert self.directory.find_account(1 << 40) is None
        assert self.directory.get_credentials(1 << 40) is None
        assert {"yamada", "suzuki"} <= {account.login for account in self.directory.list_accounts()}

    def test_addresses_have_owners(self) -> None:
        yamada, suzuki = self.get_account("yamada"), self.get_account("suzuki")
        assert self.directory.owns_address(yamada, Address("INFO", "example.test"))
        assert not self.directory.owns_address(suzuki, Address("info", "example.test"))
        assert not self.directory.owns_address(yamada, Address("yamada", "example.com"))

    def test_a_stopped_account_gets_nothing_and_the_generation_rises(self) -> None:
        before = self.directory.get_generation()
        self.set_enabled(self.get_account("yamada"), enabled=False)
        assert self.directory.get_generation() > before
        assert self.directory.resolve(Address("yamada", "example.test")) == NoSuchUser(stopped=True)
        assert not self.get_account("yamada").enabled
        self.set_enabled(self.get_account("yamada"), enabled=True)
        assert isinstance(self.directory.resolve(Address("yamada", "example.test")), ToAccounts)

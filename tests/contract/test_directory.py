"""The directory's contract, on the real one and on the stand-in that other tests use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postoffice.directory.model import Account, NewAccount
from postoffice.directory.sqlite import SqliteDirectory
from postoffice.testing.directory_contract import ACCOUNTS, DirectoryContract
from postoffice.testing.fakes import FakeDirectory
from postoffice.testing.signin import build_account
from tests.unit.offices import Settings, open_directory


class TestSqliteDirectory(DirectoryContract):
    @pytest.fixture(autouse=True)
    def prepare(self, tmp_path: Path) -> Iterator[None]:
        with open_directory(tmp_path, Settings()) as directory:
            for login, addresses in ACCOUNTS.items():
                directory.add(NewAccount(login.title(), f"{login}@example.test", addresses))
            self.directory = directory
            yield

    def set_enabled(self, account: Account, *, enabled: bool) -> None:
        assert isinstance(self.directory, SqliteDirectory)
        self.directory.set(replace(account, enabled=enabled))


class TestFakeDirectory(DirectoryContract):
    @pytest.fixture(autouse=True)
    def prepare(self) -> None:
        accounts = [replace(build_account(number, login), addresses=addresses)
                    for number, (login, addresses) in enumerate(ACCOUNTS.items(), 2)]
        self.directory = FakeDirectory([build_account(1, "postmaster"), *accounts])

    def set_enabled(self, account: Account, *, enabled: bool) -> None:
        assert isinstance(self.directory, FakeDirectory)
        self.directory.put(replace(account, enabled=enabled))

"""The directory's database: who an address reaches, whom a login means, and that every change is seen at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postoffice.base.errors import InputError, PostOfficeError
from postoffice.config.saved import open_database
from postoffice.directory.model import (
    AccountClass,
    Credentials,
    Elsewhere,
    NewAccount,
    NoSuchUser,
    ScramVerifier,
    ToAccounts,
)
from postoffice.directory.sqlite import SqliteDirectory
from postoffice.message.address import parse_address
from tests.unit.offices import Settings, add, open_directory


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def directory(tmp_path: Path, settings: Settings) -> Iterator[SqliteDirectory]:
    with open_directory(tmp_path, settings) as opened:
        yield opened


def resolve(directory: SqliteDirectory, text: str) -> object:
    """The logins that get mail for an address, or the other answers."""
    found = directory.resolve(parse_address(text, utf8=True))
    return [account.login for account in found.accounts] if isinstance(found, ToAccounts) else found


def test_addresses_compare_without_case_in_any_of_their_forms(directory: SqliteDirectory, settings: Settings) -> None:
    settings.change({"SMTP-Router/Config/LocalMailDomains": "example.test xn--r8jz45g.test"})
    add(directory, addresses=("Taro.Yamada@example.test", "taro@例え.test"))
    for text in ("yamada@example.test", "YAMADA@Example.TEST", "taro.yamada@EXAMPLE.test", "taro@xn--r8jz45g.test", "TARO@例え.test",
                 '"yamada"@example.test'):
        assert resolve(directory, text) == ["yamada"], text
    assert resolve(directory, "tar@example.test") == NoSuchUser()
    assert resolve(directory, "yamada@example.com") == Elsewhere("example.com")
    assert resolve(directory, "yamada@mail.example.test") == NoSuchUser()


def test_details_reach_the_user_while_the_key_allows(directory: SqliteDirectory, settings: Settings) -> None:
    add(directory)
    add(directory, "suzuki", addresses=("yamada+suzuki@example.test",))
    assert resolve(directory, "yamada+lists@example.test") == ["yamada"]
    assert resolve(directory, "Yamada+Suzuki@example.test") == ["suzuki"], "the whole address goes before"
    assert resolve(directory, "postmaster+x@example.test") == ["Postmaster"]
    assert resolve(directory, "+lists@example.test") == NoSuchUser()
    settings.change({"SMTP-Router/Config/AllowDetail": "no"})
    assert resolve(directory, "yamada+lists@example.test") == NoSuchUser()
    assert resolve(directory, "yamada+suzuki@example.test") == ["suzuki"]


@pytest.mark.parametrize("text", [
    "postmaster", "PostMaster@example.test", "postmaster@mail.example.test", "postmaster@[127.0.0.1]", "postmaster@[IPv6:::1]",
    "Account.Manager@mail.example.test", "configuration.manager@example.test", "error.handler@mail.example.test",
    "list.manager@mail.example.test", "MAILER-DAEMON@example.test",
])
def test_postmaster_gets_its_mail_and_the_managers(directory: SqliteDirectory, text: str) -> None:
    assert resolve(directory, text) == ["Postmaster"]


def test_postmaster_elsewhere_is_not_ours(directory: SqliteDirectory) -> None:
    assert resolve(directory, "postmaster@example.com") == Elsewhere("example.com")
    assert resolve(directory, "postmaster@[192.0.2.77]") == Elsewhere("[192.0.2.77]")
    assert resolve(directory, "yamada") == NoSuchUser()


def test_reserved_accounts_follow_the_host_name(directory: SqliteDirectory, settings: Settings) -> None:
    assert directory.get_postmaster().address == "Postmaster@mail.example.test"
    before = directory.get_generation()
    settings.change({"Dispatch/Config/HostName": "mx.other.test", "SMTP-Router/Config/LocalMailDomains": "other.test"})
    assert directory.get_generation() > before
    assert directory.get_postmaster().address == "Postmaster@mx.other.test"
    assert resolve(directory, "postmaster@other.test") == ["Postmaster"]
    assert resolve(directory, "postmaster@mail.example.test") == Elsewhere("mail.example.test")
    reserved = [a for a in directory.list_accounts() if a.account_class is AccountClass.RESERVED]
    assert sorted(a.address for a in reserved) == [
        f"{name}@mx.other.test" for name in
        ("Account.Manager", "Configuration.Manager", "Error.Handler", "List.Manager", "MAILER-DAEMON")]


def test_postmaster_may_have_addresses_of_its_own(directory: SqliteDirectory, settings: Settings) -> None:
    settings.change({"SMTP-Router/Config/LocalMailDomains": "example.test new.test"})
    account = directory.get_postmaster()
    account = directory.set(replace(account, addresses=("postmaster@new.test", "info@example.test")))
    assert account.address == "Postmaster@mail.example.test"
    assert resolve(directory, "info@example.test") == ["Postmaster"]
    settings.change({"Dispatch/Config/HostName": "mx.example.test"})
    account = directory.get_postmaster()
    assert account.all_addresses == ("Postmaster@mx.example.test", "postmaster@new.test", "info@example.test"), "still computed"
    account = directory.set(replace(account, address="Postmaster@example.test"))
    settings.change({"Dispatch/Config/HostName": "mail.example.test"})
    assert directory.get_postmaster().address == "Postmaster@example.test", "given by hand, it stays"
    assert [a.address for a in directory.list_accounts()][0] == "Postmaster@example.test"


def test_ensure_reserved_twice_changes_nothing(directory: SqliteDirectory) -> None:
    before = list(directory.list_accounts())
    directory.ensure_reserved()
    assert list(directory.list_accounts()) == before
    assert len(before) == 6


def test_designated_postmasters_get_the_mail_instead(directory: SqliteDirectory) -> None:
    yamada, suzuki = add(directory), add(directory, "suzuki")
    directory.set_designated([yamada.id, suzuki.id, yamada.id])
    assert resolve(directory, "postmaster") == ["yamada", "suzuki"]
    assert resolve(directory, "list.manager@mail.example.test") == ["yamada", "suzuki"]
    suzuki = directory.set(replace(suzuki, enabled=False))
    assert resolve(directory, "postmaster@example.test") == ["yamada"]
    directory.remove(yamada.id)
    assert resolve(directory, "postmaster@example.test") == ["Postmaster"], "none can take it: its own mailbox does"
    assert [a.login for a in directory.list_designated()] == ["suzuki"]
    with pytest.raises(InputError, match="reserved account"):
        directory.set_designated([directory.get_postmaster().id])
    assert [a.login for a in directory.list_designated()] == ["suzuki"], "nothing changed"


def test_every_login_takes_the_name_or_any_address(directory: SqliteDirectory) -> None:
    account = add(directory, login="Hanako.Y", addresses=("hanako@example.test",))
    for name in ("hanako.y", "HANAKO.Y", "yamada@example.test", "Hanako@EXAMPLE.TEST"):
        assert directory.find_login(name) == account, name
    postmaster = directory.get_postmaster()
    for name in ("postmaster", "Postmaster@mail.example.test", "postmaster@example.test"):
        assert directory.find_login(name) == postmaster, name
    for name in ("yamada", "", "@", "hanako+x@example.test", "hanako.y ", " hanako.y", "hanako.y\0", "*", "%", "x" * 10_000, "a@" * 5000,
                 "yamada@example.test@example.test", "\ud800", "yamada@\ud800"):
        assert directory.find_login(name) is None, name


def test_composed_and_decomposed_logins_are_one(directory: SqliteDirectory) -> None:
    account = add(directory, login="ガード")
    assert directory.find_login("カ\u3099ート\u3099") == account
    with pytest.raises(InputError, match="already belongs to Yamada <yamada@example.test>"):
        add(directory, "other", login="カ\u3099ード")


def test_the_default_login_is_the_local_part_where_free(directory: SqliteDirectory, settings: Settings) -> None:
    settings.change({"SMTP-Router/Config/LocalMailDomains": "example.test second.test"})
    assert add(directory).login == "yamada"
    assert directory.add(NewAccount("Other", "Yamada@second.test")).login == "Yamada-2"
    assert directory.add(NewAccount("Odd", "a=b{c}@second.test")).login == "abc"
    assert directory.add(NewAccount("Odder", "{}@second.test")).login == "user"


def test_duplicates_are_refused_naming_who_has_it(directory: SqliteDirectory) -> None:
    add(directory, addresses=("info@example.test",))
    count = len(list(directory.list_accounts()))
    with pytest.raises(InputError, match="INFO@example.test already belongs to Yamada <yamada@example.test>"):
        add(directory, "suzuki", addresses=("INFO@example.test",))
    with pytest.raises(InputError, match="YAMADA already belongs to Yamada"):
        add(directory, "suzuki", login="YAMADA")
    with pytest.raises(InputError, match="given twice"):
        add(directory, "suzuki", addresses=("Suzuki@example.test",))
    with pytest.raises(InputError, match="postmaster forward add"):
        add(directory, "suzuki", addresses=("postmaster@example.test",))
    with pytest.raises(InputError, match="reserved account List Manager"):
        add(directory, "list.manager", login="lists")
    assert len(list(directory.list_accounts())) == count, "nothing was made"
    assert add(directory, "suzuki").login == "suzuki", "and the failed ones left nothing behind"


def test_many_are_made_or_none(directory: SqliteDirectory) -> None:
    told: list[int] = []
    assert directory.add_many((NewAccount(f"U{n}", f"u{n}@example.test") for n in range(1200)), told.append) == 1200
    assert told == [500, 1000, 1200]
    count = len(list(directory.list_accounts()))
    with pytest.raises(InputError, match="u7@example.test already belongs to U7"):
        directory.add_many(NewAccount(f"V{n}", address) for n, address in enumerate(["v1@example.test", "u7@example.test"]))
    assert len(list(directory.list_accounts())) == count
    assert directory.find_login("v1@example.test") is None


def test_changes_are_seen_at_once_by_another_process(tmp_path: Path, directory: SqliteDirectory, settings: Settings) -> None:
    account = add(directory)
    with SqliteDirectory.open(tmp_path / "office.db", settings) as other:
        assert resolve(other, "yamada@example.test") == ["yamada"]
        assert other.find_login("yamada") == account
        generation = other.get_generation()
        changed = directory.set(replace(account, login="taro"))
        assert changed.generation == account.generation + 1
        assert other.get_generation() > generation
        assert resolve(other, "yamada@example.test") == ["taro"]
        assert other.find_login("yamada") is None
        assert other.find_account(account.id) == changed
        directory.set(replace(changed, enabled=False))
        assert resolve(other, "yamada@example.test") == NoSuchUser(stopped=True)
        directory.remove(account.id)
        assert resolve(other, "yamada@example.test") == NoSuchUser()
        assert other.find_account(account.id) is None


def test_a_stale_change_is_refused(directory: SqliteDirectory) -> None:
    account = add(directory)
    directory.set(replace(account, name="New"))
    with pytest.raises(PostOfficeError, match="changed by somebody else"):
        directory.set(replace(account, name="Old"))
    assert directory.find_login("yamada").name == "New"     # type: ignore[union-attr]


def test_passwords_have_a_generation_of_their_own(directory: SqliteDirectory) -> None:
    account = add(directory)
    assert directory.get_credentials(account.id) is None
    stored = Credentials("$argon2id$...", ScramVerifier(b"salt", 100_000, b"s" * 32, b"k" * 32))
    directory.set_credentials(account.id, stored)
    with_password = directory.find_account(account.id)
    assert with_password is not None and with_password.has_password
    assert with_password.password_generation > account.password_generation
    assert directory.get_credentials(account.id) == stored
    renamed = directory.set(replace(with_password, name="Other"))
    assert renamed.password_generation == with_password.password_generation
    assert directory.get_credentials(account.id) == stored, "a change of the account leaves the password"
    directory.set_credentials(account.id, None)
    assert directory.get_credentials(account.id) is None


def test_a_removed_account_leaves_a_mark_and_its_id_is_never_used_again(directory: SqliteDirectory) -> None:
    first = add(directory)
    directory.remove(first.id)
    assert [(one.id, one.address) for one in directory.list_removed()] == [(first.id, "yamada@example.test")]
    second = add(directory)
    assert second.id > first.id, "or the new account would read the old one's mail"
    directory.forget_removed(first.id)
    assert directory.list_removed() == []


def test_reserved_accounts_cannot_be_removed_nor_postmaster_stopped(directory: SqliteDirectory) -> None:
    postmaster = directory.get_postmaster()
    for account in list(directory.list_accounts()):
        with pytest.raises(InputError, match="reserved account"):
            directory.remove(account.id)
    with pytest.raises(InputError, match="cannot be stopped"):
        directory.set(replace(postmaster, enabled=False))


def test_classes(directory: SqliteDirectory) -> None:
    assert directory.get_postmaster().account_class is AccountClass.ADMINISTRATIVE
    assert add(directory).account_class is AccountClass.GENERAL
    assert add(directory, "suzuki", postmaster=True).account_class is AccountClass.ADMINISTRATIVE


def test_owned_addresses(directory: SqliteDirectory) -> None:
    yamada, suzuki = add(directory, addresses=("info@example.test",)), add(directory, "suzuki")
    for text in ("yamada@example.test", "INFO@example.test", "info+x@example.test"):
        assert directory.owns_address(yamada, parse_address(text)), text
        assert not directory.owns_address(suzuki, parse_address(text)), text
    assert directory.owns_address(directory.get_postmaster(), parse_address("postmaster@example.test"))
    assert not directory.owns_address(yamada, parse_address("yamada@example.com"))


def test_an_address_in_a_domain_taken_from_the_list_gets_no_mail(directory: SqliteDirectory, settings: Settings) -> None:
    add(directory)
    assert resolve(directory, "yamada@example.test") == ["yamada"]
    settings.change({"SMTP-Router/Config/LocalMailDomains": "other.test"})
    assert resolve(directory, "yamada@example.test") == Elsewhere("example.test")
    settings.change({"SMTP-Router/Config/LocalMailDomains": "example.test"})
    assert resolve(directory, "yamada@example.test") == ["yamada"]


def test_a_newer_database_is_refused(tmp_path: Path, settings: Settings) -> None:
    open_directory(tmp_path, settings).close()
    connection = open_database(tmp_path / "office.db")
    connection.execute("UPDATE schema_versions SET version=99 WHERE owner='directory'")
    connection.close()
    with pytest.raises(PostOfficeError, match="newer version"):
        SqliteDirectory.open(tmp_path / "office.db", settings)


def test_details_do_not_fill_the_memory(directory: SqliteDirectory) -> None:
    add(directory)
    for number in range(3000):
        assert resolve(directory, f"yamada+{number}@example.test") == ["yamada"]
        assert resolve(directory, f"nobody{number}@example.test") == NoSuchUser()
    assert not directory._resolutions, "only whole addresses are kept, and there are only so many of them"

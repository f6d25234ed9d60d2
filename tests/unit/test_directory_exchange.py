"""Accounts as CSV: what a spreadsheet writes is read, faults are named by line, all rows are made or none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from postoffice.base.errors import InputError
from postoffice.directory.credentials import build_credentials, format_scram, verify_password
from postoffice.directory.exchange import Report, export_accounts, import_accounts
from postoffice.directory.model import Credentials, ScramVerifier
from postoffice.directory.sqlite import SqliteDirectory
from tests.unit.offices import Settings, add, open_directory

VERIFIER = ScramVerifier(b"0123456789abcdef", 100_000, b"s" * 32, b"k" * 32)


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def directory(tmp_path: Path, settings: Settings) -> Iterator[SqliteDirectory]:
    with open_directory(tmp_path, settings) as opened:
        yield opened


def take(directory: SqliteDirectory, settings: Settings, text: str, *, encoding: str = "utf-8", dry_run: bool = False) -> Report:
    return import_accounts(directory, settings.current(), text.encode(encoding), dry_run=dry_run)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("heading", ["address,name,password", "メールアドレス,氏名,パスワード"])
def test_what_spreadsheets_write(directory: SqliteDirectory, settings: Settings, encoding: str, heading: str) -> None:
    report = take(directory, settings, f"{heading}\r\nyamada@example.test,山田 ①太郎,open sesame\r\n\r\n,,\r\n", encoding=encoding)
    assert report == Report(1, ())
    account = directory.find_login("yamada")
    assert account is not None and account.name == "山田 ①太郎"
    credentials = directory.get_credentials(account.id)
    assert credentials is not None and verify_password(credentials.argon2, "open sesame")


def test_all_columns(directory: SqliteDirectory, settings: Settings) -> None:
    stored = build_credentials("open sesame", settings.current())
    report = take(directory, settings,
                  "name,address,login,addresses,limit,access,postmaster,enabled,argon2,scram\n"
                  f'"Yamada, Taro",yamada@example.test,taro,"info@example.test;""a b""@example.test",1G,192.0.2.0/24 example.com,yes,no,'
                  f'"{stored.argon2}",{format_scram(VERIFIER)}\n')
    assert report.problems == ()
    account = directory.find_login("taro")
    assert account is not None
    assert (account.name, account.all_addresses) == ("Yamada, Taro", ("yamada@example.test", "info@example.test", '"a b"@example.test'))
    assert (account.mailbox_limit, account.access) == (1 << 30, ("192.0.2.0/24", "example.com"))
    assert (account.postmaster, account.enabled) == (True, False)
    assert directory.get_credentials(account.id) == Credentials(stored.argon2, VERIFIER)


def test_every_fault_is_named_with_its_line_and_nothing_is_made(directory: SqliteDirectory, settings: Settings) -> None:
    add(directory, "suzuki")
    before = list(directory.list_accounts())
    report = take(directory, settings, "\n".join([
        "address,name,login,password,limit,enabled,argon2,addresses",
        "good@example.test,Good,,open sesame,,,,",
        "bad@example.com,Bad domain,,,,,,",
        '"new@example.test","Two',
        'lines",,,,,,',
        "SUZUKI@example.test,Taken,,,,,,",
        "GOOD@example.test,Twice,,,,,,",
        "a@example.test,A,g%d,,,,,",
        "b@example.test,B,Suzuki,,,,,",
        "c@example.test,C,,short,,,,",
        "d@example.test,D,,,huge,,,",
        "e@example.test,E,,,,maybe,,",
        "f@example.test,F,,,,,secret,",
        "g@example.test,G,,open sesame,,,$argon2id$x,",
        "postmaster@example.test,H,,,,,,",
        "i@example.test,I,,,,,,,too many",
        "j@example.test,,,,,,,",
        "k@example.test,K,,,,,,l@example.test;k@example.test;m@example.com",
    ]))
    assert report.rows == 0
    assert [(problem.line, problem.column) for problem in report.problems] == [
        (3, "address"), (4, "name"), (6, "address"), (7, "address"), (8, "login"), (9, "login"), (10, "password"), (11, "limit"),
        (12, "enabled"), (13, "argon2"), (14, "password"), (15, "address"), (16, ""), (17, "name"), (18, "address")]
    said = "\n".join(map(str, report.problems))
    assert "line 3: address: example.com is not a local mail domain" in said
    assert "SUZUKI@example.test already belongs to Suzuki <suzuki@example.test>" in said
    assert "GOOD@example.test stands in line 2 already" in said
    assert "the character %" in said
    assert "short" not in said, "a password is never repeated"
    assert list(directory.list_accounts()) == before


def test_a_dry_run_judges_and_makes_nothing(directory: SqliteDirectory, settings: Settings) -> None:
    before = list(directory.list_accounts())
    assert take(directory, settings, "address,name\na@example.test,A\nb@example.test,B\n", dry_run=True) == Report(2, ())
    assert take(directory, settings, "address,name\na@example.test,A\nb@example.com,B\n", dry_run=True).rows == 0
    assert list(directory.list_accounts()) == before


@pytest.mark.parametrize(("data", "said"), [
    (b"", "address is missing"), (b"name\nA\n", "address is missing"), (b"address,name,colour\n", r"no column \[colour\]"),
    (b"address,name,name\n", "twice"), ("address,name\n".encode("utf-16"), "UTF-16"), (b"address,name\na@example.test,\xff\xff\xfd\n", "neither UTF-8"),
])
def test_files_that_are_no_such_list(directory: SqliteDirectory, settings: Settings, data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        import_accounts(directory, settings.current(), data)


def test_broken_csv_is_a_fault_with_its_line(directory: SqliteDirectory, settings: Settings) -> None:
    report = take(directory, settings, 'address,name\na@example.test,A\nb@example.test,"B"x\n')
    assert report.rows == 0
    assert [problem.line for problem in report.problems] == [3]


def test_a_login_asked_for_goes_before_one_that_is_chosen(directory: SqliteDirectory, settings: Settings) -> None:
    report = take(directory, settings, "address,name,login\nyamada@example.test,First,\nother@example.test,Second,yamada\n")
    assert report == Report(2, ())
    assert {account.name: account.login for account in directory.list_accounts() if account.name in ("First", "Second")} == {
        "First": "yamada-2", "Second": "yamada"}


def test_export_and_import_are_inverse(directory: SqliteDirectory, settings: Settings, tmp_path: Path) -> None:
    stored = Credentials(build_credentials("open sesame", settings.current()).argon2, VERIFIER)
    add(directory, addresses=("info@example.test", '"a b"@example.test'), credentials=stored, mailbox_limit=0)
    add(directory, "suzuki", access=("192.0.2.0/24",), mailbox_limit=5, enabled=False, postmaster=True)
    add(directory, "tanaka", login="田中,x")
    text = export_accounts(directory)
    (tmp_path / "other").mkdir()
    with open_directory(tmp_path / "other", settings) as other:
        assert import_accounts(other, settings.current(), text.encode()) == Report(3, ())
        assert export_accounts(other) == text
        account = other.find_login("yamada")
        assert account is not None and other.get_credentials(account.id) == stored
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["address"] for row in rows] == ["yamada@example.test", "suzuki@example.test", "tanaka@example.test"], "no reserved ones"
    assert "argon2" not in export_accounts(directory, with_passwords=False)


def test_progress_is_told_to_the_end(directory: SqliteDirectory, settings: Settings) -> None:
    told: list[tuple[int, int]] = []
    text = "address,name\n" + "".join(f"u{n}@example.test,U{n}\n" for n in range(1100))
    import_accounts(directory, settings.current(), text.encode(), progress=lambda done, total: told.append((done, total)))
    assert told == [(500, 1100), (1000, 1100), (1100, 1100)]

"""Accounts as CSV: many at once, in and out.

Reads UTF-8 (with or without BOM) and cp932, as Japanese spreadsheets write it; column names in English or Japanese.
Every row is judged before any is written, each fault named with its line; then all rows are made in one transaction, or
none. Export and import are inverse to each other, password hashes included; the reserved accounts belong to an
installation and stay out of both.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from postoffice.base.errors import InputError
from postoffice.directory.admission import check_access, check_address, check_limit, check_name, is_reserved
from postoffice.directory.credentials import build_credentials, check_password, format_scram, parse_argon2, parse_scram
from postoffice.directory.logins import check_login, get_login_key
from postoffice.directory.model import AccountClass, Credentials, NewAccount
from postoffice.directory.sqlite import SqliteDirectory
from postoffice.message.address import parse_address
from postoffice.settings.account_manager import PASSWORD

if TYPE_CHECKING:
    from postoffice.config.registry import Snapshot

COLUMNS = ("address", "name", "login", "addresses", "limit", "access", "postmaster", "enabled", "password", "argon2",
           "scram")
_JAPANESE = {
    "メールアドレス": "address", "アドレス": "address", "氏名": "name", "名前": "name", "ログイン名": "login",
    "追加アドレス": "addresses", "容量上限": "limit", "アクセス制限": "access",
    "管理者権限": "postmaster", "有効": "enabled", "パスワード": "password",
}
_YES = {"yes": True, "no": False, "はい": True, "いいえ": False}
_NOT_CP932 = re.compile("[\x80\xa0\uf8f0-\uf8f3]")     # what Python's codec makes of octets that cp932 has not
_SEPARATOR = ";"                            # between several addresses in one field

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line of the file (1 is the heading); ``column`` "" concerns the whole line."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Report:
    """``rows`` is how many accounts were made, or would be; with a problem none was."""

    rows: int
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Seen:
    """What earlier lines of the file claim already."""

    addresses: dict[tuple[str, str], int] = field(default_factory=dict)
    logins: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    account: NewAccount
    password: str


def import_accounts(directory: SqliteDirectory, settings: Snapshot, data: bytes, *, dry_run: bool = False,
                    progress: Progress = lambda _done, _total: None) -> Report:
    """Make the accounts of a CSV file. ``progress`` hears (done, total). Raises InputError when the file as a whole
    cannot be read. Passwords in clear take about 80 ms each."""
    rows, problems = _read(directory, settings, data)
    if problems or dry_run:
        return Report(0 if problems else len(rows), tuple(problems))
    rows.sort(key=lambda row: not row.account.login)     # names asked for go before names chosen
    ready = _hash_passwords(rows, settings, progress)
    return Report(directory.add_many(ready, lambda done: progress(done, len(rows))), ())


def export_accounts(directory: SqliteDirectory, *, with_passwords: bool = True) -> str:
    """All accounts but the reserved ones, a heading first, lines ending in CRLF (RFC 4180)."""
    text = io.StringIO()
    columns = [column for column in COLUMNS if column != "password"]
    if not with_passwords:
        columns = [column for column in columns if column not in {"argon2", "scram"}]
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    for account in directory.list_accounts():
        if directory.get_reserved_role(account.id) is not None:
            continue
        credentials = directory.get_credentials(account.id) if with_passwords else None
        writer.writerow({
            "address": account.address, "name": account.name, "login": account.login,
            "addresses": _SEPARATOR.join(account.addresses), "access": " ".join(account.access),
            "limit": "" if account.mailbox_limit is None else str(account.mailbox_limit),
            "postmaster": "yes" if account.account_class is AccountClass.ADMINISTRATIVE else "no",
            "enabled": "yes" if account.enabled else "no",
            "argon2": credentials.argon2 if credentials else "",
            "scram": format_scram(credentials.scram) if credentials and credentials.scram else "",
        })
    return text.getvalue()


def _read(directory: SqliteDirectory, settings: Snapshot, data: bytes) -> tuple[list[_Row], list[Problem]]:
    reader = csv.reader(io.StringIO(_decode(data), newline=""), strict=True)
    rows: list[_Row] = []
    problems: list[Problem] = []
    seen = _Seen()
    columns: list[str] = []
    line = 1
    try:
        columns = _read_heading(next(reader, []))
        line = reader.line_num + 1
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(columns):
                problems.append(Problem(start, "", f"{len(cells)} fields where the heading has {len(columns)}."))
                continue
            values = dict.fromkeys(COLUMNS, "") | dict(zip(columns, cells, strict=False))
            try:
                rows.append(_Row(start, _parse_row(values, directory, settings, seen, start), values["password"]))
            except InputError as error:
                problems.append(Problem(start, error.field, str(error)))
    except csv.Error as error:
        problems.append(Problem(line, "", f"not readable as CSV: {error}."))
    return rows, problems


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("file", "The file is UTF-16.", "Save it as CSV in UTF-8.")
    for encoding in ("utf-8-sig", "cp932"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "cp932" or not _NOT_CP932.search(text):
            return text
    raise InputError("file", "The file is neither UTF-8 nor cp932 (Shift_JIS).", "Save it as CSV in UTF-8.")


def _read_heading(cells: list[str]) -> list[str]:
    columns = [_JAPANESE.get(cell.strip(), cell.strip().lower()) for cell in cells]
    for cell, column in zip(cells, columns, strict=True):
        if column not in COLUMNS:
            raise InputError("heading", f"There is no column [{cell.strip()}].", f"Columns are: {', '.join(COLUMNS)}.")
    for column in ("address", "name"):
        if column not in columns:
            raise InputError("heading", f"The column {column} is missing in the first line.",
                             f"Columns are: {', '.join(COLUMNS)}.")
    if len(set(columns)) < len(columns):
        raise InputError("heading", "A column stands there twice.")
    return columns


def _parse_row(values: dict[str, str], directory: SqliteDirectory, settings: Snapshot, seen: _Seen,
               line: int) -> NewAccount:
    territory = directory.get_territory()
    texts = [values["address"], *(text for text in values["addresses"].split(_SEPARATOR) if text.strip())]
    addresses = tuple(check_address(text, territory) for text in texts)
    for text in addresses:
        _claim_address(text, directory, seen, line)
    login = values["login"].strip()
    if login:
        _claim_login(check_login(login), directory, seen, line)
    return NewAccount(
        name=check_name(values["name"]), address=addresses[0], addresses=addresses[1:], login=login,
        postmaster=_parse_yes_no("postmaster", values, default=False),
        enabled=_parse_yes_no("enabled", values, default=True), mailbox_limit=check_limit(values["limit"]),
        access=check_access(values["access"]), credentials=_parse_credentials(values, settings))


def _claim_address(text: str, directory: SqliteDirectory, seen: _Seen, line: int) -> None:
    address = parse_address(text, utf8=True)
    if is_reserved(text):
        raise InputError("address", f"{text} belongs to a reserved account.")
    first = seen.addresses.setdefault(address.key, line)
    if first != line:
        raise InputError("address", f"{text} stands in line {first} already.")
    owner = directory.find_address(address)
    if owner is not None:
        raise InputError("address", f"{text} already belongs to {owner.name} <{owner.address}>.")


def _claim_login(login: str, directory: SqliteDirectory, seen: _Seen, line: int) -> None:
    first = seen.logins.setdefault(get_login_key(login), line)
    if first != line:
        raise InputError("login", f"The login name {login} stands in line {first} already.")
    owner = directory.find_login(login)
    if owner is not None:
        raise InputError("login", f"The login name {login} already belongs to {owner.name} <{owner.address}>.")


def _parse_yes_no(column: str, values: dict[str, str], *, default: bool) -> bool:
    word = values[column].strip().lower()
    if word and word not in _YES:
        raise InputError(column, f"[{word}] is neither yes nor no.")
    return _YES[word] if word else default


def _parse_credentials(values: dict[str, str], settings: Snapshot) -> Credentials | None:
    """The ready hashes of a row. A password in clear is judged here and hashed later."""
    password, argon2, scram = values["password"], values["argon2"].strip(), values["scram"].strip()
    if password:
        if argon2 or scram:
            raise InputError("password", "A row has either a password or ready hashes.")
        check_password(password, settings[PASSWORD])
        return None
    if scram and not argon2:
        raise InputError("scram", "A verifier needs the argon2 hash beside it.")
    if not argon2:
        return None
    return Credentials(parse_argon2(argon2), parse_scram(scram) if scram else None)


def _hash_passwords(rows: list[_Row], settings: Snapshot, progress: Progress) -> Iterator[NewAccount]:
    """The accounts with their passwords hashed, all before the first is given out: the transaction that writes them
    must not wait for hashes."""
    ready: list[NewAccount] = []
    if not any(row.password for row in rows):
        return iter([row.account for row in rows])
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        hashed: Iterable[NewAccount] = pool.map(lambda row: _hash_password(row, settings), rows)
        for done, account in enumerate(hashed, 1):
            ready.append(account)
            if done % 20 == 0:
                progress(done, len(rows))
    return iter(ready)


def _hash_password(row: _Row, settings: Snapshot) -> NewAccount:
    return replace(row.account, credentials=build_credentials(row.password, settings)) if row.password else row.account

"""Accounts as an administrator makes, changes and removes them, by command or page.

Each function judges everything, writes in one transaction, and returns when the running server obeys. Errors are
sentences with their remedy; nothing is changed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from postoffice.base.errors import InputError, PostOfficeError
from postoffice.directory import exchange
from postoffice.directory.admission import check_access, check_address, check_limit, check_name
from postoffice.directory.credentials import build_credentials
from postoffice.directory.logins import check_login
from postoffice.directory.model import Account, AccountClass, NewAccount
from postoffice.message.address import parse_address
from postoffice.operations.office import Office


@dataclass(frozen=True, slots=True)
class Request:
    """An account to be made, as it was asked for. ``login`` "" takes the local part where it is free; ``password``
    None makes an account nobody can sign in to yet."""

    address: str
    name: str
    login: str = ""
    addresses: tuple[str, ...] = ()
    limit: str = ""
    access: str = ""
    postmaster: bool = False
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of an account; None leaves it. ``added`` and ``removed`` are additional addresses, ``address``
    makes another one the main address (the old one is kept as additional unless it is in ``removed``)."""

    name: str | None = None
    address: str | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    login: str | None = None
    limit: str | None = None
    access: str | None = None
    postmaster: bool | None = None
    enabled: bool | None = None


def add_account(office: Office, request: Request) -> Account:
    """Make an account. Raises InputError naming the field."""
    directory = office.directory
    territory = directory.get_territory()
    new = NewAccount(
        name=check_name(request.name),
        address=check_address(request.address, territory),
        addresses=tuple(check_address(text, territory) for text in request.addresses),
        login=check_login(request.login) if request.login else "",
        mailbox_limit=check_limit(request.limit),
        access=check_access(request.access),
        postmaster=request.postmaster,
        credentials=(None if request.password is None
                     else build_credentials(request.password, office.settings.current())),
    )
    account = directory.add(new)
    office.notify()
    return account


def get_account(office: Office, reference: str) -> Account:
    """The account a login name or any of its addresses means. Raises PostOfficeError when there is none."""
    account = office.directory.find_login(reference)
    if account is None:
        raise PostOfficeError(f"There is no account {reference}.", "List them with: postoffice account list")
    return account


def change_account(office: Office, reference: str, change: Change) -> Account:
    """Change an account. Raises InputError naming the field."""
    account = get_account(office, reference)
    address, addresses = _change_addresses(office, account, change)
    wanted = replace(
        account,
        name=account.name if change.name is None else check_name(change.name),
        address=address, addresses=addresses,
        login=account.login if change.login is None else check_login(change.login),
        mailbox_limit=account.mailbox_limit if change.limit is None else check_limit(change.limit),
        access=account.access if change.access is None else check_access(change.access),
        postmaster=account.postmaster if change.postmaster is None else change.postmaster,
        enabled=account.enabled if change.enabled is None else change.enabled,
    )
    if wanted == account:
        return account
    changed = office.directory.set(wanted)
    office.notify()
    return changed


def set_password(office: Office, reference: str, password: str) -> Account:
    """Give an account a new password; sessions under the old one end. Raises InputError when it breaks the rule."""
    account = get_account(office, reference)
    if account.account_class is AccountClass.RESERVED:
        raise InputError("account", f"{account.address} is a reserved account: nobody signs in to it.")
    office.directory.set_credentials(account.id, build_credentials(password, office.settings.current()))
    office.notify()
    return get_account(office, reference)


def remove_account(office: Office, reference: str) -> Account:
    """Remove an account; its sessions end, its addresses are free at once, its mailbox waits to be purged."""
    account = get_account(office, reference)
    office.directory.remove(account.id)
    office.notify()
    return account


def list_accounts(office: Office) -> list[Account]:
    """All accounts: administrative, general, reserved, each by domain and address."""
    order = list(AccountClass)
    return sorted(office.directory.list_accounts(), key=lambda account: (
        order.index(account.account_class), parse_address(account.address, utf8=True).key[::-1]))


def import_accounts(office: Office, data: bytes, *, dry_run: bool, progress: exchange.Progress) -> exchange.Report:
    """Make the accounts of a CSV file, all or none. See `directory.exchange`."""
    report = exchange.import_accounts(
        office.directory, office.settings.current(), data, dry_run=dry_run, progress=progress)
    if report.rows and not dry_run:
        office.notify()
    return report


def export_accounts(office: Office, *, with_passwords: bool) -> str:
    """The accounts as CSV. See `directory.exchange`."""
    return exchange.export_accounts(office.directory, with_passwords=with_passwords)


def describe(account: Account) -> dict[str, Any]:
    """An account as JSON shows it."""
    return {
        "id": account.id, "address": account.address, "name": account.name, "addresses": list(account.addresses),
        "login": account.login, "class": account.account_class.value, "postmaster": account.postmaster,
        "enabled": account.enabled, "delivery": sorted(delivery.value for delivery in account.deliveries),
        "limit": account.mailbox_limit, "access": list(account.access), "password": account.has_password,
    }


def _change_addresses(office: Office, account: Account, change: Change) -> tuple[str, tuple[str, ...]]:
    """The main and the additional addresses after a change."""
    territory = office.directory.get_territory()
    held = {parse_address(text, utf8=True).key: text for text in account.all_addresses}
    keep = frozenset(held)
    have: Sequence[str] = account.all_addresses
    if change.removed:
        gone = set()
        for text in change.removed:
            key = _parse(text)
            if key not in held:
                raise InputError("address", f"{text} is no address of {account.address}.")
            gone.add(key)
        have = [text for text in have if _parse(text) not in gone]
    added = [check_address(text, territory, held=keep) for text in change.added]
    have = [*have, *(text for text in added if _parse(text) not in {_parse(one) for one in have})]
    main = account.address
    if change.address is not None:
        main = check_address(change.address, territory, held=keep)
    elif _parse(main) not in {_parse(one) for one in have}:
        raise InputError("address", f"{main} is the main address and cannot be removed.",
                         "Name another main address with --main.")
    return main, tuple(text for text in have if _parse(text) != _parse(main))


def _parse(text: str) -> tuple[str, str]:
    try:
        return parse_address(text, utf8=True).key
    except ValueError as error:
        raise InputError("address", f"{text} is no mail address: {error}.") from None

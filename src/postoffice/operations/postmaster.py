"""The designated postmasters: to which accounts mail for Postmaster (and for the managers) is delivered.

While any is named, they get it instead of Postmaster's own mailbox.
"""

from __future__ import annotations

from postoffice.base.errors import InputError
from postoffice.directory.model import Account
from postoffice.message.address import format_domain_key, parse_address
from postoffice.operations.office import Office


def list_designated(office: Office) -> list[Account]:
    """The designated postmasters in the order they were named."""
    return office.directory.list_designated()


def add_designated(office: Office, text: str) -> Account:
    """Name a designated postmaster; naming one twice changes nothing. Raises InputError."""
    account = _find(office, text)
    present = [one.id for one in office.directory.list_designated()]
    if account.id not in present:
        office.directory.set_designated([*present, account.id])
        office.notify()
    return account


def remove_designated(office: Office, text: str) -> Account:
    """Take a designated postmaster away. Raises InputError when the account is none."""
    account = _find(office, text)
    present = [one.id for one in office.directory.list_designated()]
    if account.id not in present:
        raise InputError("address", f"{account.address} is no designated postmaster.")
    office.directory.set_designated([one for one in present if one != account.id])
    office.notify()
    return account


def _find(office: Office, text: str) -> Account:
    account = office.directory.find_login(text)
    if account is not None:
        return account
    try:
        domain = parse_address(text, utf8=True).domain
    except ValueError as error:
        raise InputError("address", f"{text} is no mail address: {error}.") from None
    if domain and format_domain_key(domain) not in office.directory.get_territory().domains:
        raise InputError("address", f"{text} is outside this server, which sends no mail out yet.",
                         "Name an account of this server.")
    raise InputError("address", f"There is no account {text}.", "List them with: postoffice account list")

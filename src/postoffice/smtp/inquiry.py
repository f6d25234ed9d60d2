"""VRFY and EXPN, where they are switched on: who an address is (RFC 5321 §3.5)."""

from __future__ import annotations

from postoffice.directory.api import Directory
from postoffice.directory.model import Account, NoSuchUser, Resolution, ToAccounts
from postoffice.message.address import parse_address, parse_path
from postoffice.smtp.protocol.events import Reply

_UNKNOWN = Reply(550, "5.1.1", ("No such user here",))
_ELSEWHERE = Reply(252, "2.5.2", ("Not an address of this server",))


def verify(directory: Directory, argument: str) -> Reply:
    """The answer to VRFY: the account behind an address, or behind a login name."""
    found = _resolve(directory, argument)
    if isinstance(found, ToAccounts) and found.accounts:
        return Reply(250, "2.1.5", (_show(found.accounts[0]),))
    return _UNKNOWN if isinstance(found, ToAccounts | NoSuchUser) else _ELSEWHERE


def expand(directory: Directory, argument: str) -> Reply:
    """The answer to EXPN: all accounts that an address leads to."""
    found = _resolve(directory, argument)
    if isinstance(found, ToAccounts) and found.accounts:
        return Reply(250, "2.1.5", tuple(map(_show, found.accounts)))
    return _UNKNOWN if isinstance(found, ToAccounts | NoSuchUser) else _ELSEWHERE


def _resolve(directory: Directory, argument: str) -> Resolution:
    argument = argument.strip()
    try:
        if argument.startswith("<"):
            address, _rest = parse_path(argument.encode(), utf8=True)
        else:
            address = parse_address(argument, utf8=True)
    except ValueError:
        return NoSuchUser()
    if address is None:
        return NoSuchUser()
    if not address.domain:
        account = directory.find_login(address.local)
        if account is not None:
            return ToAccounts((account,)) if account.enabled else NoSuchUser(stopped=True)
    return directory.resolve(address)


def _show(account: Account) -> str:
    # What an administrator typed must not end the line; the reply is ASCII unless the client asked for more.
    name = "".join(char if " " <= char <= "~" and char not in '<>"' else "?" for char in account.name)
    return f"{name} <{account.address}>"

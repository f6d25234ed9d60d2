"""The router: which agent serves a recipient, and why.

Owns the decision; what an agent then does is its own. Pure apart from the directory it asks. The same answer serves
RCPT, intake and whoever wants to know in advance where an address leads.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from postoffice.directory.api import Directory
from postoffice.directory.model import Account, Elsewhere, NoSuchUser, Resolution, ToAccounts
from postoffice.message.address import Address


class Agent(enum.Enum):
    """Who serves a recipient. NONE: nobody here; the reason says why."""

    LOCAL = "Mailbox-Deliver"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Route:
    """``destination`` are the accounts of LOCAL; ``reason`` is a sentence for the administrator."""

    agent: Agent
    destination: tuple[Account, ...]
    reason: str


_NO_ACCOUNTS: tuple[Account, ...] = ()
_UNKNOWN = Route(Agent.NONE, _NO_ACCOUNTS, "No account has this address.")
_STOPPED = Route(Agent.NONE, _NO_ACCOUNTS, "The account with this address is stopped.")
_EMPTY = Route(Agent.NONE, _NO_ACCOUNTS, "The address leads to no account that takes mail.")


class Router:
    """Routes recipients through a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def route(self, address: Address) -> Route:
        return build_route(self._directory.resolve(address))


def build_route(resolution: Resolution) -> Route:
    """The route of a resolved address."""
    if isinstance(resolution, ToAccounts):
        if not resolution.accounts:
            return _EMPTY
        return Route(Agent.LOCAL, resolution.accounts, "An address of this server.")
    if isinstance(resolution, NoSuchUser):
        return _STOPPED if resolution.stopped else _UNKNOWN
    assert isinstance(resolution, Elsewhere)
    return Route(
        Agent.NONE, _NO_ACCOUNTS,
        f"{resolution.domain} is not a mail domain of this server, and outgoing mail does not exist yet.")

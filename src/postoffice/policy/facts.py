"""What checks may see: the facts of one connection and its present transaction, and where to look further.

Owns the names of the facts and the stage from which each is known. The session fills a `Facts` as the dialogue goes
on and resets the transaction's part with it (a refused message leaves nothing behind); checks only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from postoffice.base.streams import Address as ClientAddress
from postoffice.directory.api import Directory
from postoffice.directory.model import Resolution
from postoffice.message.address import Address
from postoffice.message.parsed import ParsedMessage
from postoffice.policy.api import SignedIn
from postoffice.policy.verdict import Stage
from postoffice.store.api import Store

_NO_PARAMS: Mapping[str, object] = {}


@dataclass(slots=True)
class Facts:
    """``size_bytes`` is what SIZE announced, from MESSAGE on what arrived; 0: unknown. ``submission`` says that the
    connection came in through a port that serves our own users alone."""

    client: ClientAddress
    submission: bool = False
    secure: bool = False
    helo: str = ""
    extended: bool = False
    signed_in: SignedIn | None = None
    sender: Address | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    size_bytes: int = 0
    recipient: Address | None = None
    resolution: Resolution | None = None
    parsed: ParsedMessage | None = None

    def reset_transaction(self) -> None:
        """RFC 5321 §4.1.1.5: nothing of a transaction outlives it."""
        self.sender = self.recipient = self.resolution = self.parsed = None
        self.params = _NO_PARAMS
        self.size_bytes = 0


# The stage from which a fact is known; a check that needs it may not stand earlier.
KNOWN_FROM: Mapping[str, Stage] = {
    "client": Stage.CONNECT,
    "submission": Stage.CONNECT,
    "secure": Stage.CONNECT,
    "helo": Stage.HELLO,
    "extended": Stage.HELLO,
    "signed_in": Stage.SENDER,
    "sender": Stage.SENDER,
    "params": Stage.SENDER,
    "size_bytes": Stage.SENDER,
    "recipient": Stage.RECIPIENT,
    "resolution": Stage.RECIPIENT,
    "parsed": Stage.MESSAGE,
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a check may look further. Both answer at once."""

    directory: Directory
    store: Store

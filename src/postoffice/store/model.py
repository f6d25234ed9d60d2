"""What the store keeps and the changes it takes: values, without storage.

An account's mailbox is all its mail; inside it are folders. A message's bytes never change and lie once, however
many placements point to them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec

INBOX = "INBOX"


class Flag(enum.IntFlag):
    """IMAP system flags as bits of a placement."""

    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A body over 1 MiB, written to a file of its own by `Store.open_large` and already synced, with its directory.
    ``crc`` is the CRC-32 of its bytes."""

    name: str
    size: int
    crc: int = 0


class Placement(msgspec.Struct, frozen=True):
    """One copy for one account. ``prefix`` stands before the message when this copy is read (Return-Path and
    Delivered-To lines, CRLF-ended). Explicit ``uid`` and ``uidl`` are for imports into an empty folder only."""

    account: int
    folder: str = INBOX
    prefix: bytes = b""
    flags: int = 0
    uid: int | None = None
    uidl: str | None = None


class Arrival(msgspec.Struct, frozen=True):
    """One message coming in, with all its placements: stored once, placed for each account once.

    ``trace_header`` (our Received field) is stored with the bytes and precedes them; ``body`` is the message as
    received, CRLF. ``parsed`` is `message.parsed.pack_parsed`; ``record`` is what trace and rebuild need (packed
    envelope and events). ``delivery_key``: a repeated delivery of the same key to the same account is a no-op.
    """

    message_id: int
    received_seconds: float
    trace_header: bytes
    body: bytes | LargeFile
    parsed: bytes
    parser_version: int
    placements: tuple[Placement, ...]
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class Expunge:
    """Remove these UIDs from a folder. UIDs that are gone already are ignored. Very many are removed in steps: a
    failure then leaves the later ones."""

    folder_id: int
    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CreateFolder:
    """A new, empty folder. ``uidvalidity`` and ``uidnext`` may be given (imports); a UIDVALIDITY never repeats."""

    account: int
    name: str
    uidvalidity: int | None = None
    uidnext: int | None = None


@dataclass(frozen=True, slots=True)
class PurgeAccount:
    """Remove all mail of an account that the directory no longer has. In steps; to be repeated after a failure."""

    account: int


Change = Arrival | Expunge | CreateFolder | PurgeAccount


class Failure(enum.Enum):
    """Why a change was not made. Nothing of it exists then."""

    DISK_FULL = "disk full"
    IO_ERROR = "input/output error"
    STOPPING = "the store is stopping"
    EXISTS = "exists already"
    NOT_EMPTY = "the folder is not empty"
    GONE = "no such folder"


class StoreFailure(Exception):
    """Raised out of `Store.submit`'s future: the change was refused or could not be made durable; see ``failure``."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(f"{failure.value}: {detail}" if detail else failure.value)
        self.failure = failure
        self.detail = detail


class Committed(msgspec.Struct, frozen=True):
    """A change is durable. ``commit`` is its number (the ModSeq); ``uids`` one UID per placement of an Arrival."""

    commit: int
    uids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Folder:
    id: int
    account: int
    name: str
    uidvalidity: int
    uidnext: int
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Item:
    """One placement in a folder listing. ``size`` counts what `Store.read` gives: prefix, trace header and body."""

    uid: int
    message_id: int
    size: int
    uidl: str
    flags: int
    internal_date: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one account's mailbox."""

    bytes: int
    messages: int

"""Maildrops: the exclusive lock on an account's mail, and the mail as one session sees it.

Owns `<spool>/locks/maildrop`, one byte per account (its id is the offset), and `<spool>/locks/polls`, when
each account was last opened. The lock is held by this process's one open file description; among the
sessions of the process the set in `Maildrops` decides. The kernel frees it when the process dies. A
maildrop is the inbox as it was at sign-in (RFC 1939 §5): what arrives later is seen next time, what
another protocol removes is an error at RETR.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from postoffice.base.locks import LockFile
from postoffice.store.api import MessageReader, Pending, Store
from postoffice.store.model import INBOX, Expunge, Item

_POLL = struct.Struct("=d")


class Maildrops:
    """The locks of one process. `close` frees them all."""

    def __init__(self, spool: Path) -> None:
        directory = spool / "locks"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = LockFile(directory / "maildrop")
        self._polls = os.open(directory / "polls", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held: set[int] = set()

    def try_take(self, account: int) -> bool:
        """Lock an account's maildrop; False while any session of any process has it."""
        if account in self._held or not self._lock.try_lock(account):
            return False
        self._held.add(account)
        return True

    def release(self, account: int) -> None:
        """Free it. Nothing happens when this process does not hold it."""
        if account in self._held:
            self._held.discard(account)
            self._lock.unlock(account)

    def get_last_poll(self, account: int) -> float:
        """When the account was last opened, in seconds since 1970; 0: never."""
        data = os.pread(self._polls, _POLL.size, account * _POLL.size)
        seconds: float = _POLL.unpack(data)[0] if len(data) == _POLL.size else 0.0
        return seconds

    def note_poll(self, account: int, now_seconds: float) -> None:
        """Called under the account's lock, so no other process writes there. Not durable: it may be
        forgotten."""
        os.pwrite(self._polls, _POLL.pack(now_seconds), account * _POLL.size)

    def close(self) -> None:
        """Free everything. Idempotent."""
        self._held.clear()
        self._lock.close()
        if self._polls >= 0:
            os.close(self._polls)
            self._polls = -1


class Maildrop:
    """An account's inbox at sign-in. Message numbers are 1-based; a deleted one is only marked until
    `commit`."""

    __slots__ = ("_folder_id", "_store", "deleted", "items", "size")

    def __init__(self, store: Store, account: int) -> None:
        """Raises what the store raises."""
        self._store = store
        folder = store.find_folder(account, INBOX)
        self._folder_id = folder.id if folder is not None else 0
        self.items: list[Item] = store.list_items(folder.id) if folder is not None else []
        self.size = sum([item.size for item in self.items])
        self.deleted: set[int] = set()              # message numbers

    @property
    def count(self) -> int:
        """Messages not marked as deleted."""
        return len(self.items) - len(self.deleted)

    def find(self, number: int) -> Item | None:
        """The message of a number, None when there is none or it is marked as deleted."""
        if 0 < number <= len(self.items) and number not in self.deleted:
            return self.items[number - 1]
        return None

    def open(self, item: Item) -> MessageReader | None:
        """None when the message has vanished since sign-in."""
        return self._store.open_message(self._folder_id, item.uid)

    def delete(self, number: int, item: Item) -> None:
        self.deleted.add(number)
        self.size -= item.size

    def reset(self) -> None:
        """RSET: nothing is marked any more."""
        for number in self.deleted:
            self.size += self.items[number - 1].size
        self.deleted.clear()

    def get_deleted(self) -> list[Item]:
        return [self.items[number - 1] for number in sorted(self.deleted)]

    def commit(self) -> Pending | None:
        """Remove what is marked, as one change; None when nothing is."""
        if not self.deleted:
            return None
        return self._store.submit(Expunge(self._folder_id, tuple(item.uid for item in self.get_deleted())))

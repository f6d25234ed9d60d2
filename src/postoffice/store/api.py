"""The store as its users see it. `store.embedded.EmbeddedStore` is the real one, `store.memory.MemoryStore` the
reference; `testing.store_contract` holds both to the same rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from postoffice.store.model import Change, Committed, Folder, Item, LargeFile, Usage

T = TypeVar("T")


class Pending(Protocol):
    """What `Store.submit` returns: an asyncio future that gives `Committed` or raises `StoreFailure`."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...

    def result(self) -> Committed: ...


class LargeWriter(Protocol):
    """Takes a body over 1 MiB while it arrives; memory stays bounded. Writes happen off the loop's thread."""

    async def write(self, chunks: Sequence[bytes]) -> None: ...

    async def examine(self, work: Callable[[Callable[[int, int], bytes]], T]) -> T:
        """Run ``work(read)`` off the loop's thread on what has been written: ``read(offset, length)``."""

    async def finish(self) -> LargeFile:
        """Sync file and directory. Only then may an Arrival name it."""

    def discard(self) -> None:
        """Give up: the file is removed."""


class MessageReader(Protocol):
    """The bytes of one placement: prefix + trace header + body. Holds a file descriptor, never a transaction."""

    size: int
    header_size: int               # offset of the first body byte in this copy (after the blank line)

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``; b"" at the end."""

    def close(self) -> None: ...


class Store(Protocol):
    """All methods but `LargeWriter`'s are synchronous and quick; `submit` returns at once with a future."""

    def submit(self, change: Change) -> Pending:
        """Hand a change to the committer. Its future resolves when it is durable: bytes synced, then the row."""

    def open_large(self, message_id: int) -> LargeWriter: ...

    def find_folder(self, account: int, name: str) -> Folder | None:
        """None while the account has had no mail in it."""

    def list_folders(self, account: int) -> list[Folder]: ...

    def list_items(self, folder_id: int) -> list[Item]:
        """All placements, by UID. Read in slices; no statement stays open."""

    def open_message(self, folder_id: int, uid: int) -> MessageReader | None:
        """None when it is gone."""

    def get_usage(self, account: int) -> Usage: ...

    def get_parsed(self, message_id: int) -> bytes | None: ...

    def get_free_bytes(self) -> int:
        """Free disk for an unprivileged writer, of the mailbox directory's and the spool's file system the smaller;
        cached for about a second."""

    def list_records(self, after: tuple[int, int] | None) -> Iterator[tuple[tuple[int, int], int, bytes]]:
        """(segment, offset), message id, record of what was committed after a position: what the trace reads on from
        after an unclean stop."""

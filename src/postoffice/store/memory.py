"""MemoryStore: the store as plain dictionaries, the reference for the contract and the stand-in for tests.

Owns nothing durable. It keeps every rule of `store.api` that does not need a disk: UIDs only grow, a UIDVALIDITY
never repeats, an account gets one copy of a message, a repeated delivery is a no-op, a change happens whole or not at
all. Tests steer it: `fail` makes the next changes fail, `hold` and `release` decide when changes become durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from postoffice.base.errors import UsageError
from postoffice.store.model import (
    Arrival,
    Change,
    Committed,
    CreateFolder,
    Expunge,
    Failure,
    Folder,
    Item,
    LargeFile,
    Placement,
    PurgeAccount,
    StoreFailure,
    Usage,
)

_T = TypeVar("_T")


@dataclass(slots=True)
class _Message:
    header: bytes
    body: bytes | LargeFile
    parsed: bytes
    placements: int = 0


@dataclass(frozen=True, slots=True)
class _Placed:
    message_id: int
    prefix: bytes
    item: Item


@dataclass(slots=True)
class _Folder:
    id: int
    account: int
    name: str
    uidvalidity: int
    uidnext: int
    importing: bool
    placed: dict[int, _Placed] = field(default_factory=dict)


class BytesReader:
    """A `MessageReader` over bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        end = data.find(b"\r\n\r\n")
        self.header_size = len(data) if end < 0 else end + 4

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset:offset + length]

    def close(self) -> None:
        self._data = b""


class MemoryLargeWriter:
    """A `LargeWriter` that keeps the chunks."""

    def __init__(self, files: dict[str, bytes], name: str) -> None:
        self._files = files
        self._name = name
        self._chunks: list[bytes] = []
        self._finished = False

    async def write(self, chunks: Sequence[bytes]) -> None:
        self._chunks.extend(bytes(chunk) for chunk in chunks)

    async def examine(self, work: Callable[[Callable[[int, int], bytes]], _T]) -> _T:
        data = b"".join(self._chunks)
        return work(lambda offset, length: data[offset : offset + length])

    async def finish(self) -> LargeFile:
        data = b"".join(self._chunks)
        self._finished = True
        self._files[self._name] = data
        return LargeFile(self._name, len(data))

    def discard(self) -> None:
        if not self._finished:
            self._chunks.clear()


class MemoryStore:
    """See `store.api.Store`. ``free_bytes`` is what `get_free_bytes` tells; set it at will."""

    def __init__(self, *, free_bytes: int = 1 << 40) -> None:
        self.free_bytes = free_bytes
        self.large: dict[str, bytes] = {}
        self._folders: dict[int, _Folder] = {}
        self._messages: dict[int, _Message] = {}
        self._delivered: dict[tuple[int, int], int] = {}    # (message, account) -> uid, expunged ones included
        self._validities: set[tuple[int, str, int]] = set()
        self._last_validity = 1_000
        self._last_folder = 0
        self._commit = 0
        self._records: list[tuple[tuple[int, int], int, bytes]] = []
        self._failures: deque[Failure] = deque()
        self._held: deque[tuple[Change, asyncio.Future[Committed]]] | None = None
        self._stopping = False

    # Steering, for tests.

    def fail(self, failure: Failure, times: int = 1) -> None:
        """The next ``times`` changes fail with ``failure``."""
        self._failures.extend([failure] * times)

    def hold(self) -> None:
        """From now on changes wait for `release`."""
        if self._held is None:
            self._held = deque()

    def release(self) -> int:
        """Commit what was held, and later changes at once again. Returns how many were held."""
        held, self._held = self._held or deque(), None
        for change, future in held:
            self._resolve(change, future)
        return len(held)

    # The store.

    def submit(self, change: Change) -> asyncio.Future[Committed]:
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        if self._stopping:
            future.set_exception(StoreFailure(Failure.STOPPING))
        elif self._held is not None:
            self._held.append((change, future))
        else:
            self._resolve(change, future)
        return future

    def open_large(self, message_id: int) -> MemoryLargeWriter:
        return MemoryLargeWriter(self.large, f"{message_id:016x}")

    def find_folder(self, account: int, name: str) -> Folder | None:
        folder = self._find(account, name)
        return None if folder is None else _show(folder)

    def list_folders(self, account: int) -> list[Folder]:
        return [_show(f) for f in self._folders.values() if f.account == account]

    def list_items(self, folder_id: int) -> list[Item]:
        folder = self._folders.get(folder_id)
        return [] if folder is None else [folder.placed[uid].item for uid in sorted(folder.placed)]

    def open_message(self, folder_id: int, uid: int) -> BytesReader | None:
        folder = self._folders.get(folder_id)
        placed = folder.placed.get(uid) if folder else None
        if placed is None:
            return None
        message = self._messages[placed.message_id]
        body = self.large[message.body.name] if isinstance(message.body, LargeFile) else message.body
        return BytesReader(placed.prefix + message.header + body)

    def get_usage(self, account: int) -> Usage:
        folders = [_show(f) for f in self._folders.values() if f.account == account]
        return Usage(sum(f.bytes for f in folders), sum(f.messages for f in folders))

    def get_parsed(self, message_id: int) -> bytes | None:
        message = self._messages.get(message_id)
        return message.parsed if message else None

    def get_free_bytes(self) -> int:
        return self.free_bytes

    def list_records(
        self, after: tuple[int, int] | None = None, *, slot: int | None = None,
    ) -> Iterator[tuple[tuple[int, int], int, bytes]]:
        for position, message_id, record in self._records:
            if after is None or position > after:
                yield position, message_id, record

    @property
    def slot(self) -> int:
        return 0

    def get_position(self) -> tuple[int, int]:
        """Of the last record."""
        return self._records[-1][0] if self._records else (1, 0)

    def last_message_id(self) -> int:
        """The highest message id ever committed, 0 for none."""
        return max((message for _, message, _ in self._records), default=0)

    async def wait_idle(self) -> None:
        """Until nothing waits to be committed."""

    async def close(self) -> None:
        """What is held is committed; later changes are refused."""
        self.release()
        self._stopping = True

    # Changes.

    def _resolve(self, change: Change, future: asyncio.Future[Committed]) -> None:
        if future.cancelled():
            return
        try:
            if self._failures:
                raise StoreFailure(self._failures.popleft())
            future.set_result(self._apply(change))
        except (StoreFailure, UsageError) as failure:
            future.set_exception(failure)

    def _apply(self, change: Change) -> Committed:
        if isinstance(change, Arrival):
            uids = self._arrive(change)
        elif isinstance(change, Expunge):
            uids = self._expunge(change)
        elif isinstance(change, CreateFolder):
            uids = ()
            self._create(change)
        else:
            uids = ()
            self._purge(change)
        self._commit += 1
        return Committed(self._commit, uids)

    def _arrive(self, arrival: Arrival) -> tuple[int, ...]:
        if not arrival.placements:
            raise UsageError("an Arrival needs at least one placement")
        new: dict[int, Placement] = {}
        for placement in arrival.placements:
            if (arrival.message_id, placement.account) not in self._delivered:
                new.setdefault(placement.account, placement)
        for placement in new.values():
            self._judge_import(placement)
        if new:
            message = self._messages.setdefault(
                arrival.message_id, _Message(arrival.trace_header, arrival.body, arrival.parsed))
            for placement in new.values():
                self._place(arrival, message, placement)
            self._records.append(((1, self._commit + 1), arrival.message_id, arrival.record))
        return tuple(self._delivered[arrival.message_id, p.account] for p in arrival.placements)

    def _judge_import(self, placement: Placement) -> None:
        folder = self._find(placement.account, placement.folder)
        if folder is None:
            return
        if placement.uid is not None and placement.uid < folder.uidnext and not (
                folder.importing and placement.uid > max(folder.placed, default=0)):
            raise StoreFailure(Failure.NOT_EMPTY, f"UID {placement.uid} is below UIDNEXT {folder.uidnext}")
        if placement.uidl is not None and any(p.item.uidl == placement.uidl for p in folder.placed.values()):
            raise StoreFailure(Failure.EXISTS, f"UIDL {placement.uidl}")

    def _place(self, arrival: Arrival, message: _Message, placement: Placement) -> None:
        folder = self._find(placement.account, placement.folder)
        if folder is None:
            folder = self._add_folder(placement.account, placement.folder, None, None)
        if placement.uid is None:
            folder.importing = False
        uid = folder.uidnext if placement.uid is None else placement.uid
        folder.uidnext = max(folder.uidnext, uid + 1)
        body_size = arrival.body.size if isinstance(arrival.body, LargeFile) else len(arrival.body)
        item = Item(
            uid, arrival.message_id, len(placement.prefix) + len(arrival.trace_header) + body_size,
            f"{folder.uidvalidity:x}.{uid:x}" if placement.uidl is None else placement.uidl,
            placement.flags, int(arrival.received_seconds))
        folder.placed[uid] = _Placed(arrival.message_id, placement.prefix, item)
        message.placements += 1
        self._delivered[arrival.message_id, placement.account] = uid

    def _expunge(self, change: Expunge) -> tuple[int, ...]:
        folder = self._folders.get(change.folder_id)
        if folder is None:
            raise StoreFailure(Failure.GONE)
        gone = []
        for uid in change.uids:
            if uid in folder.placed:
                self._remove(folder.placed.pop(uid))
                gone.append(uid)
        folder.importing = folder.importing and not gone
        return tuple(gone)

    def _remove(self, placed: _Placed) -> None:
        message = self._messages[placed.message_id]
        message.placements -= 1
        if not message.placements:
            del self._messages[placed.message_id]
            if isinstance(message.body, LargeFile):
                self.large.pop(message.body.name, None)

    def _create(self, change: CreateFolder) -> None:
        if self._find(change.account, change.name):
            raise StoreFailure(Failure.EXISTS, change.name)
        if (change.account, change.name, change.uidvalidity) in self._validities:
            raise StoreFailure(Failure.EXISTS, f"UIDVALIDITY {change.uidvalidity}")
        self._add_folder(change.account, change.name, change.uidvalidity, change.uidnext)

    def _purge(self, change: PurgeAccount) -> None:
        for folder in [f for f in self._folders.values() if f.account == change.account]:
            for placed in folder.placed.values():
                self._remove(placed)
            del self._folders[folder.id]
        for key in [key for key in self._delivered if key[1] == change.account]:
            del self._delivered[key]

    def _find(self, account: int, name: str) -> _Folder | None:
        return next((f for f in self._folders.values() if f.account == account and f.name == name), None)

    def _add_folder(self, account: int, name: str, uidvalidity: int | None, uidnext: int | None) -> _Folder:
        if uidvalidity is None:
            used = {value for _, _, value in self._validities}
            self._last_validity += 1
            while self._last_validity in used:
                self._last_validity += 1
            uidvalidity = self._last_validity
        self._validities.add((account, name, uidvalidity))
        self._last_folder += 1
        folder = _Folder(self._last_folder, account, name, uidvalidity, uidnext or 1, importing=True)
        self._folders[folder.id] = folder
        return folder


def _show(folder: _Folder) -> Folder:
    return Folder(
        folder.id, folder.account, folder.name, folder.uidvalidity, folder.uidnext, len(folder.placed),
        sum(placed.item.size for placed in folder.placed.values()))

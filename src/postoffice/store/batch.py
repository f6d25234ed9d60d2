"""One batch: turns changes into rows and records inside an open transaction, without touching a segment.

Owns the rules of the changes (`store.model`): UIDs only grow, a UIDVALIDITY never repeats, one copy of a message for
an account, a repeated delivery is a no-op. Each change is a group: it is judged before anything of it is written, and
a refused one leaves nothing behind. The committer begins and ends the transaction and writes the records.
"""

from __future__ import annotations

import msgspec

from postoffice.base.errors import UsageError
from postoffice.store.index import FolderRow, MessageRow, PlacementRow, State, WriteIndex
from postoffice.store.model import (
    Arrival,
    Change,
    CreateFolder,
    Expunge,
    Failure,
    LargeFile,
    Placement,
    PurgeAccount,
    StoreFailure,
)
from postoffice.store.segments import build_frame

_encode = msgspec.msgpack.Encoder().encode
_MAX_REMOVALS = 500                # in one batch: bounds how long the lock is held
_MAX_NUMBER = 0xFFFF_FFFF          # RFC 9051 §2.3.1.1: UID and UIDVALIDITY are 32-bit and not 0


class FolderState:
    """A folder as the batch sees it; written back once at the end."""

    __slots__ = ("account", "bytes", "dirty", "id", "importing", "messages", "name", "uidnext", "uidvalidity")

    def __init__(self, row: FolderRow) -> None:
        (self.id, self.account, self.name, self.uidvalidity, self.uidnext, self.messages, self.bytes,
         self.importing) = row
        self.dirty = False


class FolderCache:
    """Folder states kept from batch to batch while nobody else commits (the commit number tells)."""

    _LIMIT = 20_000

    def __init__(self) -> None:
        self.commit = -1
        self.by_name: dict[tuple[int, str], FolderState] = {}
        self.by_id: dict[int, FolderState] = {}

    def clear(self) -> None:
        self.commit = -1
        self.by_name.clear()
        self.by_id.clear()

    def prepare(self, commit: int) -> None:
        """Forget all that may have changed since; ``commit`` is the index's newest number."""
        if commit != self.commit or len(self.by_id) > self._LIMIT:
            self.clear()

    def add(self, row: FolderRow) -> FolderState:
        state = FolderState(row)
        self.by_id[state.id] = self.by_name[state.account, state.name] = state
        return state

    def remove(self, state: FolderState) -> None:
        self.by_id.pop(state.id, None)
        self.by_name.pop((state.account, state.name), None)


class Batch:
    """Apply changes with `apply`, then `finish`. ``buffers`` are the records in order, to be written at the segment's
    old end; ``end`` is its new one. ``dead_segments`` and ``dead_large`` are to be unlinked after the commit."""

    def __init__(
        self, index: WriteIndex, folders: FolderCache, segment: int, end: int, now_seconds: float,
    ) -> None:
        state = index.get_state()
        folders.prepare(state.commit)
        self.commit = state.commit + 1
        self.buffers: list[bytes] = []
        self.end = end
        self.changed = False
        self.dead_segments: list[int] = []
        self.dead_large: list[str] = []
        self.rest: Change | None = None     # what is left of a long removal after `apply`
        self._index = index
        self._folders = folders
        self._segment = segment
        self._start = end
        self._now = int(now_seconds)
        self._incarnation = state.incarnation
        self._last_validity = state.uidvalidity
        self._last_message = state.last_message
        self._records = 0
        self._messages: list[MessageRow] = []
        self._placements: list[PlacementRow] = []
        self._dirty: list[FolderState] = []
        self._freed: dict[int, tuple[int, int]] = {}

    def apply(self, change: Change) -> tuple[int, ...]:
        """Judge and make one change; the UIDs of its placements. Raises StoreFailure or UsageError with nothing of it
        made, apsw.Error when the whole batch must go."""
        if type(change) is Arrival:
            return self._arrive(change)
        self._flush()
        if isinstance(change, Expunge):
            return self._expunge(change)
        if isinstance(change, CreateFolder):
            self._create(change)
        elif isinstance(change, PurgeAccount):
            self._purge(change.account)
        else:
            raise UsageError(f"no change of the store: {change!r}")
        return ()

    def finish(self) -> None:
        """Write the rows that were gathered, the counters and the numbers."""
        index = self._index
        self._flush()
        if self._dirty:
            index.update_folders([(f.uidnext, f.messages, f.bytes, f.importing, f.id) for f in self._dirty])
            for folder in self._dirty:
                folder.dirty = False
        if self._records:
            index.extend_segment(self._segment, self.end, self._records, self.end - self._start)
        for segment, (records, size) in self._freed.items():
            index.shrink_segment(segment, records, size)
        index.set_state(State(self.commit, self._incarnation, self._last_validity, self._last_message))

    # Arrivals.

    def _arrive(self, arrival: Arrival) -> tuple[int, ...]:
        placements = arrival.placements
        message_id = arrival.message_id
        if not placements:
            raise UsageError("an Arrival needs at least one placement")
        stored = False
        known: dict[int, int] = {}
        if message_id <= self._last_message:
            # Perhaps a repetition: what earlier changes of this batch did must be seen too.
            self._flush()
            if self._index.is_known(message_id):
                stored = self._index.has_message(message_id)
                known = self._find_known(arrival)
        new: tuple[Placement, ...] = placements
        if known or len(placements) > 1:
            new = _pick_new(placements, known)
        for placement in new:
            if placement.uid is not None or placement.uidl is not None:
                self._judge_import(placement)
        if new and not stored:
            uids = self._place(arrival, new)
            self._store(arrival, new, uids)
        elif new:
            uids = self._place(arrival, new)
        else:
            uids = []
            if isinstance(arrival.body, LargeFile) and not stored:
                self.dead_large.append(arrival.body.name)
        if len(uids) == len(placements):
            return tuple(uids)
        known.update(zip((p.account for p in new), uids, strict=True))
        return tuple(known[p.account] for p in placements)

    def _find_known(self, arrival: Arrival) -> dict[int, int]:
        known = {}
        for placement in arrival.placements:
            uid = self._index.find_delivered(arrival.message_id, placement.account)
            if uid is not None:
                known[placement.account] = uid
        return known

    def _judge_import(self, placement: Placement) -> None:
        folder = self._find(placement.account, placement.folder)
        if placement.uid is not None and not 0 < placement.uid < _MAX_NUMBER:
            raise UsageError(f"UID {placement.uid} is out of range")
        if folder is None:
            return
        self._flush()
        if placement.uid is not None and placement.uid < folder.uidnext and not (
                folder.importing and placement.uid > self._index.get_last_uid(folder.id)):
            raise StoreFailure(Failure.NOT_EMPTY, f"UID {placement.uid} is below UIDNEXT {folder.uidnext}")
        if placement.uidl is not None and self._index.has_uidl(folder.id, placement.uidl):
            raise StoreFailure(Failure.EXISTS, f"UIDL {placement.uidl}")

    def _place(self, arrival: Arrival, placements: tuple[Placement, ...]) -> list[int]:
        body = arrival.body
        size = len(arrival.trace_header) + (body.size if isinstance(body, LargeFile) else len(body))
        date = int(arrival.received_seconds)
        uids = []
        for placement in placements:
            account = placement.account
            folder = self._folders.by_name.get((account, placement.folder)) or self._find_or_create(
                account, placement.folder)
            uid = placement.uid
            if uid is None:
                folder.importing = 0
                uid = folder.uidnext
                folder.uidnext = uid + 1
            elif uid >= folder.uidnext:
                folder.uidnext = uid + 1
            whole = size + len(placement.prefix)
            folder.messages += 1
            folder.bytes += whole
            if not folder.dirty:
                folder.dirty = True
                self._dirty.append(folder)
            uids.append(uid)
            # A tuple in the order of PlacementRow: the class would cost a microsecond for each.
            self._placements.append((  # type: ignore[arg-type]
                folder.id, uid, arrival.message_id, account, placement.flags, date, self.commit, whole,
                placement.uidl, placement.prefix))
        self.changed = True
        return uids

    def _store(self, arrival: Arrival, placements: tuple[Placement, ...], uids: list[int]) -> None:
        message_id = arrival.message_id
        header = arrival.trace_header
        body = arrival.body
        places = [(p.account, p.folder, u, p.flags, p.prefix, p.uidl) for p, u in zip(placements, uids, strict=True)]
        if isinstance(body, LargeFile):
            large, crc, body_size = body.name, body.crc, body.size
            meta = _encode((self.commit, arrival.received_seconds, places, large, body_size, crc))
            frame = build_frame(message_id, meta, arrival.record, header, b"")
        else:
            large, crc, body_size = None, None, len(body)
            meta = _encode((self.commit, arrival.received_seconds, places))
            frame = build_frame(message_id, meta, arrival.record, header, body)
        offset = self.end
        self._messages.append((  # type: ignore[arg-type]
            message_id, self._segment, offset, frame.size, offset + frame.header_start, len(header), body_size,
            large, crc, arrival.received_seconds, arrival.parser_version, arrival.parsed))
        self.buffers.extend(frame.buffers)
        self.end = offset + frame.size
        self._records += 1
        if message_id > self._last_message:
            self._last_message = message_id

    # Folders.

    def _find(self, account: int, name: str) -> FolderState | None:
        state = self._folders.by_name.get((account, name))
        if state is None:
            row = self._index.find_folder(account, name)
            state = self._folders.add(row) if row else None
        return state

    def _find_or_create(self, account: int, name: str) -> FolderState:
        return self._find(account, name) or self._add(account, name, self._next_validity(), 1)

    def _next_validity(self) -> int:
        # Time-based, so that it also grows over a restored or rebuilt index; imported values are stepped over.
        value = max(self._now, self._last_validity + 1)
        while self._index.has_uidvalidity(value):
            value += 1
        self._last_validity = value
        return value

    def _add(self, account: int, name: str, uidvalidity: int, uidnext: int) -> FolderState:
        folder = self._index.insert_folder(account, name, uidvalidity, uidnext)
        self.changed = True
        return self._folders.add(FolderRow(folder, account, name, uidvalidity, uidnext, 0, 0, 1))

    def _create(self, change: CreateFolder) -> None:
        for number in (change.uidvalidity, change.uidnext):
            if number is not None and not 0 < number <= _MAX_NUMBER:
                raise UsageError(f"{number} is no UIDVALIDITY or UID")
        if self._find(change.account, change.name):
            raise StoreFailure(Failure.EXISTS, change.name)
        uidvalidity = change.uidvalidity
        if uidvalidity is None:
            uidvalidity = self._next_validity()
        elif self._index.has_uidvalidity(uidvalidity, change.account, change.name):
            raise StoreFailure(Failure.EXISTS, f"UIDVALIDITY {uidvalidity}")
        self._add(change.account, change.name, uidvalidity, change.uidnext or 1)

    # Removals.

    def _expunge(self, change: Expunge) -> tuple[int, ...]:
        folder = self._folders.by_id.get(change.folder_id)
        if folder is None:
            row = self._index.find_folder_by_id(change.folder_id)
            if row is None:
                raise StoreFailure(Failure.GONE)
            folder = self._folders.add(row)
        gone = []
        if len(change.uids) > _MAX_REMOVALS:
            self.rest = Expunge(change.folder_id, change.uids[_MAX_REMOVALS:])
        for uid in change.uids[:_MAX_REMOVALS]:
            removed = self._index.delete_placement(folder.id, uid)
            if removed is None:
                continue
            message, account, size = removed
            self._index.remember_delivery(message, account, uid)
            self._release(message)
            folder.messages -= 1
            folder.bytes -= size
            gone.append(uid)
        if gone:
            self.changed = True
            folder.importing = 0
            self._touch(folder)
        return tuple(gone)

    def _touch(self, folder: FolderState) -> None:
        if not folder.dirty:
            folder.dirty = True
            self._dirty.append(folder)

    def _purge(self, account: int) -> None:
        left = _MAX_REMOVALS
        for row in self._index.list_account_folders(account):
            state = self._folders.by_id.get(row.id) or self._folders.add(row)
            for uid in self._index.list_uids(row.id, left):
                removed = self._index.delete_placement(row.id, uid)
                if removed is not None:
                    message, _account, size = removed
                    self._release(message)
                    state.messages -= 1
                    state.bytes -= size
                left -= 1
            self.changed = True
            if not left:
                # The folder stays, emptier, until the next step comes to it.
                self._touch(state)
                self.rest = PurgeAccount(account)
                return
            self._index.delete_folder(row.id)
            self._folders.remove(state)
            if state.dirty:
                self._dirty.remove(state)
        self._index.forget_deliveries(account, 0)

    def _release(self, message: int) -> None:
        """Remove a message that nothing points to any more."""
        dead = self._index.delete_unplaced(message)
        if dead is not None:
            segment, length, large = dead
            records, size = self._freed.get(segment, (0, 0))
            self._freed[segment] = (records + 1, size + length)
            if large is not None:
                self.dead_large.append(large)

    @property
    def has_freed(self) -> bool:
        """Whether a record died, so that a segment may be wholly dead now."""
        return bool(self._freed)

    def _flush(self) -> None:
        if self._placements:
            self._index.insert(self._messages, self._placements)
            self._messages.clear()
            self._placements.clear()


def _pick_new(placements: tuple[Placement, ...], known: dict[int, int]) -> tuple[Placement, ...]:
    """The first placement of each account that does not have the message yet."""
    new: dict[int, Placement] = {}
    for placement in placements:
        if placement.account not in known:
            new.setdefault(placement.account, placement)
    return tuple(new.values())

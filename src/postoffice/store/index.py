"""The index: the only truth about what the store holds, and the only SQL of the store.

Owns ``index.db``: its schema, its pragmas, every statement. A message's bytes lie in segments and large files; what no
row here refers to does not exist. `WriteIndex` is the committer's connection (one per process, used by one thread at a
time, only under the commit lock), `ReadIndex` any reader's: its methods finish every statement before they return, so
that no reader ever holds a snapshot while somebody waits.

Invariants: synchronous=FULL on every connection, also the one that checkpoints (a connection with less loses mail);
BEGIN IMMEDIATE always; the database files are never opened by other means (POSIX locks would drop).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from postoffice.base.durable import Disk
from postoffice.base.errors import PostOfficeError

FORMAT = 1
INDEX_NAME = "index.db"
_SLICE = 500
_SYNCHRONOUS = {"OFF": 0, "NORMAL": 1, "FULL": 2}

_SCHEMA = """
CREATE TABLE state(
  one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, commit_number INTEGER NOT NULL,
  incarnation INTEGER NOT NULL, uidvalidity INTEGER NOT NULL, last_message INTEGER NOT NULL);
CREATE TABLE slots(slot INTEGER PRIMARY KEY, incarnation INTEGER NOT NULL);
CREATE TABLE segments(
  id INTEGER PRIMARY KEY, slot INTEGER NOT NULL, sealed INTEGER NOT NULL, end INTEGER NOT NULL,
  live INTEGER NOT NULL, live_bytes INTEGER NOT NULL);
CREATE INDEX segments_dead ON segments(id) WHERE sealed = 1 AND live = 0;
CREATE TABLE messages(
  id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
  header_start INTEGER NOT NULL, header_size INTEGER NOT NULL, body_size INTEGER NOT NULL,
  large TEXT, large_crc INTEGER, received REAL NOT NULL, parser INTEGER NOT NULL, parsed BLOB NOT NULL);
CREATE INDEX messages_large ON messages(large) WHERE large IS NOT NULL;
CREATE TABLE folders(
  id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL, name TEXT NOT NULL, uidvalidity INTEGER NOT NULL,
  uidnext INTEGER NOT NULL, messages INTEGER NOT NULL, bytes INTEGER NOT NULL, importing INTEGER NOT NULL,
  UNIQUE (account, name));
CREATE TABLE uidvalidities(
  account INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL,
  PRIMARY KEY (value, account, name)) WITHOUT ROWID;
CREATE TABLE placements(
  folder INTEGER NOT NULL, uid INTEGER NOT NULL, message INTEGER NOT NULL, account INTEGER NOT NULL,
  flags INTEGER NOT NULL, internal_date INTEGER NOT NULL, modseq INTEGER NOT NULL, size INTEGER NOT NULL,
  uidl TEXT, prefix BLOB NOT NULL, PRIMARY KEY (folder, uid)) WITHOUT ROWID;
CREATE UNIQUE INDEX placements_message ON placements(message, account);
CREATE UNIQUE INDEX placements_uidl ON placements(folder, uidl) WHERE uidl IS NOT NULL;
CREATE TABLE delivered(
  message INTEGER NOT NULL, account INTEGER NOT NULL, uid INTEGER NOT NULL,
  PRIMARY KEY (message, account)) WITHOUT ROWID;
INSERT INTO state VALUES(1, 1, 0, 0, 0, 0);
"""


class State(NamedTuple):
    """The one row of numbers that only grow."""

    commit: int
    incarnation: int
    uidvalidity: int
    last_message: int


class MessageRow(NamedTuple):
    id: int
    segment: int
    offset: int            # of the frame
    length: int            # of the frame
    header_start: int      # of the trace header, from the segment's first byte
    header_size: int
    body_size: int
    large: str | None
    large_crc: int | None
    received: float
    parser: int
    parsed: bytes


class PlacementRow(NamedTuple):
    folder: int
    uid: int
    message: int
    account: int
    flags: int
    internal_date: int
    modseq: int
    size: int
    uidl: str | None
    prefix: bytes


class FolderRow(NamedTuple):
    id: int
    account: int
    name: str
    uidvalidity: int
    uidnext: int
    messages: int
    bytes: int
    importing: int


class SegmentRow(NamedTuple):
    id: int
    slot: int
    sealed: int
    end: int
    live: int
    live_bytes: int


class Location(NamedTuple):
    """Where a placement's bytes lie."""

    message: int
    prefix: bytes
    segment: int
    header_start: int
    header_size: int
    body_size: int
    large: str | None


_STATE = "SELECT commit_number, incarnation, uidvalidity, last_message FROM state"
_FOLDER = "SELECT id, account, name, uidvalidity, uidnext, messages, bytes, importing FROM folders "


def open_connection(
    path: Path, *, busy_milliseconds: int = 5000, synchronous: str = "FULL", vfs: str | None = None,
) -> apsw.Connection:
    """A connection to an existing index with its pragmas set and read back. Raises apsw.Error."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    try:
        connection.set_busy_timeout(busy_milliseconds)
        connection.wal_autocheckpoint(0)
        # Only our checkpointer checkpoints; the last connection's close must not do it behind a failed sync.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA cache_size=-16384")
        if connection.pragma("journal_mode") != "wal":
            raise PostOfficeError(f"{path} is not in WAL mode.", "It was changed by another program.")
        if connection.pragma("synchronous") != _SYNCHRONOUS[synchronous]:
            raise PostOfficeError(f"{path} cannot be opened with synchronous={synchronous}.")
    except BaseException:
        connection.close()
        raise
    return connection


def create_index(path: Path, disk: Disk) -> None:
    """Make the database if it is not there or was not finished. Called under the commit lock."""
    if not path.exists():
        # SQLite would make it readable for all; its WAL takes the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(5000)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise PostOfficeError(f"{path} cannot be put into WAL mode.", "Its file system may not support it.")
        connection.execute("PRAGMA synchronous=FULL")
        with connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master").get:
                connection.execute(_SCHEMA)
        found = connection.execute("SELECT format FROM state").get
        if found != FORMAT:
            raise PostOfficeError(f"{path} has format {found}, this program reads format {FORMAT}.")
    finally:
        connection.close()
    disk.sync_directory(path.parent)


def copy_index(path: Path, target: Path) -> None:
    """Write a consistent copy of the index by the backup API; synced by SQLite and left without WAL."""
    source = open_connection(path)
    copy = apsw.Connection(str(target))
    try:
        copy.execute("PRAGMA synchronous=FULL")
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(1000)
        if copy.pragma("integrity_check") != "ok":
            raise PostOfficeError(f"The copy {target} of the index is damaged.", "Restore or rebuild the index.")
    finally:
        copy.close()
        source.close()


class WriteIndex:
    """The committer's connection: transactions and row changes. ``frames``: the WAL's length after the last commit."""

    def __init__(self, path: Path, *, synchronous: str = "FULL", vfs: str | None = None) -> None:
        self._connection = open_connection(path, synchronous=synchronous, vfs=vfs)
        self.inode = os.stat(path).st_ino
        self.frames = 0
        self._connection.set_wal_hook(self._note_frames)
        cursor = self._connection.cursor()
        self._execute = cursor.execute
        self._executemany = cursor.executemany

    def _note_frames(self, _connection: object, _name: str, frames: int) -> int:
        self.frames = frames
        return apsw.SQLITE_OK

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Durable on return. After an error the transaction may still be open: `rollback`."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Idempotent."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()

    # Numbers.

    def get_state(self) -> State:
        row = self._execute(_STATE).fetchone()
        if row is None:
            raise apsw.CorruptError("the row of state is missing")
        return State(*row)

    def set_state(self, state: State) -> None:
        self._execute(
            "UPDATE state SET commit_number=?, incarnation=?, uidvalidity=?, last_message=? WHERE one=1", state)

    def find_incarnation(self, slot: int) -> int | None:
        """The incarnation of a slot's last process that has not ended cleanly."""
        found: int | None = self._get("SELECT incarnation FROM slots WHERE slot=?", (slot,))
        return found

    def set_slot(self, slot: int, incarnation: int) -> None:
        self._execute("INSERT OR REPLACE INTO slots VALUES(?,?)", (slot, incarnation))

    def delete_slot(self, slot: int) -> None:
        """The slot's process ends and leaves nothing to tidy."""
        self._execute("DELETE FROM slots WHERE slot=?", (slot,))

    def keep_only_slot(self, slot: int) -> None:
        """Forget the slots whose processes died; the caller tidies after them."""
        self._execute("DELETE FROM slots WHERE slot<>?", (slot,))

    # Arrivals.

    def find_delivered(self, message: int, account: int) -> int | None:
        """The UID a message has or had for an account."""
        uid: int | None = self._get(
            "SELECT uid FROM placements WHERE message=?1 AND account=?2 UNION ALL "
            "SELECT uid FROM delivered WHERE message=?1 AND account=?2", (message, account))
        return uid

    def is_known(self, message: int) -> bool:
        """Whether the message lives or an expunged placement of it is remembered."""
        return self._get(
            "SELECT 1 FROM messages WHERE id=?1 UNION ALL SELECT 1 FROM delivered WHERE message=?1",
            (message,)) is not None

    def has_message(self, message: int) -> bool:
        return self._get("SELECT 1 FROM messages WHERE id=?", (message,)) is not None

    def has_uidl(self, folder: int, uidl: str) -> bool:
        return self._get("SELECT 1 FROM placements WHERE folder=? AND uidl=?", (folder, uidl)) is not None

    def get_last_uid(self, folder: int) -> int:
        return int(self._get("SELECT max(uid) FROM placements WHERE folder=?", (folder,)) or 0)

    def insert(self, messages: Sequence[MessageRow], placements: Sequence[PlacementRow]) -> None:
        self._executemany("INSERT INTO messages VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", messages)
        self._executemany("INSERT INTO placements VALUES(?,?,?,?,?,?,?,?,?,?)", placements)

    # Folders.

    def find_folder(self, account: int, name: str) -> FolderRow | None:
        row = self._execute(_FOLDER + "WHERE account=? AND name=?", (account, name)).fetchone()
        return FolderRow(*row) if row else None

    def find_folder_by_id(self, folder: int) -> FolderRow | None:
        row = self._execute(_FOLDER + "WHERE id=?", (folder,)).fetchone()
        return FolderRow(*row) if row else None

    def insert_folder(self, account: int, name: str, uidvalidity: int, uidnext: int) -> int:
        self._execute("INSERT INTO uidvalidities VALUES(?,?,?)", (account, name, uidvalidity))
        self._execute(
            "INSERT INTO folders(account, name, uidvalidity, uidnext, messages, bytes, importing) "
            "VALUES(?,?,?,?,0,0,1)", (account, name, uidvalidity, uidnext))
        return self._connection.last_insert_rowid()

    def update_folders(self, rows: Sequence[tuple[int, int, int, int, int]]) -> None:
        """Rows of (uidnext, messages, bytes, importing, id)."""
        self._executemany("UPDATE folders SET uidnext=?, messages=?, bytes=?, importing=? WHERE id=?", rows)

    def has_uidvalidity(self, value: int, account: int | None = None, name: str = "") -> bool:
        if account is None:
            return self._get("SELECT 1 FROM uidvalidities WHERE value=?", (value,)) is not None
        return self._get(
            "SELECT 1 FROM uidvalidities WHERE value=? AND account=? AND name=?",
            (value, account, name)) is not None

    def list_account_folders(self, account: int) -> list[FolderRow]:
        return [FolderRow(*row) for row in self._execute(_FOLDER + "WHERE account=?", (account,))]

    def delete_folder(self, folder: int) -> None:
        self._execute("DELETE FROM folders WHERE id=?", (folder,))

    # Expunging.

    def delete_placement(self, folder: int, uid: int) -> tuple[int, int, int] | None:
        """Remove a placement; its (message, account, size)."""
        row: tuple[int, int, int] | None = self._execute(
            "DELETE FROM placements WHERE folder=? AND uid=? RETURNING message, account, size",
            (folder, uid)).fetchone()
        return row

    def list_uids(self, folder: int, limit: int) -> list[int]:
        return [row[0] for row in self._execute("SELECT uid FROM placements WHERE folder=? LIMIT ?", (folder, limit))]

    def remember_delivery(self, message: int, account: int, uid: int) -> None:
        self._execute("INSERT OR REPLACE INTO delivered VALUES(?,?,?)", (message, account, uid))

    def forget_deliveries(self, account: int | None, before: int) -> None:
        """Of an account, or of all messages with ids below ``before``."""
        if account is not None:
            self._execute("DELETE FROM delivered WHERE account=?", (account,))
        else:
            self._execute("DELETE FROM delivered WHERE message<?", (before,))

    def delete_unplaced(self, message: int) -> tuple[int, int, str | None] | None:
        """Remove the message if no placement points to it; its (segment, length, large name)."""
        row: tuple[int, int, str | None] | None = self._execute(
            "DELETE FROM messages WHERE id=?1 AND NOT EXISTS (SELECT 1 FROM placements WHERE message=?1) "
            "RETURNING segment, length, large", (message,)).fetchone()
        return row

    # Segments.

    def insert_segment(self, segment: int, slot: int, end: int) -> None:
        self._execute("INSERT INTO segments VALUES(?,?,0,?,0,0)", (segment, slot, end))

    def extend_segment(self, segment: int, end: int, records: int, size: int) -> None:
        self._execute(
            "UPDATE segments SET end=?, live=live+?, live_bytes=live_bytes+? WHERE id=?",
            (end, records, size, segment))

    def shrink_segment(self, segment: int, records: int, size: int) -> None:
        self._execute(
            "UPDATE segments SET live=live-?, live_bytes=live_bytes-? WHERE id=?", (records, size, segment))

    def seal_segment(self, segment: int) -> None:
        self._execute("UPDATE segments SET sealed=1 WHERE id=?", (segment,))

    def list_open_segments(self) -> list[tuple[int, int]]:
        """(id, slot) of those not sealed."""
        return list(self._execute("SELECT id, slot FROM segments WHERE sealed=0"))

    def list_dead_segments(self) -> list[tuple[int, int]]:
        """(id, slot) of sealed segments without a living record."""
        return list(self._execute("SELECT id, slot FROM segments WHERE sealed=1 AND live=0"))

    def delete_segment(self, segment: int) -> None:
        self._execute("DELETE FROM segments WHERE id=?", (segment,))

    def list_segment_ids(self) -> set[int]:
        return {row[0] for row in self._execute("SELECT id FROM segments")}

    def has_large(self, name: str) -> bool:
        return self._get("SELECT 1 FROM messages WHERE large=?", (name,)) is not None

    def list_large_names(self) -> set[str]:
        return {row[0] for row in self._execute("SELECT large FROM messages WHERE large IS NOT NULL")}

    def _get(self, sql: str, bindings: tuple[Any, ...]) -> Any:
        rows = self._execute(sql, bindings).fetchall()
        return rows[0][0] if rows else None


class ReadIndex:
    """A reader's connection. Every method leaves no statement open."""

    def __init__(self, path: Path) -> None:
        self.connection = open_connection(path)
        self.inode = os.stat(path).st_ino
        self.connection.execute("PRAGMA query_only=ON")
        self._execute = self.connection.cursor().execute

    def close(self) -> None:
        self.connection.close()

    def _first(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The first row or None. fetchone would leave the statement open, and with it the snapshot."""
        rows = self._execute(sql, bindings).fetchall()
        return rows[0] if rows else None

    def find_folder(self, account: int, name: str) -> FolderRow | None:
        row = self._first(_FOLDER + "WHERE account=? AND name=?", (account, name))
        return FolderRow(*row) if row else None

    def list_folders(self, account: int) -> list[FolderRow]:
        return [FolderRow(*r) for r in self._execute(_FOLDER + "WHERE account=? ORDER BY name", (account,))]

    def get_usage(self, account: int) -> tuple[int, int]:
        """(bytes, messages) of an account."""
        size, messages = self._first(
            "SELECT coalesce(sum(bytes), 0), coalesce(sum(messages), 0) FROM folders WHERE account=?", (account,))
        return size, messages

    def get_uidvalidity(self, folder: int) -> int | None:
        row = self._first("SELECT uidvalidity FROM folders WHERE id=?", (folder,))
        return row[0] if row else None

    def list_items(self, folder: int) -> Iterator[list[Any]]:
        """(uid, message, size, uidl or None, flags, internal date) in slices by UID."""
        after = 0
        while True:
            rows: list[Any] = self._execute(
                "SELECT uid, message, size, uidl, flags, internal_date FROM placements "
                "WHERE folder=? AND uid>? ORDER BY uid LIMIT ?", (folder, after, _SLICE)).fetchall()
            if rows:
                yield rows
            if len(rows) < _SLICE:
                return
            after = rows[-1][0]

    def find_location(self, folder: int, uid: int) -> Location | None:
        row = self._first(
            "SELECT m.id, p.prefix, m.segment, m.header_start, m.header_size, m.body_size, m.large "
            "FROM placements p JOIN messages m ON m.id=p.message WHERE p.folder=? AND p.uid=?",
            (folder, uid))
        return Location(*row) if row else None

    def list_locations(self, folder: int, first: int, limit: int) -> dict[int, Location]:
        """UID -> where it lies, of the placements from a UID on."""
        rows: list[Any] = self._execute(
            "SELECT p.uid, m.id, p.prefix, m.segment, m.header_start, m.header_size, m.body_size, m.large "
            "FROM placements p JOIN messages m ON m.id=p.message WHERE p.folder=? AND p.uid>=? ORDER BY p.uid LIMIT ?",
            (folder, first, limit)).fetchall()
        return {row[0]: Location(*row[1:]) for row in rows}

    def get_parsed(self, message: int) -> bytes | None:
        row = self._first("SELECT parsed FROM messages WHERE id=?", (message,))
        return row[0] if row else None

    def get_state(self) -> State:
        row = self._first(_STATE)
        if row is None:
            raise apsw.CorruptError("the row of state is missing")
        return State(*row)

    def list_segments(self) -> list[SegmentRow]:
        return [SegmentRow(*row) for row in self._execute("SELECT * FROM segments ORDER BY id")]

    def list_slots(self) -> dict[int, int]:
        """Slot -> incarnation of those that live or died without a clean end."""
        rows: list[Any] = self._execute("SELECT slot, incarnation FROM slots").fetchall()
        return dict(rows)

    def list_messages(self, after: int) -> list[MessageRow]:
        """The next slice of messages by id; the parsed form is left out (empty)."""
        return [MessageRow(*row) for row in self._execute(
            "SELECT id, segment, offset, length, header_start, header_size, body_size, large, large_crc, received, "
            "parser, x'' FROM messages WHERE id>? ORDER BY id LIMIT ?", (after, _SLICE))]

    def has_same_place(self, message: MessageRow) -> bool:
        """Whether the message still lies where it was."""
        return self._first(
            "SELECT 1 FROM messages WHERE id=? AND segment=? AND offset=?",
            (message.id, message.segment, message.offset)) is not None

    def has_large(self, name: str) -> bool:
        return self._first("SELECT 1 FROM messages WHERE large=?", (name,)) is not None

    def has_segment(self, segment: int) -> bool:
        return self._first("SELECT 1 FROM segments WHERE id=?", (segment,)) is not None


# What `verify` asks in one snapshot: a sentence, and a statement whose rows fill it. No rows, no finding.
_DIFFERENCES = (
    ("folder {0}: its counters say {1} messages and {2} bytes, its placements are {3} and {4}",
     "SELECT f.id, f.messages, f.bytes, count(p.uid), coalesce(sum(p.size), 0) AS total FROM folders f "
     "LEFT JOIN placements p ON p.folder=f.id GROUP BY f.id "
     "HAVING f.messages<>count(p.uid) OR f.bytes<>coalesce(sum(p.size), 0)"),
    ("folder {0}: UIDNEXT is {1}, but UID {2} exists",
     "SELECT f.id, f.uidnext, max(p.uid) FROM folders f JOIN placements p ON p.folder=f.id GROUP BY f.id "
     "HAVING max(p.uid)>=f.uidnext"),
    ("folder {0}: UID {1} stands there twice",
     "SELECT folder, uid FROM placements NOT INDEXED GROUP BY folder, uid HAVING count(*)>1"),
    ("folder {0}: UIDL {1} stands there twice",
     "SELECT folder, uidl FROM placements NOT INDEXED WHERE uidl IS NOT NULL GROUP BY folder, uidl "
     "HAVING count(*)>1"),
    ("account {0}: it has two folders of the name {1}",
     "SELECT account, name FROM folders NOT INDEXED GROUP BY account, name HAVING count(*)>1"),
    ("account {0}: UIDVALIDITY {1} of folder {2} is not on the list of used ones",
     "SELECT f.account, f.uidvalidity, f.name FROM folders f LEFT JOIN uidvalidities u "
     "ON u.value=f.uidvalidity AND u.account=f.account AND u.name=f.name WHERE u.value IS NULL"),
    ("message {0}: account {1} has it twice",
     "SELECT message, account FROM placements NOT INDEXED GROUP BY message, account HAVING count(*)>1"),
    ("folder {0}: UID {1} is of message {2}, which does not exist",
     "SELECT p.folder, p.uid, p.message FROM placements p LEFT JOIN messages m ON m.id=p.message "
     "WHERE m.id IS NULL"),
    ("folder {0}: it does not exist, but UID {1} lies in it",
     "SELECT p.folder, min(p.uid) FROM placements p LEFT JOIN folders f ON f.id=p.folder "
     "WHERE f.id IS NULL GROUP BY p.folder"),
    ("folder {0}: UID {1} belongs to account {2}, the folder to {3}",
     "SELECT p.folder, p.uid, p.account, f.account FROM placements p JOIN folders f ON f.id=p.folder "
     "WHERE f.account<>p.account"),
    ("message {0}: no placement points to it",
     "SELECT m.id FROM messages m WHERE NOT EXISTS (SELECT 1 FROM placements p WHERE p.message=m.id)"),
    ("message {0}: it is {1} bytes and its copy for account {2} claims {3}",
     "SELECT m.id, m.header_size+m.body_size+length(p.prefix), p.account, p.size FROM placements p "
     "JOIN messages m ON m.id=p.message WHERE p.size<>m.header_size+m.body_size+length(p.prefix)"),
    ("folder {0}: UID {1} has ModSeq {2}, above the commit number {3}",
     "SELECT p.folder, p.uid, p.modseq, s.commit_number FROM placements p, state s WHERE p.modseq>s.commit_number"),
    ("message {0}: its id is above the last one known, {1}",
     "SELECT m.id, s.last_message FROM messages m, state s WHERE m.id>s.last_message"),
    ("segment {0:x}: it counts {1} living records of {2} bytes, its messages are {3} of {4}",
     "SELECT s.id, s.live, s.live_bytes, count(m.id), coalesce(sum(m.length), 0) FROM segments s "
     "LEFT JOIN messages m ON m.segment=s.id GROUP BY s.id "
     "HAVING s.live<>count(m.id) OR s.live_bytes<>coalesce(sum(m.length), 0)"),
    ("message {0}: its segment {1:x} does not exist",
     "SELECT m.id, m.segment FROM messages m LEFT JOIN segments s ON s.id=m.segment WHERE s.id IS NULL"),
    ("message {0}: it ends at {1}, beyond the end {2} of segment {3:x}",
     "SELECT m.id, m.offset+m.length, s.end, s.id FROM messages m JOIN segments s ON s.id=m.segment "
     "WHERE m.offset+m.length>s.end"),
    ("message {0}: its record overlaps the one before it in segment {1:x}",
     "SELECT id, segment FROM (SELECT id, segment, offset, lag(offset+length) OVER "
     "(PARTITION BY segment ORDER BY offset) AS before FROM messages) WHERE before>offset"),
    ("message {0} and another name the same large file {1}",
     "SELECT max(id), large FROM messages NOT INDEXED WHERE large IS NOT NULL GROUP BY large HAVING count(*)>1"),
)


def list_differences(connection: apsw.Connection, limit: int) -> list[str]:
    """What does not agree inside the index, in words, all judged in one snapshot; at most ``limit`` of each kind."""
    found = []
    execute = connection.cursor().execute
    execute("BEGIN")
    try:
        for sentence, sql in _DIFFERENCES:
            rows: list[Any] = execute(f"{sql} LIMIT {limit}").fetchall()
            found += [sentence.format(*row) for row in rows]
        for line, in execute(f"PRAGMA integrity_check({limit})").fetchall():
            if line != "ok":
                found.append(f"index: {line}")
    finally:
        execute("ROLLBACK")
    return found


class Checkpoint(enum.Enum):
    """How far a checkpoint goes: move what it can; also have the WAL written from its beginning again; also empty the
    file."""

    PASSIVE = apsw.SQLITE_CHECKPOINT_PASSIVE
    RESTART = apsw.SQLITE_CHECKPOINT_RESTART
    TRUNCATE = apsw.SQLITE_CHECKPOINT_TRUNCATE


def checkpoint(connection: apsw.Connection, how: Checkpoint) -> bool:
    """Move the WAL into the database. Returns whether all of it was moved. Raises apsw.Error."""
    try:
        size, moved = connection.wal_checkpoint(mode=how.value)
    except apsw.BusyError:
        return False
    return size == moved

"""Saved settings: the values an administrator gave, in ``<spool>/config/office.db``, with their history.

Owns the database file's opening (the directory shares it), the tables of settings and the generation number that
rises with every change. `SavedSettings.current` is cheap: the table is read again only when another connection has
committed (``PRAGMA data_version``). Every commit is synced. A value that cannot be read any more (an older or newer
version wrote it) is logged and its default holds: a server must start.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from postoffice.base.durable import sync_directory
from postoffice.base.errors import InputError, PostOfficeError, TemporaryError
from postoffice.config.keys import Applies, Key
from postoffice.config.registry import Registry, Snapshot

_log = logging.getLogger(__name__)

_BUSY_MILLISECONDS = 10_000
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS schema_versions(owner TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings(path TEXT PRIMARY KEY COLLATE NOCASE, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS setting_changes(
    id INTEGER PRIMARY KEY AUTOINCREMENT, seconds REAL NOT NULL, who TEXT NOT NULL, origin TEXT NOT NULL,
    path TEXT NOT NULL, before TEXT, after TEXT);
CREATE TABLE IF NOT EXISTS settings_generation(one INTEGER PRIMARY KEY CHECK(one = 1), number INTEGER NOT NULL);
INSERT OR IGNORE INTO settings_generation VALUES(1, 1);
INSERT OR IGNORE INTO schema_versions VALUES('config', 1);
"""


@dataclass(frozen=True, slots=True)
class Changed:
    """One entry of the history. ``before`` and ``after`` are texts, None where the default held."""

    id: int
    seconds: float
    who: str
    origin: str
    path: str
    before: str | None
    after: str | None


def open_database(path: Path) -> apsw.Connection:
    """Open (or create) an office database: WAL, every commit synced. Raises TemporaryError when it cannot be.

    One connection per thread and per role; a reader that must see changes has its own."""
    try:
        created = not path.exists()
        if created:             # before SQLite does, and private from its first moment: it will hold password hashes
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        mode = connection.execute("PRAGMA journal_mode=WAL").get
        connection.execute("PRAGMA synchronous=FULL").fetchall()
        connection.execute("PRAGMA foreign_keys=ON").fetchall()
        level = connection.execute("PRAGMA synchronous").get
        if created:
            sync_directory(path.parent)
    except (apsw.Error, OSError) as error:
        raise TemporaryError(f"The database {path} cannot be opened: {error}.") from error
    # Read back, because a pragma that did nothing says so by no error.
    if mode != "wal" or level != 2:
        raise TemporaryError(f"The database {path} does not take the modes it needs ({mode}, {level}).")
    return connection


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK when the block or the commit fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def fetch_all(connection: apsw.Connection, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
    """All rows of a statement: nothing stays open behind it."""
    return connection.execute(sql, bindings).fetchall()


class SavedSettings:
    """The settings of one spool. For one thread; several processes may use the same file."""

    def __init__(self, path: Path, registry: Registry, *, hold_seconds: float = 0.0) -> None:
        """``hold_seconds``: how old an answer of `current` may be. A busy process asks many times a millisecond."""
        self.registry = registry
        self._hold_seconds = hold_seconds
        self._held_until = 0.0
        self._reader = open_database(path)
        self._writer = open_database(path)
        with transaction(self._writer):
            self._writer.execute(_SCHEMA).fetchall()
        version = fetch_all(self._reader, "SELECT version FROM schema_versions WHERE owner='config'")[0][0]
        if version > _SCHEMA_VERSION:
            raise PostOfficeError(f"{path} belongs to a newer version of Post.Office.", "Use that version.")
        self._get_version = self._reader.cursor().execute
        self._taken = int(fetch_all(self._reader, "SELECT coalesce(max(id), 0) FROM setting_changes")[0][0])
        self._seen = -1
        self._snapshot = Snapshot(registry, {})
        self._complained: set[tuple[str, str]] = set()

    def current(self) -> Snapshot:
        """The values now, with every change committed by any process (at most ``hold_seconds`` ago)."""
        if self._hold_seconds:
            now = time.monotonic()
            if now < self._held_until:
                return self._snapshot
            self._held_until = now + self._hold_seconds
        version = self._get_version("PRAGMA data_version").get
        if version != self._seen:
            generation = self._read_generation()
            if generation != self._snapshot.generation:
                self._snapshot = self._read(generation)
            self._seen = version
        return self._snapshot

    def look_again(self) -> None:
        """Let the next `current` ask the database, whatever is held."""
        self._held_until = 0.0

    def set(self, path: str, text: str, *, who: str, origin: str = "") -> list[Changed]:
        """Save one value. See `apply`."""
        return self.apply({path: text}, who=who, origin=origin)

    def delete(self, path: str, *, who: str, origin: str = "") -> list[Changed]:
        """Back to the default. See `apply`."""
        return self.apply({path: None}, who=who, origin=origin)

    def apply(self, changes: Mapping[str, str | None], *, who: str, origin: str = "",
              planned: bool = False) -> list[Changed]:
        """Save several values in one transaction (None: back to the default); returns what really changed.

        Raises InputError naming the key for an unknown key, a value it does not admit, or a key whose data has to move
        with it (unless ``planned``: the operation that moves it calls). Nothing is changed then."""
        checked = {self.registry.get(path): text for path, text in changes.items()}
        tidied = {key: check_value(key, text, planned=planned) for key, text in checked.items()}
        try:
            with transaction(self._writer):
                return self._save(tidied, who.encode(errors="replace").decode(), origin)
        except (apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError) as error:
            raise TemporaryError(f"The settings could not be saved: {error}.") from error

    def _save(self, texts: Mapping[Key[Any], str | None], who: str, origin: str) -> list[Changed]:
        """Inside a transaction: write what differs, and its history."""
        now = time.time()
        done: list[Changed] = []
        for key, text in texts.items():
            found = fetch_all(self._writer, "SELECT value FROM settings WHERE path=?", (key.path,))
            before = found[0][0] if found else None
            if before == text:
                continue
            if text is None:
                self._writer.execute("DELETE FROM settings WHERE path=?", (key.path,))
            else:
                self._writer.execute("INSERT OR REPLACE INTO settings VALUES(?,?)", (key.path, text))
            self._writer.execute(
                "INSERT INTO setting_changes(seconds, who, origin, path, before, after) VALUES(?,?,?,?,?,?)",
                (now, who, origin, key.path, before, text))
            done.append(Changed(self._writer.last_insert_rowid(), now, who, origin, key.path, before, text))
        if done:
            self._writer.execute("UPDATE settings_generation SET number = number + 1")
        return done

    def list_history(self, limit: int = 100, path: str = "") -> list[Changed]:
        """The latest changes, newest first; with ``path`` only those of keys that begin with it. Secrets read ****."""
        rows = fetch_all(
            self._reader, "SELECT id, seconds, who, origin, path, before, after FROM setting_changes"
            " WHERE substr(path, 1, ?) = ? COLLATE NOCASE ORDER BY id DESC LIMIT ?", (len(path), path, limit))
        return [self._build_change(row) for row in rows]

    def take_changes(self) -> list[Changed]:
        """The changes, by any process, since the last call (or since this object was made), oldest first: for the log.
        Secrets read ****; None stands for the default."""
        rows = fetch_all(
            self._reader, "SELECT id, seconds, who, origin, path, before, after FROM setting_changes"
            " WHERE id > ? ORDER BY id", (self._taken,))
        changes = [self._build_change(row) for row in rows]
        if changes:
            self._taken = changes[-1].id
        return changes

    def get_undo(self, change_id: int) -> tuple[str, str | None]:
        """The path of a change's key and the text it had before (None: the default). Raises InputError when there is no
        such change, or when the key has been changed again since."""
        rows = fetch_all(self._reader, "SELECT path, before, after FROM setting_changes WHERE id=?", (change_id,))
        if not rows:
            raise InputError(str(change_id), "there is no such change.", "List them with: postoffice config history")
        path, before, after = rows[0]
        key = self.registry.get(path)
        if self.current().texts.get(key) != after:
            raise InputError(path, "it has been changed again since.",
                             "Undo the newer change first, or set it by dbedit -s")
        return path, before

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _read_generation(self) -> int:
        return int(fetch_all(self._reader, "SELECT number FROM settings_generation")[0][0])

    def _read(self, generation: int) -> Snapshot:
        texts: dict[Key[Any], str] = {}
        for path, text in fetch_all(self._reader, "SELECT path, value FROM settings"):
            key = self.registry.find(path)
            try:
                if key is None:
                    raise ValueError("this version has no such key")
                key.parse(text)
            except ValueError as error:
                if (path, text) not in self._complained:
                    self._complained.add((path, text))
                    _log.warning("the saved value of %s is not used, its default holds: %s", path, error)
                continue
            texts[key] = text
        return Snapshot(self.registry, texts, generation)

    def _build_change(self, row: tuple[Any, ...]) -> Changed:
        number, seconds, who, origin, path, before, after = row
        return Changed(number, seconds, who, origin, path, self._mask(path, before), self._mask(path, after))

    def _mask(self, path: str, text: str | None) -> str | None:
        key = self.registry.find(path)
        return "****" if text and key is not None and key.secret else text


def check_value(key: Key[Any], text: str | None, *, planned: bool = False) -> str | None:
    """The canonical spelling of a text for a key (None: its default), if it may be given to it at all.

    Raises InputError naming key, value and what is allowed."""
    if key.applies is Applies.PLAN and not planned:
        raise InputError(key.path, "data has to move with this setting, so it cannot simply be set.",
                         f"Use: {key.operation}" if key.operation else "")
    if text is None:
        return None
    try:
        return key.tidy(text)
    except ValueError as error:
        shown = "****" if key.secret else f"[{text}]"
        raise InputError(key.path, f"the value {shown} is not possible: {error}.") from None

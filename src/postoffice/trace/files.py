"""The trace's files: one SQLite file per month in ``<spool>/trace``, named by the month of the message id.

Only this file and `journal`/`search` beside it know the tables. The file of the running month has no index but the
message id; `close_month` adds the look-up indexes when a month is over. Commits are never synced for an event's
sake (WAL, NORMAL): what a power cut takes is read again from the store's records.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY, status TEXT NOT NULL, haystack TEXT NOT NULL, row BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS later(id INTEGER NOT NULL, steps BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS clients(seconds REAL NOT NULL, client TEXT NOT NULL, step BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS reached(slot INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL);
"""


def get_month(seconds: float) -> str:
    """``YYYYMM`` of a time, UTC."""
    return time.strftime("%Y%m", time.gmtime(seconds))


def get_month_path(directory: Path, month: str) -> Path:
    return directory / f"{month}.db"


def list_months(directory: Path) -> list[str]:
    """The months that have a file, oldest first."""
    return sorted(path.stem for path in directory.glob("[0-9]" * 6 + ".db"))


def open_for_writing(path: Path) -> apsw.Connection:
    """Open or create a month's file for a writer that never waits: a busy file raises apsw.BusyError at once."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(2000)
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.execute("PRAGMA synchronous=NORMAL").fetchall()
    connection.execute("PRAGMA wal_autocheckpoint=0").fetchall()    # a checkpoint syncs; `checkpoint` does it apart
    connection.execute(_SCHEMA).fetchall()
    connection.set_busy_timeout(0)
    return connection


def open_for_reading(path: Path) -> apsw.Connection:
    """Open a month's file for a search."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(2000)
    return connection


def fetch_all(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
    """All rows of a statement: nothing stays open behind it."""
    return connection.execute(sql, bindings).fetchall()


def checkpoint(path: Path) -> None:
    """Fold the write-ahead log into the file. Blocking (it syncs): for a thread or the Deliver process."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(0)
        connection.execute("PRAGMA synchronous=NORMAL").fetchall()
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return          # a writer is at work; the next round gets it
    finally:
        connection.close()


def close_month(path: Path) -> None:
    """Add the look-up indexes of a month that is over. Idempotent."""
    connection = open_for_reading(path)
    try:
        connection.execute("CREATE INDEX IF NOT EXISTS later_by_id ON later(id)").fetchall()
        connection.execute("CREATE INDEX IF NOT EXISTS clients_by_client ON clients(client, seconds)").fetchall()
        connection.execute("CREATE INDEX IF NOT EXISTS messages_by_status ON messages(status)").fetchall()
    finally:
        connection.close()

"""What all processes know of failed sign-ins: failures and bans, in a small database of their own.

Owns ``<spool>/policy/counters.db`` and its SQL; how many failures mean what is `policy.signin`'s. Not synced: a power
cut may cost the last second, a killed process costs nothing. Bounded in rows; the oldest go first.

Of a wrong password two octets of a keyed HMAC are kept, to see that the same one came again. Wrong passwords are
often right ones mistyped, or right elsewhere: two octets tell a thief of the file next to nothing, and one wrong
password in ten thousand taken for another does no harm.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from postoffice.base.durable import DISK

COUNTERS = Path("policy/counters.db")       # below the spool

_log = logging.getLogger(__name__)
_ALL = "*"                                  # the subject of a ban of all sign-ins of a client
_MAX_FAILURES = 100_000
_MAX_BANS = 20_000
_BUSY_MILLISECONDS = 250
_CLOCK_SLACK = 60.0                         # a record further in the future is from before the clock was set back

_SCHEMA = """
CREATE TABLE IF NOT EXISTS failures(
  client TEXT NOT NULL, subject TEXT NOT NULL, mark BLOB NOT NULL, seconds REAL NOT NULL,
  PRIMARY KEY(client, subject, mark)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS failures_seconds ON failures(seconds);
CREATE TABLE IF NOT EXISTS bans(
  client TEXT NOT NULL, subject TEXT NOT NULL, login TEXT NOT NULL, since REAL NOT NULL, until REAL NOT NULL,
  reason TEXT NOT NULL, PRIMARY KEY(client, subject)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secret(one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Ban:
    """``client`` is an address or a /64; ``subject`` the account (or unknown name) that it is kept from, None for all.

    ``login`` is for the reader. ``since`` and ``until`` in seconds since 1970."""

    client: str
    subject: str | None
    login: str
    since: float
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Within the window: different wrong passwords of the pair, and different accounts the client failed on."""

    passwords: int
    accounts: int


class Counters:
    """One process's (or command's) view. All calls are short and may be made on the loop; one thread only.

    A database that cannot be written stops no sign-in: the trouble is logged and the failure stays uncounted."""

    def __init__(self, path: Path) -> None:
        DISK.make_directory(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._connection = _open(path)
        self.secret = self._get_secret()
        self._noted = 0

    def close(self) -> None:
        self._connection.close()

    def mark(self, *parts: str, size: int = 2) -> bytes:
        """A keyed mark of some words, the same in every process."""
        return hmac.digest(self.secret, "\0".join(parts).encode("utf-8", "surrogatepass"), "sha256")[:size]

    def find_ban(self, client: str, subject: str, now: float) -> Ban | None:
        """The ban that keeps this client from this account, or from all."""
        try:
            rows = self._fetch("SELECT client, subject, login, since, until, reason FROM bans"
                               " WHERE client=? AND subject IN (?, '*') AND until > ? AND since <= ?",
                               (client, subject, now, now + _CLOCK_SLACK))
        except apsw.Error:
            _log.exception("the bans cannot be read")
            return None
        return _build_ban(rows[0]) if rows else None

    def note_failure(self, client: str, subject: str, mark: bytes, now: float, window: float) -> Tally:
        """Count a failure; one with the same mark counts once."""
        try:
            with self._connection:
                self._execute("INSERT OR REPLACE INTO failures VALUES(?,?,?,?)", (client, subject, mark, now))
                self._execute("DELETE FROM failures WHERE seconds <= ? OR seconds > ?",
                              (now - window, now + _CLOCK_SLACK))
                ((passwords, accounts),) = self._fetch(
                    "SELECT count(*) FILTER (WHERE subject=?), count(DISTINCT subject) FROM failures WHERE client=?",
                    (subject, client))
                self._noted += 1
                if self._noted % 1000 == 1:
                    self._bound()
        except apsw.Error:
            _log.exception("a failed sign-in cannot be counted")
            return Tally(1, 1)
        return Tally(passwords, accounts)

    def ban(self, ban: Ban) -> bool:
        """Keep a client away. False when it was already (or the ban cannot be written, which is logged)."""
        subject = _ALL if ban.subject is None else ban.subject
        try:
            with self._connection:
                self._execute("DELETE FROM bans WHERE until <= ? OR since > ?", (ban.since, ban.since + _CLOCK_SLACK))
                self._execute("INSERT OR IGNORE INTO bans VALUES(?,?,?,?,?,?)",
                              (ban.client, subject, ban.login, ban.since, ban.until, ban.reason))
                made = self._connection.changes() > 0
        except apsw.Error:
            _log.exception("a ban cannot be written")
            return False
        return made

    def list_bans(self, now: float) -> list[Ban]:
        """The bans in force, oldest first."""
        return [_build_ban(row) for row in self._fetch(
            "SELECT client, subject, login, since, until, reason FROM bans WHERE until > ? AND since <= ?"
            " ORDER BY since, client, subject", (now, now + _CLOCK_SLACK))]

    def lift(self, ban: Ban) -> bool:
        """End a ban and forget the failures behind it, also while there is no ban yet. False when there was none."""
        subject = _ALL if ban.subject is None else ban.subject
        with self._connection:
            self._execute("DELETE FROM bans WHERE client=? AND subject=?", (ban.client, subject))
            lifted = self._connection.changes() > 0
            # Otherwise the next slip would bring the ban back at once.
            self._execute("DELETE FROM failures WHERE client=? AND (subject=? OR ?='*')",
                          (ban.client, subject, subject))
        return lifted

    def _bound(self) -> None:
        """An attacker with many networks must not fill the disk."""
        self._execute("DELETE FROM failures WHERE seconds <= (SELECT seconds FROM failures ORDER BY seconds DESC"
                      " LIMIT 1 OFFSET ?)", (_MAX_FAILURES,))
        self._execute("DELETE FROM bans WHERE until <= (SELECT until FROM bans ORDER BY until DESC LIMIT 1 OFFSET ?)",
                      (_MAX_BANS,))

    def _get_secret(self) -> bytes:
        with self._connection:
            self._execute("INSERT OR IGNORE INTO secret VALUES(1, ?)", (secrets.token_bytes(32),))
            ((value,),) = self._fetch("SELECT value FROM secret")
        return bytes(value)

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self._connection.execute(statement, values)

    def _fetch(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        rows: list[Any] = self._connection.execute(statement, values).fetchall()
        return rows


def _open(path: Path) -> apsw.Connection:
    """The database, made anew when it is damaged: it holds nothing that cannot be counted again."""
    try:
        return _connect(path)
    except (apsw.NotADBError, apsw.CorruptError):
        _log.warning("%s is damaged; failed sign-ins are counted from nothing", path)
        for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            DISK.unlink(name)
        return _connect(path)


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "off")
        connection.transaction_mode = "IMMEDIATE"       # a deferred one may fail at its first write
        with connection:
            connection.execute(_SCHEMA)
    except apsw.Error:
        connection.close()
        raise
    return connection


def _build_ban(row: tuple[Any, ...]) -> Ban:
    client, subject, *rest = row
    return Ban(client, None if subject == _ALL else subject, *rest)

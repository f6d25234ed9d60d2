"""The journal: takes events on the loop's thread and writes them, in batches, to the plain log and the trace.

Owns the buffers and the per-client counting; the tables are `files`', the line format `plainlog`'s. Nothing here ever
waits or raises for the disk's sake: a busy or failing trace file keeps its rows in memory (bounded) and tries again
at the next flush. Call `flush` about every 50 ms; a message's row is thus on its way 50 ms after its 250, and after an
unclean stop it is made from the store's record (`read_on`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import apsw
import msgspec

from postoffice.base.ids import get_id_seconds
from postoffice.config.registry import Snapshot
from postoffice.settings import log as keys
from postoffice.trace import files, rows
from postoffice.trace.api import Summary
from postoffice.trace.counting import ClientCounter
from postoffice.trace.events import Event, Subject
from postoffice.trace.plainlog import PlainLog
from postoffice.trace.switches import SWITCHES

FLUSH_SECONDS = 0.05
_MAX_BUFFERED = 200_000                 # rows kept while a trace file cannot be written; then the oldest go, counted

_log = logging.getLogger(__name__)

Position = tuple[int, int]              # (segment, offset) of the store's records


class Journal:
    """One process's end of the trace. ``slot`` is the process's store slot; ``get_position`` tells how far the store's
    records of this process are committed and answered."""

    def __init__(
        self,
        directory: Path,
        snapshot: Callable[[], Snapshot],
        now: Callable[[], float],
        *,
        slot: int = 0,
        get_position: Callable[[], Position | None] | None = None,
    ) -> None:
        self._directory = directory
        self._snapshot = snapshot
        self._now = now
        self._slot = slot
        self._get_position = get_position or (lambda: None)
        self._position: Position | None = None
        self._written_position: Position | None = None
        self._messages: list[tuple[int, str, str, bytes]] = []
        self._later: list[tuple[int, bytes]] = []
        self._clients: list[tuple[float, str, bytes]] = []
        self._month = ""
        self._connection: apsw.Connection | None = None
        self._counter = ClientCounter()
        self._generation = -1
        self._logged: dict[object, bool] = {}
        self.lost = 0
        self.plain = PlainLog(snapshot()[keys.LOG_DIR] or directory.parent / "log")

    # --- trace.api.Trace ---

    def record(self, event: Event) -> None:
        """See `trace.api.Trace`. An event with a message id becomes a later step of that message."""
        if event.type.subject is Subject.CLIENT:
            rate = self._snapshot()[keys.CLIENT_EVENT_RATE]
            if not self._counter.admit(event, rate):
                return
        self._log_line(event)
        if event.message_id is not None:
            self._later.append((event.message_id, rows.pack_steps([event])))
        if event.message_id is None or event.type.subject is Subject.CLIENT:
            # What a client did is asked by client, also where it belongs to a message (refused recipients).
            self._clients.append((event.seconds, event.client, msgspec.msgpack.encode(rows.build_step(event))))

    def record_message(self, summary: Summary, events: list[Event], packed: bytes | None = None) -> None:
        for event in events:
            self._log_line(event)
        self._messages.append((summary.message_id, summary.status, rows.build_haystack(summary),
                               packed if packed is not None else rows.pack_row(summary, events)))

    def pack_record(self, summary: Summary, events: list[Event]) -> bytes:
        return rows.pack_row(summary, events)

    # --- upkeep ---

    def flush(self) -> None:
        """Write what is buffered: lines with one write, rows with one transaction. Never raises."""
        now = self._now()
        for event in self._counter.settle(now, self._snapshot()[keys.CLIENT_EVENT_RATE]):
            self._log_line(event)
            self._clients.append((event.seconds, event.client, msgspec.msgpack.encode(rows.build_step(event))))
        self.plain.flush(now)
        # Positions lag one flush: what was answered before the previous flush has its row in this one at the latest.
        reached, self._position = self._position, self._get_position()
        if not (self._messages or self._later or self._clients or reached != self._written_position):
            return
        try:
            self._write(now, reached)
        except (apsw.Error, OSError) as error:
            if not isinstance(error, apsw.BusyError):
                _log.error("the trace in %s cannot be written now: %s", self._directory, error)
                self._close_file()
            self._bound()

    def reopen(self) -> None:
        """Open files by name again (SIGHUP)."""
        self.plain.reopen()

    def close(self) -> None:
        self._position = self._get_position()
        self.flush()
        self.flush()
        self.plain.close(self._now())
        self._close_file()

    def read_on(self, records: Iterable[tuple[Position, int, bytes]]) -> int:
        """Enter messages whose rows an unclean stop took, from the store's records. Returns how many were missing."""
        added = 0
        connections: dict[str, apsw.Connection] = {}
        try:
            for _position, message_id, record in records:
                try:
                    summary = rows.unpack_row(record).summary
                except msgspec.DecodeError:
                    _log.error("the record of message %d has no readable trace row", message_id)
                    continue
                month = files.get_month(get_id_seconds(message_id))
                if month not in connections:
                    connections[month] = files.open_for_writing(files.get_month_path(self._directory, month))
                    connections[month].set_busy_timeout(5000)
                connections[month].execute(
                    "INSERT OR IGNORE INTO messages VALUES(?,?,?,?)",
                    (message_id, summary.status, rows.build_haystack(summary), record)).fetchall()
                added += connections[month].changes()
        finally:
            for connection in connections.values():
                connection.close()
        return added

    def find_reached(self, slot: int) -> Position | None:
        """How far the trace had got with a slot's records, from the newest file that says so."""
        for month in reversed(files.list_months(self._directory)):
            connection = files.open_for_reading(files.get_month_path(self._directory, month))
            try:
                found = files.fetch_all(connection, "SELECT segment, offset FROM reached WHERE slot=?", (slot,))
            finally:
                connection.close()
            if found:
                return int(found[0][0]), int(found[0][1])
        return None

    # --- inside ---

    def _log_line(self, event: Event) -> None:
        snapshot = self._snapshot()
        if snapshot.generation != self._generation:
            self._generation = snapshot.generation
            self._logged = {row: snapshot[key] for row, key in SWITCHES.items()}
            self.plain.move(snapshot[keys.LOG_DIR] or self._directory.parent / "log", self._now())
        if self._logged[event.type]:
            self.plain.add(event)

    def _write(self, now: float, reached: Position | None) -> None:
        month = files.get_month(now)
        if self._connection is None or month != self._month:
            self._close_file()
            self._directory.mkdir(parents=True, exist_ok=True)
            self._connection = files.open_for_writing(files.get_month_path(self._directory, month))
            self._month = month
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._messages:
                connection.executemany("INSERT OR REPLACE INTO messages VALUES(?,?,?,?)", self._messages)
            if self._later:
                connection.executemany("INSERT INTO later VALUES(?,?)", self._later)
            if self._clients:
                connection.executemany("INSERT INTO clients VALUES(?,?,?)", self._clients)
            if reached is not None:
                connection.execute("INSERT OR REPLACE INTO reached VALUES(?,?,?)", (self._slot, *reached))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._messages, self._later, self._clients = [], [], []
        self._written_position = reached

    def _bound(self) -> None:
        for buffer in (self._messages, self._later, self._clients):
            over = len(buffer) - _MAX_BUFFERED
            if over > 0:
                del buffer[:over]
                self.lost += over

    def _close_file(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

"""The journal: rows that can be searched, floods that are counted, files that fail without hurting the mail path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from postoffice.base.ids import MessageIds
from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.trace import files, search
from postoffice.trace.api import Summary
from postoffice.trace.event_types import ACCEPTED, DELIVERED, POP3_RETRIEVED, REFUSED_RECIPIENT, SMTP_VIOLATION
from postoffice.trace.events import Event
from postoffice.trace.journal import Journal

NOW = 1_795_000_000.0
REGISTRY = build_registry()


class Moment:
    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        return self.seconds


class Rig:
    """A journal on a temporary spool with settings and a clock that a test turns."""

    def __init__(self, spool: Path) -> None:
        self.directory = spool / "trace"
        self.now = Moment()
        self.snapshot = Snapshot.of(REGISTRY, {"Log/Config/ClientEventRate": "3"})
        self.position: tuple[int, int] | None = None
        self.journal = Journal(self.directory, lambda: self.snapshot, self.now, get_position=lambda: self.position)
        self.ids = MessageIds(1)

    def add(self, sender: str = "Sato@sender.test", recipient: str = "yamada@example.test", status: str = "delivered") -> int:
        message_id = self.ids.next(self.now())
        events = [
            Event(ACCEPTED, self.now(), ("192.0.2.7", "client.test", "", "ESMTP", sender, 1, 4096, "<1@sender.test>"), message_id),
            Event(DELIVERED, self.now(), (recipient, "yamada", "INBOX"), message_id),
        ]
        self.journal.record_message(
            Summary(message_id, "192.0.2.7", "client.test", "", sender, [recipient], "請求書の件", "<1@sender.test>", 4096, status), events)
        return message_id


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.journal.close()


def test_a_message_is_found_by_any_part_of_what_is_known(rig: Rig) -> None:
    first, second = rig.add(), rig.add(sender="other@else.test", recipient="suzuki@example.test", status="refused")
    rig.journal.flush()

    def find(**query: object) -> list[int]:
        return [row.summary.message_id for row in search.find_messages(rig.directory, search.Query(**query))]  # type: ignore[arg-type]

    assert find() == [second, first]
    assert find(sender="SATO@") == [first]
    assert find(recipient="yamada@") == [first]
    assert find(sender="yamada@") == []
    assert find(text="請求書") == [second, first]
    assert find(status="refused") == [second]
    assert find(client="192.0.2.7", limit=1) == [second]
    assert find(since=NOW + 60) == []
    assert find(until=NOW - 60) == []


def test_later_steps_join_the_timeline_in_order(rig: Rig) -> None:
    message_id = rig.add()
    rig.journal.flush()
    rig.now.seconds += 5
    rig.journal.record(Event(POP3_RETRIEVED, rig.now(), ("yamada", "192.0.2.9", 1), message_id, "192.0.2.9"))
    rig.journal.flush()
    row = search.find_message(rig.directory, message_id)
    assert row is not None
    steps = [search.tell(step) for step in row.steps]
    assert [step.name for step in steps] == ["Accepted", "Delivered", "Retrieved"]
    assert "yamada" in steps[2].sentence and "受信" in steps[2].ja


def test_a_flood_of_a_client_is_counted_not_written(rig: Rig) -> None:
    for _ in range(1000):
        rig.journal.record(Event(SMTP_VIOLATION, rig.now(), ("192.0.2.66", "bare LF"), client="192.0.2.66"))
    rig.journal.flush()
    rig.now.seconds += 61
    rig.journal.flush()
    lines = [line for log in (rig.directory.parent / "log").iterdir() for line in log.read_text().splitlines()]
    assert sum("ProtocolError" in line for line in lines if ":Counted:" not in line) == 3
    assert [line.split(":Counted:")[1].split(":")[2] for line in lines if ":Counted:" in line] == ["997"]


def test_a_new_rate_tells_what_was_counted_and_begins_anew(rig: Rig) -> None:
    def flood() -> None:
        for _ in range(10):
            rig.journal.record(Event(SMTP_VIOLATION, rig.now(), ("192.0.2.66", "bare LF"), client="192.0.2.66"))

    def list_counts() -> list[str]:
        lines = [line for log in (rig.directory.parent / "log").iterdir() for line in log.read_text().splitlines()]
        return [line.split(":Counted:")[1].split(":")[2] for line in lines if ":Counted:" in line]

    rig.journal.flush()
    flood()
    rig.journal.flush()
    assert list_counts() == []
    rig.snapshot = Snapshot.of(REGISTRY, {"Log/Config/ClientEventRate": "4"})
    rig.journal.flush()
    assert list_counts() == ["7"]
    flood()
    rig.now.seconds += 61
    rig.journal.flush()
    assert list_counts() == ["7", "6"]


def test_a_busy_trace_file_loses_nothing_and_never_waits(rig: Rig) -> None:
    rig.add()
    rig.journal.flush()
    month = files.list_months(rig.directory)[0]
    other = apsw.Connection(str(files.get_month_path(rig.directory, month)))
    other.execute("BEGIN IMMEDIATE")
    rig.add()
    rig.journal.flush()
    other.execute("ROLLBACK")
    other.close()
    assert len(list(search.find_messages(rig.directory, search.Query()))) == 1
    rig.journal.flush()
    assert len(list(search.find_messages(rig.directory, search.Query()))) == 2


def test_positions_lag_one_flush_so_that_no_row_is_passed_over(rig: Rig) -> None:
    rig.position = (3, 100)
    rig.add()
    rig.journal.flush()
    assert rig.journal.find_reached(0) is None
    rig.position = (3, 200)
    rig.journal.flush()
    assert rig.journal.find_reached(0) == (3, 100)


def test_rows_lost_by_an_unclean_stop_come_back_from_records(rig: Rig, tmp_path: Path) -> None:
    other = Rig(tmp_path / "other")
    message_id = other.ids.next(NOW + 1)
    summary = Summary(message_id, "192.0.2.7", "h", "", "a@b.test", ["c@d.test"], "s", "", 5, "delivered")
    record = other.journal.pack_record(summary, [Event(ACCEPTED, NOW, ("192.0.2.7", "h", "", "SMTP", "a@b.test", 1, 5, ""), message_id)])
    rig.add()
    rig.journal.flush()
    assert rig.journal.read_on([((1, 0), message_id, record), ((1, 9), message_id, record), ((1, 20), 5, b"garbage")]) == 1
    found = search.find_message(rig.directory, message_id)
    assert found is not None and found.summary == summary
    other.journal.close()


def test_a_switch_keeps_a_line_out_of_the_log_but_not_out_of_the_trace(rig: Rig) -> None:
    rig.snapshot = Snapshot.of(REGISTRY, {"SMTP-Accept/Log/Accepted": "no"})
    message_id = rig.add()
    rig.journal.flush()
    text = "".join(log.read_text() for log in (rig.directory.parent / "log").iterdir())
    assert ":Delivered:" in text and ":Accepted:" not in text
    assert search.find_message(rig.directory, message_id) is not None


def test_the_id_of_a_refusal_is_known_although_no_message_came(rig: Rig) -> None:
    session = rig.ids.next(NOW)
    rig.journal.record(Event(REFUSED_RECIPIENT, NOW, ("192.0.2.7", "h", "a@b.test", "no@example.test", "550 5.1.1", "recipient"),
                             session, "192.0.2.7"))
    rig.journal.flush()
    row = search.find_message(rig.directory, session)
    assert row is not None and row.summary.client == "192.0.2.7" and row.summary.status == "refused"
    assert "no@example.test" in search.tell(row.steps[0]).sentence
    assert list(search.find_messages(rig.directory, search.Query())) == []

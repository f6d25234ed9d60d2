"""The plain log: lines no user's data can forge, files by day, moves and failures that lose no mail."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from postoffice.base.ids import format_id
from postoffice.trace.event_types import ACCEPTED, LOGIN_FAILED
from postoffice.trace.events import Event
from postoffice.trace.plainlog import (
    PlainLog,
    format_line,
    get_log_path,
    list_logs,
    parse_line,
    remove_old_logs,
)

NOON = 1_795_000_000.0


@pytest.mark.parametrize("value", [
    "plain", "a:b", "2001:db8::1", "back\\slash", "new\r\nline:SMTP-Accept:Accepted", "\x00\x7f\x9b\u2028", "日本語", "", "\\x0a",
])
def test_a_line_gives_its_fields_back(value: str) -> None:
    line = format_line("20261124120000+0900", Event(LOGIN_FAILED, NOON, ("pop3", value, value, "wrong")))
    assert "\n" not in line and "\r" not in line
    if "\u2028" not in value:
        assert parse_line(line) == ["20261124120000+0900", "Account-Manager", "LoginFailed", "pop3", value, value, "wrong"]


def test_a_message_event_names_its_message_first() -> None:
    event = Event(ACCEPTED, NOON, ("192.0.2.1", "h", "", "ESMTP", "a@b", 1, 5, ""), message_id=77)
    assert parse_line(format_line("s", event))[3] == format_id(77)


def test_lines_go_to_the_file_of_the_day(tmp_path: Path) -> None:
    log = PlainLog(tmp_path / "log")
    log.add(Event(LOGIN_FAILED, NOON, ("pop3", "c", "l", "r")))
    log.flush(NOON)
    log.add(Event(LOGIN_FAILED, NOON + 86400, ("pop3", "c", "l", "r")))
    log.flush(NOON + 86400)
    days = [time.strftime("%Y%m%d", time.localtime(NOON + offset)) for offset in (0, 86400)]
    assert list_logs(tmp_path / "log") == [get_log_path(tmp_path / "log", day) for day in days]
    log.close(NOON)


def test_it_moves_at_once_and_reopens_by_name(tmp_path: Path) -> None:
    log = PlainLog(tmp_path / "one")
    event = Event(LOGIN_FAILED, NOON, ("pop3", "c", "l", "r"))
    log.add(event)
    log.move(tmp_path / "two", NOON)
    log.add(event)
    log.flush(NOON)
    first, second = list_logs(tmp_path / "one"), list_logs(tmp_path / "two")
    assert len(first) == len(second) == 1
    second[0].rename(tmp_path / "kept")
    log.reopen()
    log.add(event)
    log.flush(NOON)
    assert list_logs(tmp_path / "two") == second
    log.close(NOON)


def test_a_disk_that_refuses_loses_lines_and_says_how_many(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file in the way")
    log = PlainLog(tmp_path / "log")
    log.add(Event(LOGIN_FAILED, NOON, ("pop3", "c", "l", "r")))
    log.flush(NOON)
    assert log.lost == 1
    (tmp_path / "log").unlink()
    log.add(Event(LOGIN_FAILED, NOON, ("pop3", "c", "l", "r")))
    log.flush(NOON)
    assert log.lost == 0 and len(list_logs(tmp_path / "log")) == 1
    log.close(NOON)


def test_old_files_go_and_zero_keeps_all(tmp_path: Path) -> None:
    for days in (0, 1, 8, 40):
        day = time.strftime("%Y%m%d", time.localtime(NOON - days * 86400))
        get_log_path(tmp_path, day).write_text("x\n")
    (tmp_path / "post.office-notes.log").write_text("not ours")
    assert remove_old_logs(tmp_path, keep_days=0, now_seconds=NOON) == []
    assert len(remove_old_logs(tmp_path, keep_days=7, now_seconds=NOON)) == 2
    assert len(list_logs(tmp_path)) == 2 and (tmp_path / "post.office-notes.log").exists()

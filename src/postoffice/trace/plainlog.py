"""The plain-text log: ``<LogDir>/post.office-YYYYMMDD.log``, one line per event, readable with any editor.

``YYYYMMDDhhmmss±zzzz:Module:Event:field:...`` in local time. Inside a field a colon and a backslash are written with
a backslash before them, control characters as ``\\xNN``, so that no user's data can forge a line or a field.
Lines are buffered by the caller's batches and appended with one write; a failing disk loses lines, never mail.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from postoffice.base.ids import format_id
from postoffice.trace.events import Event

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(0x80, 0xA0), 0x2028, 0x2029)}
_ESCAPES |= {ord("\\"): "\\\\", ord(":"): "\\:"}
_PREFIX = "post.office-"

_program_log = logging.getLogger(__name__)


class LogStamp:
    """Formats local times; the work is done once per second of the clock."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""
        self._day = ""

    def format(self, seconds: float) -> str:
        whole = int(seconds)
        if whole != self._second:
            local = time.localtime(whole)
            self._text = time.strftime("%Y%m%d%H%M%S%z", local)
            self._day = self._text[:8]
            self._second = whole
        return self._text

    def day(self, seconds: float) -> str:
        self.format(seconds)
        return self._day


def format_field(value: object) -> str:
    """A value as it may stand between two colons."""
    text = str(value)
    if text.isalnum():
        return text
    return text.translate(_ESCAPES)


def format_line(stamp: str, event: Event) -> str:
    """One line without its end."""
    row = event.type
    fields = [format_field(value) for value in event.values]
    if event.message_id is not None:
        fields.insert(0, format_id(event.message_id))
    return ":".join((stamp, row.module, row.name, *fields))


def parse_line(line: str) -> list[str]:
    """The fields of a line: stamp, module, event, values. The inverse of `format_line`."""
    fields, current, i = [], [], 0
    while i < len(line):
        char = line[i]
        if char == "\\" and i + 1 < len(line):
            if line[i + 1] == "x" and len(line) >= i + 4:
                current.append(chr(int(line[i + 2 : i + 4], 16)))
                i += 4
                continue
            current.append(line[i + 1])
            i += 2
            continue
        if char == ":":
            fields.append("".join(current))
            current = []
        else:
            current.append(char)
        i += 1
    fields.append("".join(current))
    return fields


class PlainLog:
    """Appends lines to the file of the day. Not for several threads; several processes may share a file (O_APPEND)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stamp = LogStamp()
        self._descriptor: int | None = None
        self._day = ""
        self._lines: list[str] = []
        self.lost = 0                   # lines the disk did not take

    @property
    def directory(self) -> Path:
        return self._directory

    def add(self, event: Event) -> None:
        """Buffer an event's line; `flush` writes."""
        self._lines.append(format_line(self._stamp.format(event.seconds), event))

    def flush(self, now_seconds: float) -> None:
        """Write what is buffered, in the file of today. Never raises for the disk's sake."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        data = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        try:
            descriptor = self._open(self._stamp.day(now_seconds))
            written = os.write(descriptor, data)
            if written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError as error:
            if not self.lost:
                _program_log.error("the log in %s cannot be written: %s", self._directory, error.strerror)
            self.lost += len(lines)
            self.reopen()
        else:
            if self.lost:
                _program_log.warning("%d log lines were lost while the log could not be written", self.lost)
                self.lost = 0

    def move(self, directory: Path, now_seconds: float) -> None:
        """Go on in another directory, at once."""
        if directory != self._directory:
            self.flush(now_seconds)
            self.reopen()
            self._directory = directory

    def reopen(self) -> None:
        """Close the file; the next flush opens it by name again (after a rotation by others, or SIGHUP)."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def close(self, now_seconds: float) -> None:
        self.flush(now_seconds)
        self.reopen()

    def _open(self, day: str) -> int:
        if self._descriptor is None or day != self._day:
            self.reopen()
            self._directory.mkdir(parents=True, exist_ok=True)
            path = get_log_path(self._directory, day)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._day = day
        return self._descriptor


def get_log_path(directory: Path, day: str) -> Path:
    """The file of a day ``YYYYMMDD``."""
    return directory / f"{_PREFIX}{day}.log"


def list_logs(directory: Path) -> list[Path]:
    """The log files, oldest first."""
    return sorted(directory.glob(_PREFIX + "[0-9]" * 8 + ".log"))


def remove_old_logs(directory: Path, *, keep_days: int, now_seconds: float) -> list[Path]:
    """Remove files of days more than ``keep_days`` ago (0 keeps all). Returns what was removed."""
    if not keep_days:
        return []
    oldest = time.strftime("%Y%m%d", time.localtime(now_seconds - keep_days * 86400))
    removed = [path for path in list_logs(directory) if path.name[len(_PREFIX) : len(_PREFIX) + 8] < oldest]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed

"""Where the plain logs lie and what they say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from postoffice.config.registry import Snapshot
from postoffice.settings import log as keys
from postoffice.trace.plainlog import get_log_path, list_logs


def get_log_directory(spool: Path, snapshot: Snapshot) -> Path:
    """Log/Config/LogDir, or ``<spool>/log`` where none is set."""
    return snapshot[keys.LOG_DIR] or spool / "log"


def get_current_log(directory: Path, now_seconds: float) -> Path:
    """The file of today, whether or not it is there yet."""
    return get_log_path(directory, time.strftime("%Y%m%d", time.localtime(now_seconds)))


def list_log_files(directory: Path) -> list[dict[str, object]]:
    """Name, bytes and day of each log file, oldest first."""
    return [{"path": str(path), "bytes": path.stat().st_size} for path in list_logs(directory)]


def read_tail(path: Path, lines: int) -> tuple[list[str], int]:
    """The last lines of a file and the offset after them; nothing when it is not there."""
    if not path.exists():
        return [], 0
    with path.open("rb") as file:
        size = file.seek(0, 2)
        block, data = size, b""
        while block > 0 and data.count(b"\n") <= lines:
            step = min(65536, block)
            block -= step
            file.seek(block)
            data = file.read(step) + data
    return [line.decode("utf-8", "replace") for line in data.splitlines()[-lines:]] if lines else [], size


def read_from(path: Path, offset: int) -> Iterator[tuple[str, int]]:
    """Complete lines after an offset, each with the offset behind it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield line.decode("utf-8", "replace").rstrip("\n"), offset

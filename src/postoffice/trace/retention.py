"""How long traces and logs are kept, and the upkeep of their files. Blocking: for the Deliver process or a thread."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import apsw

from postoffice.trace import files
from postoffice.trace.plainlog import remove_old_logs

_log = logging.getLogger(__name__)


def remove_old_months(directory: Path, *, keep_days: int, now_seconds: float) -> list[Path]:
    """Remove the files of months that ended more than ``keep_days`` ago (0 keeps all)."""
    if not keep_days:
        return []
    oldest = time.strftime("%Y%m", time.gmtime(now_seconds - keep_days * 86400))
    removed = []
    for month in files.list_months(directory):
        if month < oldest:
            path = files.get_month_path(directory, month)
            for part in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                part.unlink(missing_ok=True)
            removed.append(path)
    return removed


def keep_up(trace: Path, log: Path, *, trace_days: int, log_days: int, now_seconds: float) -> list[Path]:
    """The daily round: remove what is too old, close months that are over. Returns what was removed.

    In this order, and a file that cannot be closed does not keep the others open: nothing grows because of one."""
    removed = (remove_old_months(trace, keep_days=trace_days, now_seconds=now_seconds)
               + remove_old_logs(log, keep_days=log_days, now_seconds=now_seconds))
    current = files.get_month(now_seconds)
    for month in files.list_months(trace):
        if month < current:
            path = files.get_month_path(trace, month)
            try:
                files.close_month(path)
            except (OSError, apsw.Error) as error:
                _log.error("the trace file %s cannot be closed: %s", path, error)
    return removed

"""What is kept of log and trace: old files go by the hour and as soon as the rules change, one bad file hinders nothing."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.delivery.upkeep import Upkeep
from postoffice.testing.fakes import FakeClock
from postoffice.trace import files, retention

NOW = 1_795_000_000.0                       # November 2026
REGISTRY = build_registry()


def make_files(spool: Path) -> tuple[Path, Path]:
    for name in ("trace", "log"):
        (spool / name).mkdir()
    log = spool / "log" / "post.office-20260901.log"
    log.write_text("old\n")
    trace = files.get_month_path(spool / "trace", "202608")
    files.open_for_writing(trace).close()
    return log, trace


def test_a_change_of_the_rules_is_obeyed_at_once(tmp_path: Path) -> None:
    log, trace = make_files(tmp_path)
    snapshot = Snapshot.of(REGISTRY, {"Log/Config/ExpiryTime": "0", "Log/Config/TraceExpiry": "0"})
    looked = asyncio.Event()

    async def purge() -> None:
        looked.set()

    async def run() -> None:
        nonlocal snapshot
        upkeep = Upkeep(tmp_path / "trace", lambda: snapshot, FakeClock(NOW), purge)
        running = asyncio.create_task(upkeep.run())
        await asyncio.wait_for(looked.wait(), 10)
        assert log.exists() and trace.exists()
        snapshot = Snapshot.of(REGISTRY, {"Log/Config/ExpiryTime": "1", "Log/Config/TraceExpiry": "1"})
        upkeep.settings_changed()
        async with asyncio.timeout(10):
            while log.exists() or trace.exists():
                await asyncio.sleep(0.01)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(run())


def test_a_month_that_cannot_be_closed_does_not_stop_the_rest(tmp_path: Path) -> None:
    log, trace = make_files(tmp_path)
    broken = files.get_month_path(tmp_path / "trace", "202601")
    broken.write_bytes(b"no database" * 100)
    removed = retention.keep_up(tmp_path / "trace", tmp_path / "log", trace_days=60, log_days=1, now_seconds=NOW)
    assert removed == [broken, trace, log]
    broken.write_bytes(b"no database" * 100)
    files.open_for_writing(trace).close()
    retention.keep_up(tmp_path / "trace", tmp_path / "log", trace_days=0, log_days=0, now_seconds=NOW)
    connection = files.open_for_reading(trace)
    names = {row[0] for row in files.fetch_all(connection, "SELECT name FROM sqlite_master WHERE type='index'")}
    connection.close()
    assert "later_by_id" in names, "the sound one is closed all the same"

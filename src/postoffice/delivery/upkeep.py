"""The periodic work of Deliver: trace files are folded and closed, old ones removed, mailboxes purged.

Owns when; how is the trace's and the store's. Blocking work goes to a thread, so that
one process for everything stays quick.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw

from postoffice.base.clock import Clock
from postoffice.config.registry import Snapshot
from postoffice.settings import log as keys
from postoffice.trace import files, retention

_CHECKPOINT_SECONDS = 30.0
_RETENTION_SECONDS = 3600.0

log = logging.getLogger(__name__)


class Upkeep:
    """Runs until cancelled. ``trace``: the directory of the trace's files; ``purge`` removes the mail of
    accounts that are gone."""

    def __init__(self, trace: Path, current: Callable[[], Snapshot], clock: Clock,
                 purge: Callable[[], Awaitable[None]]) -> None:
        self._trace = trace
        self._current = current
        self._clock = clock
        self._purge = purge
        self._retained = float("-inf")
        self._rules: tuple[object, ...] = ()
        self._settings_changed = asyncio.Event()

    def settings_changed(self) -> None:
        """Look at once whether the rules for what is kept are others now."""
        self._settings_changed.set()

    async def run(self) -> None:
        """Rounds for ever; a round that fails is logged and tried again at the next."""
        while True:
            try:
                await self.round()
            except (OSError, apsw.Error):
                log.exception("the upkeep of %s", self._trace)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settings_changed.wait(), _CHECKPOINT_SECONDS)
            self._settings_changed.clear()

    async def round(self) -> None:
        """One round: fold the current month's log into its file; once an hour, and when the rules have changed, look
        for what is too old."""
        await self._purge()
        loop = asyncio.get_running_loop()
        current = files.get_month_path(self._trace, files.get_month(self._clock.now()))
        if current.exists():
            await loop.run_in_executor(None, files.checkpoint, current)
        snapshot = self._current()
        logs = snapshot[keys.LOG_DIR] or self._trace.parent / "log"
        rules = logs, snapshot[keys.TRACE_EXPIRY], snapshot[keys.EXPIRY_TIME]
        if rules != self._rules or self._clock.monotonic() - self._retained >= _RETENTION_SECONDS:
            removed = await loop.run_in_executor(None, lambda: retention.keep_up(
                self._trace, logs, trace_days=snapshot[keys.TRACE_EXPIRY], log_days=snapshot[keys.EXPIRY_TIME],
                now_seconds=self._clock.now()))
            self._retained, self._rules = self._clock.monotonic(), rules
            for path in removed:
                log.info("%s was kept long enough and has been removed", path)

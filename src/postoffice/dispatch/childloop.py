"""A child at work: runs the services of `app` on uvloop and obeys Dispatch."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import apsw
import uvloop

from postoffice.app import Process, ProcessOptions, build_process
from postoffice.base.errors import PostOfficeError
from postoffice.dispatch.channel import Channel, Message, adopt
from postoffice.dispatch.notices import Notice
from postoffice.dispatch.programlog import ProgramLog

POLL_SECONDS = 0.4                      # notices only hasten: the databases are asked this often anyway
_STOP_SECONDS = 24.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildPlace:
    """What Dispatch said on the command line. ``channel`` and ``notice`` are inherited descriptors."""

    role: str
    spool: Path
    name: str
    slot: int
    channel: int
    notice: int
    error_log: bool


def run_child(place: ChildPlace) -> int:
    """Serve until told to stop. 1 when it could not start; the sentence has gone to Dispatch."""
    channel = adopt(place.channel)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Child(place, channel).run())
    except PostOfficeError as error:
        channel.send({"say": "failed", "sentence": str(error)})
        return 1
    except (OSError, apsw.Error) as error:
        log.exception("%s could not go on", place.name)
        channel.send({"say": "failed", "sentence": f"{place.name} could not start: {error}"})
        return 1
    return 0


class _Child:
    def __init__(self, place: ChildPlace, channel: Channel) -> None:
        self._place = place
        self._channel = channel
        self._notice = Notice(place.notice)
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._listening: dict[int, tuple[str, socket.socket]] = {}
        self._obeyed = (-1, -1)
        self._poll: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        place, loop = self._place, asyncio.get_running_loop()
        process = build_process(ProcessOptions(place.spool, place.role, place.slot))
        self._process = process
        self._program_log = ProgramLog(place.name, process.log_directory if place.error_log else None)
        loop.set_exception_handler(_log_unexpected)
        await process.start()
        try:
            loop.add_reader(self._channel.fileno(), self._hear)
            loop.add_reader(self._notice.descriptor, self._woken)
            loop.add_signal_handler(signal.SIGTERM, self._messages.put_nowait, {"do": "stop"})
            settings, directory = self._obeyed = process.refresh()
            self._say({"say": "ready", "settings": settings, "directory": directory})
            self._look()
            # What lives from here to the end need not be looked through again and again.
            gc.collect()
            gc.freeze()
            seconds = await self._obey(process)
        finally:
            if self._poll is not None:
                self._poll.cancel()
        await self._stop(process, seconds)

    async def _obey(self, process: Process) -> float:
        """Do what Dispatch says, in its order, until it says stop. Returns the seconds that are left for the rest."""
        while True:
            message = await self._messages.get()
            match message["do"]:
                case "open":
                    for entry, descriptor in zip(message["listeners"], message["descriptors"], strict=True):
                        listening = socket.socket(fileno=descriptor)
                        self._listening[entry["number"]] = entry["service"], listening
                        await process.serve(entry["service"], listening)
                    self._say({"say": "serving"})
                case "close":
                    self._close_listener(process, message["number"])
                case "reload":
                    process.reload()
                case "report":
                    self._say({"say": "report", "last_error": self._program_log.last_error.text} | process.report())
                case "stop":
                    return float(message.get("seconds", _STOP_SECONDS))

    async def _stop(self, process: Process, seconds: float) -> None:
        for number in list(self._listening):
            self._close_listener(process, number)
        await process.stop(seconds)
        self._channel.close()

    def _close_listener(self, process: Process, number: int) -> None:
        found = self._listening.pop(number, None)
        if found is not None:
            service, listening = found
            process.close_listener(service, listening)
            listening.close()
        self._say({"say": "closed", "number": number})

    def _hear(self) -> None:
        while True:
            try:
                message, descriptors = self._channel.receive()
            except BlockingIOError:
                return
            if message is None:
                # Dispatch has gone. What has been acknowledged is on the disk; the kernel ends us, this is for the case
                # that it could not.
                asyncio.get_running_loop().remove_reader(self._channel.fileno())
                self._messages.put_nowait({"do": "stop", "seconds": 0.3})
                return
            self._messages.put_nowait(message | {"descriptors": descriptors})

    def _woken(self) -> None:
        self._notice.take()
        self._obey_databases()

    def _look(self) -> None:
        self._poll = asyncio.get_running_loop().call_later(POLL_SECONDS, self._look)
        self._obey_databases()

    def _obey_databases(self) -> None:
        """Take over what changed; say so whenever it did."""
        obeyed = self._process.refresh()
        if obeyed != self._obeyed:
            self._obeyed = obeyed
            self._program_log.move(self._process.log_directory)
            self._say({"say": "obeyed", "settings": obeyed[0], "directory": obeyed[1]})

    def _say(self, message: Message) -> None:
        if not self._channel.send(message):
            log.warning("Dispatch does not take %r", message["say"])


def _log_unexpected(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    log.error("%s", context.get("message", "unexpected error on the event loop"),
              exc_info=error if isinstance(error, BaseException) else None)

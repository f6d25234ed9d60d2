"""The children as Dispatch sees them: started by exec with inherited descriptors, watched, started again.

Owns one child's life: its command, its channel and notice, what it last said, and how long a restart is held back.
Never fork without exec: a forked child would keep its parent's locks.
"""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from postoffice.dispatch.channel import Channel, open_channel_pair
from postoffice.dispatch.notices import Notice

CALM_SECONDS = 60.0                     # a child that lived this long starts again at once
_FIRST_DELAY, _MAX_DELAY = 0.5, 60.0


class Role(enum.Enum):
    """What a child does. ALL is Serve and Deliver in one process (--workers 0)."""

    SERVE = "serve"
    DELIVER = "deliver"
    ALL = "all"


class State(enum.Enum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    HELD_BACK = "held back"             # it died; waits for its next start
    ENDED = "ended"


@dataclass
class Child:
    """One place for a process. ``slot`` is the number by which message ids and the store tell processes apart."""

    name: str
    role: Role
    slot: int
    state: State = State.ENDED
    process: subprocess.Popen[bytes] | None = None
    channel: Channel | None = None
    notice: Notice | None = None
    serving: bool = False               # it has taken the listeners it was given at its start
    started_seconds: float = 0.0        # since 1970
    started_monotonic: float = 0.0
    start_again: float = 0.0            # monotonic; while HELD_BACK
    restarts: int = 0
    deaths_in_a_row: int = 0
    obeyed: tuple[int, int] = (-1, -1)  # generations of settings and directory it has taken over
    last_error: str = ""
    failure: str = ""                   # the sentence with which it could not start
    report: dict[str, object] = field(default_factory=dict)
    closing: set[int] = field(default_factory=set)      # listeners it has yet to close

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def serves(self) -> bool:
        return self.role is not Role.DELIVER

    def start(self, spool: Path, now_seconds: float, monotonic: float, error_log: int | None) -> None:
        """Exec the child. Raises OSError."""
        ours, theirs = open_channel_pair()
        notice = Notice()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "postoffice.dispatch.child", self.role.value, "--spool", str(spool),
                 "--name", self.name, "--slot", str(self.slot), "--parent", str(os.getpid()),
                 "--channel", str(theirs.fileno()), "--notice", str(notice.descriptor),
                 *(["--error-log"] if error_log is not None else [])],
                pass_fds=(theirs.fileno(), notice.descriptor), stdin=subprocess.DEVNULL, stdout=error_log,
                stderr=error_log, cwd="/")
        except OSError:
            ours.close()
            notice.close()
            raise
        finally:
            theirs.close()
        self.channel, self.notice = ours, notice
        self.state, self.serving = State.STARTING, False
        self.started_seconds, self.started_monotonic = now_seconds, monotonic
        self.obeyed, self.report, self.failure = (-1, -1), {}, ""
        self.closing.clear()

    def ended(self, monotonic: float, *, stopping: bool) -> float:
        """It is gone. Returns the delay after which it starts again."""
        if self.channel is not None:
            self.channel.close()
        if self.notice is not None:
            self.notice.close()
        self.channel = self.notice = self.process = None
        self.serving = False
        self.closing.clear()
        if stopping:
            self.state = State.ENDED
            return 0.0
        calm = monotonic - self.started_monotonic >= CALM_SECONDS
        self.deaths_in_a_row = 1 if calm else self.deaths_in_a_row + 1
        delay = get_delay(self.deaths_in_a_row)
        self.state = State.HELD_BACK
        self.start_again = monotonic + delay
        self.restarts += 1
        return delay


def get_delay(deaths_in_a_row: int) -> float:
    """Seconds before the next start: none after a single death, then doubling up to a minute."""
    if deaths_in_a_row <= 1:
        return 0.0
    return float(min(_FIRST_DELAY * 2 ** (deaths_in_a_row - 2), _MAX_DELAY))


def describe_exit(code: int) -> str:
    """A process's end in words: "signal 9" or "exit code 1"."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"

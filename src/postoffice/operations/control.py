"""Starting and stopping the server from outside: what `postoffice start`, `stop`, `restart` and `status` do.

A start in the background waits until Dispatch says that every port listens, at most 30 s; when it fails, nothing is
left running. Dispatch itself is another program (`python -m postoffice.dispatch`), reached by exec only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from postoffice.base.errors import PostOfficeError
from postoffice.operations import running
from postoffice.operations.caller import check_may_work
from postoffice.operations.environment import get_mailbox_directory
from postoffice.operations.logs import get_log_directory
from postoffice.operations.office import Office, is_set_up
from postoffice.operations.reach import check_directories, check_program

START_SECONDS = 30.0
_STOPPED_SECONDS = 35.0
_LINES_SHOWN = 3


def check_start(spool: Path, workers: int | None) -> None:
    """What can be known to prevent a start. Raises PostOfficeError. Opens no database as root."""
    if not is_set_up(spool):
        raise PostOfficeError(f"{spool} has not been set up.", f"Run: postoffice setup --spool {spool}")
    if workers is not None and not 0 <= workers <= 64:
        raise PostOfficeError("--workers is a number from 0 to 64.")
    check_may_work(spool)
    if running.is_running(spool):
        raise PostOfficeError(f"The server is already running for {spool}.",
                              "Stop it with: postoffice stop (or restart it with: postoffice restart)")
    status = spool.stat()
    check_program(status.st_uid, status.st_gid)
    check_directories(status.st_uid, status.st_gid, [
        ("spool directory", spool), ("configuration directory", spool / "config"),
        ("configuration database", spool / "config")])


def check_office_directories(office: Office) -> None:
    """Whether the directories the settings name can be written by us, the owner. Raises PostOfficeError."""
    snapshot = office.settings.current()
    check_directories(os.geteuid(), os.getegid(), [
        ("mailbox directory", get_mailbox_directory(office.spool, snapshot)),
        ("log directory", get_log_directory(office.spool, snapshot)), ("trace directory", office.spool / "trace")])


def run_foreground(spool: Path, workers: int | None) -> NoReturn:
    """Become Dispatch: this process is replaced and does not come back."""
    sys.stdout.flush()
    os.execv(sys.executable, _build_command(spool, workers, "--foreground"))


def start(spool: Path, workers: int | None) -> int:
    """Start in the background; the pid of Dispatch once every port listens. Raises PostOfficeError with the cause."""
    reading, writing = os.pipe()
    errors_reading, errors_writing = os.pipe()
    process = subprocess.Popen(
        _build_command(spool, workers, "--ready-fd", str(writing)), pass_fds=(writing,), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors_writing, cwd="/")
    os.close(writing)
    os.close(errors_writing)
    try:
        message = _wait_ready(reading)
        if message.get("ready"):
            return process.pid
        _kill_group(process)
        raise PostOfficeError(str(message.get("error") or _explain_death(process, errors_reading)))
    except KeyboardInterrupt:
        _kill_group(process)
        raise
    finally:
        os.close(reading)
        os.close(errors_reading)


def stop(spool: Path) -> None:
    """Stop gracefully and wait until nothing runs any more. Raises PostOfficeError when no server runs."""
    pid = running.find_server_pid(spool)
    try:
        process = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        process = -1
    running.ask(spool, "stop")
    if process < 0:
        return
    try:
        # Its answer comes when all its processes have ended; this is for the last moments of its own.
        if not select.select([process], [], [], _STOPPED_SECONDS)[0]:
            raise PostOfficeError(f"Dispatch (pid {pid}) has not ended.", "See: postoffice status")
    finally:
        os.close(process)


def restart(spool: Path) -> None:
    """Let every process end gracefully and begin anew; the ports stay open meanwhile."""
    running.ask(spool, "restart", seconds=70)


def get_status(spool: Path) -> dict[str, Any]:
    """What the running server says about itself, or only that it is stopped."""
    if not running.is_running(spool):
        return {"state": "stopped", "processes": [], "held_back": [], "ports": []}
    return running.ask(spool, "status", seconds=10)


def _build_command(spool: Path, workers: int | None, *more: str) -> list[str]:
    # -P: nothing is imported from the directory we happen to be in.
    command = [sys.executable, "-P", "-m", "postoffice.dispatch", "--spool", str(spool), *more]
    return command if workers is None else [*command, "--workers", str(workers)]


def _wait_ready(reading: int) -> dict[str, Any]:
    data, until = b"", time.monotonic() + START_SECONDS
    while not data.endswith(b"\n"):
        ready, _, _ = select.select([reading], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return {"error": f"The server was not ready within {START_SECONDS:.0f} seconds and has been stopped."}
        piece = os.read(reading, 65536)
        if not piece:
            return {}
        data += piece
    message: dict[str, Any] = json.loads(data)
    return message


def _explain_death(process: subprocess.Popen[bytes], errors: int) -> str:
    """It said nothing on the pipe: its last words on stderr are all there is."""
    os.set_blocking(errors, False)
    try:
        text = os.read(errors, 65536).decode(errors="replace")
    except BlockingIOError:
        text = ""
    words = " / ".join(line.strip() for line in text.strip().splitlines()[-_LINES_SHOWN:])
    return f"The server ended while starting (exit code {process.wait()}){': ' + words if words else '.'}"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass                            # it has ended with all its children
    except PermissionError:
        process.kill()
    process.wait()

"""The entry of Dispatch: `python -m postoffice.dispatch --spool DIR`, started by `postoffice start`.

Drops root before a file of the spool is opened. Who started it in the background reads one line of JSON from
``--ready-fd``: {"ready": true} once every port listens, or {"error": sentence}.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from postoffice.base.errors import PostOfficeError
from postoffice.dispatch import privileges
from postoffice.dispatch.programlog import ProgramLog, redirect_output
from postoffice.dispatch.supervisor import Options, Supervisor
from postoffice.operations.logs import get_log_directory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server. 0 after an orderly stop, 1 when it could not start or broke."""
    parser = argparse.ArgumentParser(prog="postoffice.dispatch", allow_abbrev=False)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--ready-fd", type=int, default=-1)
    parsed = parser.parse_args(arguments)
    report = _Report(parsed.ready_fd)
    if parsed.ready_fd >= 0:
        os.set_inheritable(parsed.ready_fd, False)
    try:
        os.chdir("/")
        _become_owner(parsed.spool)
        supervisor = Supervisor(Options(parsed.spool, parsed.workers, parsed.foreground, _show if parsed.foreground else
                                        (lambda line: None)))
        directory = get_log_directory(parsed.spool, supervisor.snapshot)
        if not parsed.foreground:
            redirect_output(directory)
        supervisor.program_log = ProgramLog("Dispatch", None if parsed.foreground else directory)
        supervisor.run(lambda: report.send({"ready": True}))
    except PostOfficeError as error:
        report.send({"error": str(error)})
        return 1
    except OSError as error:
        logging.getLogger(__name__).exception("Dispatch ended by an error")
        report.send({"error": f"{error.filename or 'The system'}: {error.strerror}."})
        return 1
    return 0


class _Report:
    """One line to whoever waits for the start; to stderr in the foreground."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: dict[str, object]) -> None:
        if self._descriptor >= 0:
            try:
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")
            except BrokenPipeError:
                return                  # nobody waits any more
            finally:
                os.close(self._descriptor)
                self._descriptor = -1
        elif "error" in message:
            print(f"postoffice: {message['error']}", file=sys.stderr)


def _become_owner(spool: Path) -> None:
    status = spool.stat()
    privileges.clear_ambient()
    if os.geteuid() == 0 and status.st_uid != 0:
        privileges.drop_root(status.st_uid, status.st_gid)
    elif os.geteuid() != status.st_uid:
        raise PostOfficeError(f"{spool} belongs to another user.", "Start the server as its owner or as root.")
    else:
        privileges.forbid_new_privileges()
    os.umask(0o027)


def _show(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

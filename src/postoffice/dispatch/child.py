"""The entry of Serve and Deliver: `python -m postoffice.dispatch.child serve|deliver|all`, started by Dispatch alone.

Owns the event loop of the process and its talk with Dispatch: listening sockets come and go over the channel, the
notice says that the databases changed, the closed channel means that Dispatch has ended. What it serves is built by
`app`. The kernel kills it with its parent, also while it is still starting.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from postoffice.dispatch import privileges


def main() -> int:
    """Be a child process until Dispatch says stop or ends."""
    parser = argparse.ArgumentParser(prog="postoffice.dispatch.child", allow_abbrev=False)
    parser.add_argument("role", choices=("serve", "deliver", "all"))
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--slot", type=int, required=True)
    for name in ("--parent", "--channel", "--notice"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--error-log", action="store_true")
    arguments = parser.parse_args()
    privileges.die_with_parent(signal.SIGKILL)
    if os.getppid() != arguments.parent:
        return 1                        # it ended before we could say so
    # A terminal sends these to the whole group; Dispatch sees to them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)

    from postoffice.dispatch.childloop import ChildPlace, run_child  # heavy: after the parent is watched

    return run_child(ChildPlace(
        role=arguments.role, spool=arguments.spool, name=arguments.name, slot=arguments.slot,
        channel=arguments.channel, notice=arguments.notice, error_log=arguments.error_log))


if __name__ == "__main__":
    sys.exit(main())

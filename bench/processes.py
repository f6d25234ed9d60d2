"""CPU and memory of a server: the sum over its process trees, ended children included."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def list_tree(roots: list[int]) -> list[int]:
    """The pids of these processes and all their descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue                # it ended while we looked
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def get_cpu_seconds(roots: list[int]) -> float:
    """User and system time of the trees, with that of children that have ended and were waited for."""
    total = 0
    for pid in list_tree(roots):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(field) for field in fields[11:15])       # utime stime cutime cstime
    return total / _TICK


def get_rss_bytes(roots: list[int]) -> int:
    """Resident memory of the living processes of the trees."""
    total = 0
    for pid in list_tree(roots):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total

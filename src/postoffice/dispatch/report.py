"""What `postoffice status` says: the processes, the ports with their modules, mail in and out, the last error."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from postoffice import __version__
from postoffice.dispatch.children import Child, State
from postoffice.dispatch.ports import Ports


def build_status(children: Iterable[Child], ports: Ports, started_seconds: float, *, stopping: bool,
                 last_error: str) -> dict[str, Any]:
    """The answer to the request "status": one object per living process, one per place held back, one per port."""
    children = list(children)
    dispatch = {"name": "Dispatch", "role": "dispatch", "pid": os.getpid(), "since": format_time(started_seconds),
                "state": "stopping" if stopping else "running", "restarts": 0, "last_error": last_error}
    return {
        "state": dispatch["state"],
        "version": __version__,
        "processes": [dispatch, *(_describe(child) for child in children if child.process is not None)],
        "held_back": [_describe_held_back(child) for child in children if child.state is State.HELD_BACK],
        "ports": [
            {"module": listener.service.module, "service": listener.service.name, "key": listener.service.key.path,
             "address": listener.endpoint.address, "port": listener.endpoint.port, "since": format_time(listener.since)}
            for listener in ports.open.values()
        ],
        "port_failures": dict(ports.failures),
        "messages_in": _sum(children, "messages_in"),
        "messages_out": _sum(children, "messages_out"),
        "connections": _sum(children, "connections"),
    }


def format_time(seconds: float) -> str:
    """ISO 8601, local time."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))
    return f"{stamp[:-2]}:{stamp[-2:]}"


def _describe(child: Child) -> dict[str, Any]:
    return {
        "name": child.name, "role": child.role.value, "pid": child.pid, "since": format_time(child.started_seconds),
        "state": child.state.value, "restarts": child.restarts, "last_error": child.last_error,
        "messages_in": child.report.get("messages_in", 0), "messages_out": child.report.get("messages_out", 0),
        "connections": child.report.get("connections", 0),
        "answers": bool(child.report) or child.state is not State.RUNNING,
    }


def _describe_held_back(child: Child) -> dict[str, Any]:
    left = max(0.0, child.start_again - time.monotonic())
    return {"name": child.name, "role": child.role.value, "restarts": child.restarts, "last_error": child.last_error,
            "deaths_in_a_row": child.deaths_in_a_row, "starts_again_in_seconds": round(left, 1)}


def _sum(children: Iterable[Child], name: str) -> int:
    return sum(int(str(child.report.get(name, 0))) for child in children)

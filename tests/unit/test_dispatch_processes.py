"""Channels, notices, the control socket, restart delays and the drop of privileges."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from postoffice.base.errors import PostOfficeError
from postoffice.dispatch.channel import adopt, open_channel_pair
from postoffice.dispatch.children import Child, Role, State, describe_exit, get_delay
from postoffice.dispatch.control import Answer, Control
from postoffice.dispatch.notices import Notice
from postoffice.operations import running


def test_a_channel_carries_messages_and_sockets() -> None:
    ours, theirs = open_channel_pair()
    other = adopt(theirs.detach())
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        assert ours.send({"do": "open"}, [listening])
        message, (descriptor,) = other.receive()
        assert message == {"do": "open"}
        with socket.socket(fileno=descriptor) as passed:
            assert passed.getsockname() == listening.getsockname()
            assert not os.get_inheritable(passed.fileno())
    with pytest.raises(BlockingIOError):
        other.receive()
    ours.close()
    assert other.receive() == (None, [])
    assert not other.send({"say": "anything"})
    other.close()


def test_a_channel_that_nobody_reads_does_not_block() -> None:
    ours, theirs = open_channel_pair()
    with theirs:
        sent = 0
        while ours.send({"do": "x" * 1000}):
            sent += 1
        assert sent > 10
    ours.close()


def test_a_notice_coalesces_and_never_blocks() -> None:
    notice = Notice()
    for _ in range(1000):
        notice.ring()
    assert notice.take()
    assert not notice.take()
    os.eventfd_write(notice.descriptor, 2**64 - 2)
    notice.ring()
    notice.close()


def test_the_delay_rises_to_a_minute() -> None:
    assert [get_delay(number) for number in (1, 2, 3, 4, 9, 50)] == [0, 0.5, 1, 2, 60, 60]


def test_a_child_that_lived_long_starts_at_once_again() -> None:
    child = Child("Serve 1", Role.SERVE, 0)
    child.started_monotonic = 100
    assert child.ended(101, stopping=False) == 0
    assert child.ended(101.5, stopping=False) == 0.5
    assert child.state is State.HELD_BACK and child.start_again == 102
    assert child.ended(500, stopping=False) == 0
    assert child.restarts == 3
    assert child.ended(500, stopping=True) == 0 and child.state is State.ENDED


def test_an_end_in_words() -> None:
    assert describe_exit(-9) == "signal 9" and describe_exit(1) == "exit code 1"


class Rig:
    """A control socket served by hand, in a directory whose path is too long for a socket's name."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool / ("long" * 40)
        self.spool.mkdir()
        self.selector = selectors.DefaultSelector()
        self.requests: list[dict[str, Any]] = []
        self.control = Control(self.spool, self.selector, self.handle)

    def handle(self, request: dict[str, Any], answer: Answer) -> None:
        self.requests.append(request)
        answer({"ok": request["request"]})

    def turn(self) -> None:
        for key, mask in self.selector.select(0.2):
            key.data(mask)


def test_control_answers_a_line_with_a_line(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    connection = running.connect(rig.spool)
    assert connection is not None
    with connection:
        connection.settimeout(5)
        connection.sendall(b'{"request": "sta')
        rig.turn()
        connection.sendall(b'tus"}\nnonsense\n')
        for _ in range(3):
            rig.turn()
        first, second = connection.recv(1000).splitlines()
    assert json.loads(first) == {"ok": "status"}
    assert "error" in json.loads(second)
    assert rig.requests == [{"request": "status"}]
    rig.control.close()
    assert running.connect(rig.spool) is None and not (rig.spool / "control").exists()
    rig.selector.close()


def test_control_bounds_a_line(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    connection = running.connect(rig.spool)
    assert connection is not None
    with connection:
        connection.settimeout(5)
        rig.turn()
        connection.setblocking(False)
        for _ in range(4):
            connection.send(b"x" * 30_000)
            rig.turn()
            rig.turn()
            if connection.fileno() and not rig.requests and _is_closed(connection):
                break
        else:
            raise AssertionError("a line without an end is kept for ever")
    rig.control.close()
    rig.selector.close()


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_stale_control_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control"))
    assert not running.is_running(tmp_path)
    with selectors.DefaultSelector() as selector:
        control = Control(tmp_path, selector, lambda _request, answer: answer({}))
        assert running.is_running(tmp_path)
        assert (tmp_path / "control").stat().st_mode & 0o777 == 0o600
        control.close()


def test_asking_without_a_server_says_so(tmp_path: Path) -> None:
    with pytest.raises(PostOfficeError, match="not running"):
        running.ask(tmp_path, "status")


_DROP = """
import json, os, socket, sys
from postoffice.dispatch import privileges
privileges.drop_root(65534, 65534)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
def bind(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except PermissionError:
            return "refused"
        except OSError:
            return "ok"     # taken: past the check of rights
        return "ok"
import subprocess
child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True)
print(json.dumps({"uids": os.getresuid(), "groups": os.getgroups(), "permitted": status["CapPrm"].strip(),
                  "ambient": status["CapAmb"].strip(), "bounding": status["CapBnd"].strip(),
                  "no_new_privileges": status["NoNewPrivs"].strip(), "bind": bind(1), "child": child.stdout.strip()}))
"""
_CHILD = """
import socket
with socket.socket() as s:
    try:
        s.bind(("127.0.0.1", 1))
        print("ok")
    except PermissionError:
        print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_root_is_dropped_and_only_binding_low_ports_remains() -> None:
    done = subprocess.run([sys.executable, "-c", f"CHILD = {_CHILD!r}\n{_DROP}"], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["uids"] == [65534] * 3 and 0 not in found["groups"]
    assert int(found["permitted"], 16) == 1 << 10 == int(found["bounding"], 16)
    assert int(found["ambient"], 16) == 0 and found["no_new_privileges"] == "1"
    assert found["bind"] == "ok" and found["child"] == "refused"

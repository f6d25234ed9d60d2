"""kill -9 of the serving process under load: every acknowledged message is there, once, and the server serves on."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import threading
from collections import Counter

import pytest

from tests.system.rig import Server, wait_until

pytestmark = pytest.mark.slow


class Sender(threading.Thread):
    """Sends numbered messages until told to stop; remembers what was acknowledged and what had an unclear end."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(name=name)
        self._server = server
        self.acknowledged: list[str] = []
        self.unclear: list[str] = []
        self.stopping = False

    def run(self) -> None:
        number = 0
        while not self.stopping:
            try:
                with self._server.smtp() as client:
                    while not self.stopping:
                        number += 1
                        mark = f"{self.name}-{number}"
                        self.unclear.append(mark)
                        client.sendmail("a@b.test", ["suzuki@example.test"], f"Subject: {mark}\r\n\r\n{mark}\r\n".encode())
                        self.acknowledged.append(mark)
                        self.unclear.remove(mark)
            except (OSError, smtplib.SMTPException):
                continue            # the process was killed under us: connect again


def find_serve(server: Server) -> list[int]:
    return [process["pid"] for process in server.status()["processes"] if process["name"].startswith("Serve")]


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_acknowledged_is_lost(installation: Server, workers: int) -> None:
    server = installation
    server.workers = workers
    server.start()
    senders = [Sender(server, f"sender{i}") for i in range(4)]
    for sender in senders:
        sender.start()
    try:
        for _ in range(4):
            count = sum(len(sender.acknowledged) for sender in senders)
            wait_until(lambda count=count: sum(len(sender.acknowledged) for sender in senders) > count + 20, "mail to flow")
            victim = wait_until(lambda: find_serve(server), "a serving process")[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: len(pids := find_serve(server)) == workers and victim not in pids, "the process to be started again")
    finally:
        for sender in senders:
            sender.stopping = True
        for sender in senders:
            sender.join(30)
    acknowledged = {mark for sender in senders for mark in sender.acknowledged}
    unclear = {mark for sender in senders for mark in sender.unclear}
    found = Counter(re.search(rb"^Subject: (\S+)", message, re.M)[1].decode() for message in server.list_messages("suzuki"))  # type: ignore[index]
    assert acknowledged - set(found) == set(), "lost"
    assert set(found) - acknowledged - unclear == set(), "from nowhere"
    assert max(found.values()) == 1, "doubled"

    def list_untraced() -> set[str]:
        text = server.run("trace", "--to", "suzuki@", "--limit", "100000").stdout
        return acknowledged - set(text.split())

    wait_until(lambda: not list_untraced(), "every acknowledged message in the trace", 10)
    server.stop()
    server.verify()

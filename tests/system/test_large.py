"""Messages of 100 MB pass in constant memory, ten at once, in and out, byte for byte."""

from __future__ import annotations

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.system.rig import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COUNT = 10
LINE = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ab\r\n"
BLOCK = LINE * 1000
BLOCKS = 100_000_000 // len(BLOCK)
MAY_GROW = 20_000_000


def get_peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def reset_peaks(pids: list[int]) -> dict[int, int]:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return {pid: get_peak_bytes(pid) for pid in pids}


def send_large(port: int, number: int) -> bytes:
    """One message by raw SMTP; the digest of its body part."""
    digest = hashlib.sha256()
    with socket.create_connection(("127.0.0.1", port), 300) as client, client.makefile("rb") as replies:
        def say(data: bytes, code: bytes) -> None:
            client.sendall(data)
            while (line := replies.readline())[3:4] == b"-":
                pass
            assert line.startswith(code), line

        say(b"", b"220")
        say(b"EHLO client.test\r\n", b"250")
        say(b"MAIL FROM:<a@b.test>\r\n", b"250")
        say(b"RCPT TO:<suzuki@example.test>\r\n", b"250")
        say(b"DATA\r\n", b"354")
        head = b"Subject: large %d\r\n\r\n" % number
        client.sendall(head)
        mark = b"%d" % number * 70 + b"\r\n"
        for data in (mark, *[BLOCK] * BLOCKS):
            digest.update(data)
            client.sendall(data)
        say(b".\r\n", b"250")
        say(b"QUIT\r\n", b"221")
    return digest.digest()


def fetch_large(port: int, password: str, number: int) -> bytes:
    digest = hashlib.sha256()
    with socket.create_connection(("127.0.0.1", port), 300) as client, client.makefile("rb", 1 << 20) as replies:
        for command in (b"", b"USER suzuki\r\n", b"PASS " + password.encode() + b"\r\n", b"RETR %d\r\n" % number):
            client.sendall(command)
            assert replies.readline().startswith(b"+OK")
        while replies.readline() != b"\r\n":
            pass
        while (line := replies.readline()) != b".\r\n":
            digest.update(line)
        client.sendall(b"QUIT\r\n")
        assert replies.readline().startswith(b"+OK")
    return digest.digest()


def test_ten_messages_of_100_mb_at_once(server: Server) -> None:
    server.dbedit("-s", "SMTP-Accept/Config/MessageSize", "200M")
    server.send("a@b.test", "yamada@example.test", b"Subject: warm\r\n\r\nx\r\n")
    pids = [process["pid"] for process in server.status()["processes"]]
    before = reset_peaks(pids)
    with ThreadPoolExecutor(COUNT) as pool:
        sent = list(pool.map(lambda number: send_large(server.ports["smtp"], number), range(COUNT)))
    grown = {pid: get_peak_bytes(pid) - before[pid] for pid in pids}
    assert max(grown.values()) < MAY_GROW, grown
    before = reset_peaks(pids)
    fetched = [fetch_large(server.ports["pop3"], server.password, number + 1) for number in range(COUNT)]
    grown = {pid: get_peak_bytes(pid) - before[pid] for pid in pids}
    assert max(grown.values()) < MAY_GROW, grown
    assert sorted(fetched) == sorted(sent)

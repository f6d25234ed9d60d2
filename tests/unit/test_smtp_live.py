"""SMTP and submission on real sockets with the standard library's client: clear, STARTTLS, TLS from the first byte."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop

from postoffice.base.clock import SystemClock
from postoffice.smtp.listener import SmtpListener, get_limits
from postoffice.testing.certificates import write_certificate
from postoffice.testing.smtp_rig import SmtpRig
from postoffice.tls.acceptor import Acceptor, ConnectionCounts
from postoffice.tls.contexts import Contexts, TlsChoice

TARO, HANAKO = "taro@example.test", "hanako@example.test"
BODY = b"From: a@example.org\r\nSubject: one\r\n\r\n..dots\r\n.\r\nend\r\n"
T = TypeVar("T")


class Server:
    """SMTP-Accept, submission and SMTPS in a thread of their own, so that blocking clients can talk to them."""

    def __init__(self, spool: Path) -> None:
        write_certificate(spool / "server.pem", ["localhost"])
        self.ca = ssl.create_default_context(cafile=str(spool / "server.pem"))
        self.rig = SmtpRig({"MaxSessionsPerClient": "20"})
        self.rig.signin.clear_allowed = False
        contexts = Contexts(lambda: TlsChoice((Path("server.pem"),)), spool)
        self.rig.context = contexts.get_server_context("smtp")
        accept = SmtpListener(self.rig.services, submission=False)
        submission = SmtpListener(self.rig.services, submission=True)
        counts = ConnectionCounts(lambda: get_limits(self.rig.services))
        self.acceptors = [
            Acceptor(accept, counts, SystemClock()), Acceptor(submission, counts, SystemClock()),
            Acceptor(submission, counts, SystemClock(), context=lambda: self.rig.context)]
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.ports = []
        for acceptor in self.acceptors:
            listening = socket.socket()
            listening.bind(("127.0.0.1", 0))
            self.ports.append(listening.getsockname()[1])
            self.do(lambda a=acceptor, s=listening: a.serve(s))     # type: ignore[misc]

    def do(self, make: Callable[[], Awaitable[T]]) -> T:
        async def call() -> T:
            return await make()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def close(self) -> None:
        for acceptor in self.acceptors:
            self.do(lambda a=acceptor: a.shut_down(2))              # type: ignore[misc]
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.close()


def test_a_message_in_clear(server: Server) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports[0], timeout=10) as client:
        assert client.sendmail("a@example.org", [TARO, "no@example.test"], BODY).keys() == {"no@example.test"}
        assert not client.has_extn("auth") and client.has_extn("starttls")
    assert server.rig.read(2)[0].endswith(BODY)


def test_submission_by_starttls(server: Server) -> None:
    with smtplib.SMTP("localhost", server.ports[1], timeout=10) as client:
        client.ehlo()
        assert client.mail(TARO)[0] == 530
        client.starttls(context=server.ca)
        client.login("taro", "taro-secret")
        client.sendmail(TARO, [HANAKO], BODY)
    assert b"with ESMTPSA id" in server.rig.read(3)[0]


def test_submission_by_smtps_and_a_wrong_password(server: Server) -> None:
    with smtplib.SMTP_SSL("localhost", server.ports[2], context=server.ca, timeout=10) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login("taro", "wrong")
        assert caught.value.smtp_code == 535
    with smtplib.SMTP_SSL("localhost", server.ports[2], context=server.ca, timeout=10) as client:
        client.login("taro", "taro-secret")
        client.sendmail(TARO, [HANAKO], BODY)
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail(HANAKO, [TARO], BODY)
    assert len(server.rig.read(3)) == 1


def test_a_large_message_over_tls(server: Server) -> None:
    body = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 300_000
    with smtplib.SMTP_SSL("localhost", server.ports[2], context=server.ca, timeout=30) as client:
        client.login("taro", "taro-secret")
        client.sendmail(TARO, [HANAKO], body)
    assert server.rig.read(3)[0].endswith(body)
    assert server.rig.services.budget.held_bytes == 0


def test_bytes_behind_starttls_are_never_taken_for_the_clients(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.ports[1]), timeout=10) as raw:
        raw.recv(1000)
        raw.sendall(b"EHLO x\r\n")
        raw.recv(4000)
        raw.sendall(b"STARTTLS\r\nMAIL FROM:<a@example.org>\r\n")
        answer = b""
        while piece := raw.recv(4000):
            answer += piece
    assert b"250 2.1.0" not in answer


def test_too_many_connections(server: Server) -> None:
    held = [socket.create_connection(("127.0.0.1", server.ports[0]), timeout=10) for _ in range(20)]
    try:
        assert all(one.recv(100).startswith(b"220 ") for one in held)
        with socket.create_connection(("127.0.0.1", server.ports[1]), timeout=10) as one:
            assert one.recv(200).startswith(b"421 4.7.0 ")
    finally:
        for one in held:
            one.close()


def test_stopping_says_so(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.ports[0]), timeout=10) as raw:
        raw.recv(1000)
        server.do(lambda: server.acceptors[0].shut_down(5))
        assert raw.recv(1000).startswith(b"421 4.3.2 ")

"""POP3 on real sockets with the standard library's client: clear, STLS and POP3S, the lock, lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import poplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from postoffice.base.clock import SystemClock
from postoffice.pop3.listener import Pop3Listener
from postoffice.pop3.maildrop import Maildrops
from postoffice.pop3.services import Rules, Services
from postoffice.store.memory import MemoryStore
from postoffice.store.model import Arrival, Placement
from postoffice.testing.certificates import write_certificate
from postoffice.testing.fakes import MemoryTrace
from postoffice.testing.signin import FakeSignIn
from postoffice.tls.acceptor import Acceptor, ConnectionCounts, ConnectionLimits
from postoffice.tls.contexts import Contexts, TlsChoice


class Server:
    """A POP3 server with two ports in a thread of its own, so that blocking clients can talk to it."""

    def __init__(self, spool: Path) -> None:
        write_certificate(spool / "server.pem", ["localhost"])
        self.ca = str(spool / "server.pem")
        self.store = MemoryStore()
        self.signin = FakeSignIn({"alice": "secret", "bob": "hidden"})
        contexts = Contexts(lambda: TlsChoice((Path("server.pem"),)), spool)
        self.maildrops = Maildrops(spool)
        services = self.services = Services(
            self.store, self.signin, self.maildrops, MemoryTrace(), SystemClock(),
            lambda: Rules("mail.example.test"), lambda: contexts.get_server_context("pop3"))
        self.counts = ConnectionCounts(lambda: ConnectionLimits(total=50))
        listener = Pop3Listener(services)
        self.acceptors = [Acceptor(listener, self.counts, SystemClock()),
                          Acceptor(listener, self.counts, SystemClock(), context=lambda: contexts.get_server_context("pop3"))]
        sockets = [socket.socket(), socket.socket()]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        self.port, self.tls_port = (sock.getsockname()[1] for sock in sockets)
        self.sockets = sockets
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        for acceptor, sock in zip(self.acceptors, sockets, strict=True):
            self.do(lambda a=acceptor, s=sock: a.serve(s))       # type: ignore[misc]

    def do(self, make: Callable[[], object]) -> object:
        return asyncio.run_coroutine_threadsafe(make(), self.loop).result(10)      # type: ignore[arg-type]

    def put(self, body: bytes, account: int = 1, number: list[int] = [0]) -> None:      # noqa: B006
        async def submit() -> None:
            number[0] += 1
            await self.store.submit(Arrival(number[0], 0.0, b"", body, b"", 1, (Placement(account),)))     # type: ignore[misc]
        self.do(submit)

    def close(self) -> None:
        for acceptor in self.acceptors:
            self.do(lambda a=acceptor: a.shut_down(2))          # type: ignore[misc]
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.maildrops.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


def sign_in(client: poplib.POP3) -> poplib.POP3:
    client.user("alice")
    client.pass_("secret")
    return client


def fetch(client: poplib.POP3) -> list[bytes]:
    count, _ = client.stat()
    return [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, count + 1)]


BODIES = [b"Subject: one\r\n\r\nfirst\r\n", b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
          b"Subject: long\r\n\r\n" + b".line of text\r\n" * 20_000]


def test_clear_stls_and_pop3s(server: Server) -> None:
    for body in BODIES:
        server.put(body)
    trusting = ssl.create_default_context(cafile=server.ca)
    for kind in ("clear", "stls", "pop3s"):
        if kind == "pop3s":
            client: poplib.POP3 = poplib.POP3_SSL("localhost", server.tls_port, context=trusting, timeout=10)
        else:
            client = poplib.POP3("localhost", server.port, timeout=10)
            assert "STLS" in client.capa()
        if kind == "stls":
            client.stls(trusting)
        assert b"<" not in client.getwelcome()
        sign_in(client)
        assert fetch(client) == BODIES
        assert client.top(3, 2)[1] == [b"Subject: long", b"", b".line of text", b".line of text"]
        assert client.quit().startswith(b"+OK")


def test_dele_and_quit(server: Server) -> None:
    server.put(BODIES[0])
    client = sign_in(poplib.POP3("localhost", server.port, timeout=10))
    client.dele(1)
    client.quit()
    client = sign_in(poplib.POP3("localhost", server.port, timeout=10))
    assert client.stat() == (0, 0)
    client.quit()


def test_the_lock_and_quit(server: Server) -> None:
    """Free before +OK: whoever signs in again at once is let in, a hundred times."""
    for _ in range(100):
        client = sign_in(poplib.POP3("localhost", server.port, timeout=10))
        client._shortcmd("QUIT")        # type: ignore[attr-defined]   # quit() waits for the connection's end
        client.sock.close()             # type: ignore[attr-defined]
        client.file.close()             # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("reading", [False, True])
def test_a_lost_connection_frees_the_lock_within_100_ms(server: Server, how: str, reading: bool) -> None:
    server.put(b"\r\n" + b"x" * 5_000_000)
    client = sign_in(poplib.POP3("localhost", server.port, timeout=10))
    with contextlib.closing(poplib.POP3("localhost", server.port, timeout=10)) as second, \
            pytest.raises(poplib.error_proto, match="IN-USE"):
        sign_in(second)
    if reading:
        client._putcmd("RETR 1")        # type: ignore[attr-defined]
        client.file.readline()          # type: ignore[attr-defined]
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")      # type: ignore[attr-defined]
    client.file.close()                 # type: ignore[attr-defined]
    client.sock.close()                 # type: ignore[attr-defined]
    lost = time.monotonic()
    while 1 in server.maildrops._held:
        assert time.monotonic() - lost < 0.1
        time.sleep(0.001)
    again = sign_in(poplib.POP3("localhost", server.port, timeout=10))
    again.quit()


def test_the_lock_is_free_when_its_holder_dies(server: Server, tmp_path: Path) -> None:
    program = ("import sys; from pathlib import Path; from postoffice.pop3.maildrop import Maildrops\n"
               "m = Maildrops(Path(sys.argv[1])); assert m.try_take(1); print('held', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                          env={"PYTHONPATH": ":".join(sys.path)}) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        client = poplib.POP3("localhost", server.port, timeout=10)
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            sign_in(client)
        other.kill()
        other.wait()
    sign_in(client).quit()


def test_shut_down_says_so(server: Server) -> None:
    client = sign_in(poplib.POP3("localhost", server.port, timeout=10))
    server.do(lambda: server.acceptors[0].shut_down(5))
    assert client.file.readline().startswith(b"-ERR [SYS/TEMP]")        # type: ignore[attr-defined]
    client.close()
    with pytest.raises(ConnectionRefusedError):
        poplib.POP3("localhost", server.port, timeout=10)

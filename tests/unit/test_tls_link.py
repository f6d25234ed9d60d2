"""Links on real sockets: clear, implicit TLS, upgrades, back-pressure, ends. On asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import tracemalloc
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
import uvloop

from postoffice.base.clock import SystemClock
from postoffice.base.streams import TlsInfo, Wire
from postoffice.testing.certificates import write_certificate
from postoffice.tls.acceptor import Acceptor, ConnectionCounts, ConnectionLimits, Refusal, get_client_key
from postoffice.tls.contexts import Contexts, TlsChoice
from postoffice.tls.link import Link


class Echo:
    """A session that does what a line says, and notes what happens to it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.log: list[str] = []
        self.buffer = b""
        self.full = False
        self.left = 0

    def opened(self, wire: Wire) -> None:
        self.wire = wire
        self.log.append("opened")
        self.service.sessions.append(self)
        wire.write(b"hello\r\n")

    def received(self, data: bytes) -> None:
        if self.service.sink:
            self.service.taken += len(data)
            if self.service.pausing:
                self.wire.pause_reading()
                asyncio.get_running_loop().call_later(0.001, self.wire.resume_reading)
            return
        self.buffer += data
        while b"\r\n" in self.buffer:
            line, self.buffer = self.buffer.split(b"\r\n", 1)
            self.act(line)

    def act(self, line: bytes) -> None:
        self.log.append(line.decode())
        match line.split():
            case [b"STLS"]:
                self.buffer = b""
                self.wire.write(b"go\r\n")
                context = self.service.contexts.get_server_context()
                assert context is not None
                self.wire.start_tls(context)
            case [b"BYE"]:
                self.wire.write(b"bye\r\n")
                self.wire.close()
            case [b"BUG"]:
                raise RuntimeError("a bug")
            case [b"SEND", count]:
                self.left = int(count)
                self.pump()
            case [b"DEADLINE"]:
                self.wire.set_deadline(0.01)
            case _:
                self.wire.write(b"said " + line + b"\r\n")

    def pump(self) -> None:
        while self.left and not self.full:
            piece = min(self.left, 65536)
            self.left -= piece
            self.wire.write(b"x" * piece)

    def secured(self, info: TlsInfo) -> None:
        self.log.append(f"secured {info.server_name}")

    def writable(self, ready: bool, /) -> None:
        self.full = not ready
        self.service.pauses += not ready
        if ready:
            self.pump()

    def peer_closed(self) -> None:
        self.log.append("peer_closed")
        self.wire.close()

    def lost(self, error: Exception | None) -> None:
        self.log.append("lost")
        self.service.lost.set()

    def expired(self) -> None:
        self.log.append("expired")
        self.wire.write(b"expired\r\n")
        self.wire.close()

    def shut_down(self) -> None:
        self.wire.write(b"stopping\r\n")
        self.wire.close()

    def crashed(self) -> None:
        self.log.append("crashed")
        self.wire.write(b"trouble\r\n")


class Service:
    """A listener with its acceptor on a loopback port."""

    def __init__(self, contexts: Contexts, *, implicit: bool = False, limits: ConnectionLimits | None = None,
                 handshake_seconds: float = 30.0) -> None:
        self.contexts = contexts
        self.sessions: list[Echo] = []
        self.lost = asyncio.Event()
        self.sink = False
        self.pausing = False
        self.taken = 0
        self.pauses = 0
        self.counts = ConnectionCounts(lambda: limits or ConnectionLimits())
        self.acceptor = Acceptor(self, self.counts, SystemClock(), handshake_seconds=handshake_seconds,
                                 context=contexts.get_server_context if implicit else None)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]

    def make_session(self) -> Echo:
        return Echo(self)

    def refuse(self, reason: Refusal) -> bytes:
        return reason.name.encode() + b"\r\n"

    async def __aenter__(self) -> Service:
        await self.acceptor.serve(self.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.acceptor.shut_down(1)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    spool = tmp_path_factory.mktemp("tls")
    write_certificate(spool / "server.pem", ["localhost", "mail.example.test"])
    return Contexts(lambda: TlsChoice((Path("server.pem"),)), spool)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    def run_it(main: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await main()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as runner:
            runner.run(limited())
    return run_it


Run = Callable[[Callable[[], Awaitable[None]]], None]


def trusting(contexts: Contexts, *, name: str = "server.pem") -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(contexts._spool / name))


async def connect(service: Service, *, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if tls is None:
        return await asyncio.open_connection("127.0.0.1", service.port)
    return await asyncio.open_connection("127.0.0.1", service.port, ssl=tls, server_hostname="localhost")


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


def test_clear(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts) as service:
            reader, writer = await connect(service)
            assert await reader.readline() == b"hello\r\n"
            writer.write(b"one\r\ntwo\r\nBYE\r\n" + b"more" * 10_000)
            assert await reader.read() == b"said one\r\nsaid two\r\nbye\r\n"
            await end(writer)
            await service.lost.wait()
            assert service.sessions[0].log == ["opened", "one", "two", "BYE", "lost"]
            assert service.counts.total == 0
            peer = service.sessions[0].wire.peer
            assert (str(peer.address), peer.local_port) == ("127.0.0.1", service.port)

    run(main)


def test_implicit_tls(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts, implicit=True) as service:
            reader, writer = await connect(service, tls=trusting(contexts))
            assert await reader.readline() == b"hello\r\n"
            info = service.sessions[0].wire.tls
            assert info is not None and info.server_name == "localhost" and info.version == "TLSv1.3"
            writer.write(b"one\r\n")
            assert await reader.readline() == b"said one\r\n"
            writer.write(b"BYE\r\n")
            assert await reader.read() == b"bye\r\n", "the end is told by close_notify"
            await end(writer)
            await service.lost.wait()

    run(main)


def test_the_end_under_tls_is_said(contexts: Contexts) -> None:
    """Without close_notify a client could not tell the end from a cut (RFC 8446 §6.1)."""
    async def main() -> None:
        async with Service(contexts, implicit=True) as service:
            strict = trusting(contexts)
            strict.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF

            def talk() -> bytes:
                with socket.create_connection(("127.0.0.1", service.port), timeout=10) as plain, \
                        strict.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as sock:
                    sock.sendall(b"BYE\r\n")
                    got = b""
                    while data := sock.recv(100):
                        got += data
                    return got
            assert await asyncio.to_thread(talk) == b"hello\r\nbye\r\n"

    asyncio.run(main())


@pytest.mark.parametrize("secure", [False, True])
def test_the_last_words_survive_unread_input(run: Run, contexts: Contexts, secure: bool) -> None:
    """A close with unread input would be a reset, which takes what is under way to the client with it."""
    async def main() -> None:
        async with Service(contexts, implicit=secure) as service:
            def talk() -> bytes:
                with contextlib.ExitStack() as stack:
                    sock = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=10))
                    if secure:
                        sock = stack.enter_context(trusting(contexts).wrap_socket(sock, server_hostname="localhost"))
                    sock.sendall(b"BYE\r\n")
                    with contextlib.suppress(ssl.SSLEOFError):
                        for _ in range(100):
                            sock.sendall(b"more\r\n" * 5_000)
                    got = b""
                    while data := sock.recv(100):
                        got += data
                    return got
            assert await asyncio.to_thread(talk) == b"hello\r\nbye\r\n"

    run(main)


class FakeTransport:
    """Notes what the link does; the test plays the network."""

    def __init__(self) -> None:
        self.reading = True
        self.sent = b""

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return {"peername": ("::ffff:192.0.2.9", 4000), "sockname": ("::ffff:192.0.2.1", 110)}[name]

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: bytes) -> None:
        self.sent += data


def test_a_paused_session_gets_nothing(contexts: Contexts) -> None:
    """Even when the transport delivers on (uvloop, after connection_made); afterwards in order, the end last."""
    async def main() -> None:
        service = Service(contexts)
        link = Link(service.make_session, SystemClock(), admit=lambda link: None, gone=lambda link: None)
        transport = FakeTransport()
        link.connection_made(transport)         # type: ignore[arg-type]
        (session,) = service.sessions
        assert str(link.peer.address) == "192.0.2.9"
        link.pause_reading()
        transport.reading = True
        link.data_received(b"one\r\n")
        assert not transport.reading and session.log == ["opened"]
        link.resume_reading()
        link.data_received(b"two\r\n")
        assert session.log == ["opened"], "not before what was held"
        await asyncio.sleep(0)
        assert session.log == ["opened", "one", "two"]
        link.pause_reading()
        link.data_received(b"three\r\n")
        assert link.eof_received() and session.log[-1] == "two"
        session.peer_closed = lambda: session.log.append("end")         # type: ignore[method-assign]
        link.resume_reading()
        await asyncio.sleep(0)
        link.pause_reading()
        link.resume_reading()
        await asyncio.sleep(0)
        assert session.log == ["opened", "one", "two", "three", "end"]
        service.socket.close()

    asyncio.run(main())


def test_what_was_held_in_clear_is_dropped_when_tls_begins(contexts: Contexts) -> None:
    async def main() -> None:
        service = Service(contexts)
        link = Link(service.make_session, SystemClock(), admit=lambda link: None, gone=lambda link: None)
        transport = FakeTransport()
        link.connection_made(transport)         # type: ignore[arg-type]
        link.pause_reading()
        link.data_received(b"injected\r\n")
        context = contexts.get_server_context()
        assert context is not None
        link.start_tls(context)
        assert transport.reading
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting(contexts).wrap_bio(incoming, outgoing, server_hostname="localhost")
        transport.sent = b""
        session = service.sessions[0]
        session.secured = lambda info: link.pause_reading()             # type: ignore[method-assign]
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        link.data_received(outgoing.read())
        incoming.write(transport.sent)
        client.do_handshake()
        client.write(b"one\r\n")
        link.data_received(outgoing.read())     # Finished and a command in one segment
        assert session.log == ["opened"] and not transport.reading
        link.resume_reading()
        await asyncio.sleep(0)
        assert session.log == ["opened", "one"]
        service.socket.close()

    asyncio.run(main())


def test_upgrade(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts) as service:
            reader, writer = await connect(service)
            await reader.readline()
            writer.write(b"STLS\r\ninjected\r\n")
            assert await reader.readline() == b"go\r\n"
            await writer.start_tls(trusting(contexts), server_hostname="localhost")
            writer.write(b"one\r\n")
            assert await reader.readline() == b"said one\r\n"
            await end(writer)
            await service.lost.wait()
            assert service.sessions[0].log == ["opened", "STLS", "secured localhost", "one", "peer_closed", "lost"]

    run(main)


def test_clear_text_between_command_and_handshake_never_arrives(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts) as service:
            reader, writer = await connect(service)
            await reader.readline()
            writer.write(b"STLS\r\n")
            assert await reader.readline() == b"go\r\n"
            writer.write(b"injected later\r\n")
            await reader.read()
            await service.lost.wait()
            assert service.sessions[0].log == ["opened", "STLS", "lost"]
            await end(writer)

    run(main)


@pytest.mark.parametrize("bytewise", [False, True])
def test_handshake_and_command_in_any_segments(run: Run, contexts: Contexts, bytewise: bool) -> None:
    """Finished and the first command in one segment; or every byte alone."""
    async def main() -> None:
        async with Service(contexts) as service:
            reader, writer = await connect(service)
            await reader.readline()
            writer.write(b"STLS\r\n")
            await reader.readline()
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = trusting(contexts).wrap_bio(incoming, outgoing, server_hostname="localhost")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
            tls.write(b"early\r\n")
            data = outgoing.read()
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in ([data[i:i + 1] for i in range(len(data))] if bytewise else [data]):
                writer.write(piece)
                await asyncio.sleep(0)
            said = b""
            while not said:
                incoming.write(await reader.read(65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    said = tls.read(100)
            assert said == b"said early\r\n"
            await end(writer)

    run(main)


def test_what_is_no_tls_is_dropped(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts, implicit=True) as service:
            reader, writer = await connect(service)
            writer.write(b"EHLO plain.example\r\n")
            answer = await reader.read()
            assert b"hello" not in answer
            await end(writer)
            while service.counts.total:
                await asyncio.sleep(0.01)
            assert service.sessions == []

    run(main)


def test_slow_handshake_ends_and_counts(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts, implicit=True, handshake_seconds=0.5) as service:
            reader, writer = await connect(service)
            writer.write(b"\x16\x03\x01")
            while service.counts.total != 1:
                await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            while service.counts.total:
                await asyncio.sleep(0.01)
            await end(writer)

    run(main)


@pytest.mark.parametrize("secure", [False, True])
def test_a_bug_in_a_session(run: Run, contexts: Contexts, secure: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Service(contexts, implicit=secure) as service:
            reader, writer = await connect(service, tls=trusting(contexts) if secure else None)
            writer.write(b"BUG\r\n")
            assert await reader.read() == b"hello\r\ntrouble\r\n"
            await end(writer)
            await service.lost.wait()
            assert service.sessions[0].log == ["opened", "BUG", "crashed", "lost"]
            assert "a bug" in caplog.text

    run(main)


def test_reset_by_the_client(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts, implicit=True) as service:
            reader, writer = await connect(service, tls=trusting(contexts))
            await reader.readline()
            writer.transport.abort()
            await service.lost.wait()
            assert service.sessions[0].log[-1] == "lost" and service.sessions[0].log.count("lost") == 1

    run(main)


def test_a_client_that_never_says_close_notify(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts) as service:
            reader, writer = await connect(service)
            await reader.readline()
            writer.write(b"BYE\r\n")
            await service.lost.wait()           # though the client does not close
            await end(writer)

    run(main)


def test_deadline(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts) as service:
            reader, writer = await connect(service)
            writer.write(b"DEADLINE\r\n")
            assert await reader.read() == b"hello\r\nexpired\r\n"
            await end(writer)

    run(main)


@pytest.mark.parametrize("secure", [False, True])
def test_downloads_wait_for_the_client(run: Run, contexts: Contexts, secure: bool) -> None:
    async def main() -> None:
        async with Service(contexts, implicit=secure) as service:
            reader, writer = await connect(service, tls=trusting(contexts) if secure else None)
            writer.write(b"SEND 20000000\r\n")
            while not service.pauses:
                await asyncio.sleep(0.01)
            assert service.sessions[0].left > 5_000_000, "it went on although nobody reads"
            await reader.readline()
            assert await reader.readexactly(20_000_000) == b"x" * 20_000_000
            assert service.pauses > 3
            await end(writer)

    run(main)


@pytest.mark.parametrize("secure", [False, True])
def test_uploads_wait_for_the_session(run: Run, contexts: Contexts, secure: bool) -> None:
    async def main() -> None:
        async with Service(contexts, implicit=secure) as service:
            service.sink = service.pausing = True
            reader, writer = await connect(service, tls=trusting(contexts) if secure else None)
            await reader.readline()
            for _ in range(64):
                writer.write(b"y" * 65536)
                await writer.drain()
            while service.taken < 64 * 65536:
                await asyncio.sleep(0.01)
            assert service.taken == 64 * 65536
            await end(writer)
            await service.lost.wait()
            assert service.sessions[0].log == ["opened", "peer_closed", "lost"]

    run(main)


def test_memory_of_a_tls_connection(contexts: Contexts) -> None:
    """After big transfers a link holds no more than before (tracemalloc does not see OpenSSL's own buffers, which
    MemoryBIO's slices bound)."""
    async def main() -> None:
        async with Service(contexts, implicit=True) as service:
            reader, writer = await connect(service, tls=trusting(contexts))
            await reader.readline()
            service.sink = True
            tracemalloc.start()
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(100):
                writer.write(b"y" * 65536)
                await writer.drain()
            while service.taken < 100 * 65536:
                await asyncio.sleep(0.01)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert grown < 1_000_000, grown
            await end(writer)

    asyncio.run(main())


def test_limits_per_client_and_in_all(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts, limits=ConnectionLimits(total=3, per_client=2)) as service:
            writers = []
            for _ in range(2):
                reader, writer = await connect(service)
                assert await reader.readline() == b"hello\r\n"
                writers.append(writer)
            reader, writer = await connect(service)
            assert await reader.read() == b"TOO_MANY_FROM_CLIENT\r\n"
            await end(writer)
            assert service.counts.enter(ip_address("192.0.2.1")) is None
            reader, writer = await connect(service)
            assert await reader.read() == b"TOO_MANY\r\n"
            await end(writer)
            await end(writers[0])
            await service.lost.wait()
            reader, writer = await connect(service)
            assert await reader.readline() == b"hello\r\n", "a place is free again"
            await end(writer)
            await end(writers[1])

    run(main)


def test_client_keys() -> None:
    assert get_client_key(ip_address("192.0.2.1")) != get_client_key(ip_address("192.0.2.2"))
    assert get_client_key(ip_address("2001:db8::1")) == get_client_key(ip_address("2001:db8::ffff:1"))
    assert get_client_key(ip_address("2001:db8::1")) != get_client_key(ip_address("2001:db8:0:1::1"))


def test_a_closed_listener_leaves_its_connections(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts) as service:
            reader, writer = await connect(service)
            await reader.readline()
            service.acceptor.close_listener(service.socket)
            with pytest.raises(ConnectionRefusedError):
                for _ in range(10):             # the loop closes it in its next turn
                    _, other = await connect(service)
                    await end(other)
            writer.write(b"still\r\n")
            assert await reader.readline() == b"said still\r\n"
            await end(writer)

    run(main)


def test_shut_down(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        async with Service(contexts) as service:
            idle_reader, idle = await connect(service)
            busy_reader, busy = await connect(service)
            await idle_reader.readline()
            await busy_reader.readline()
            busy.write(b"SEND 50000000\r\n")
            await busy_reader.readexactly(10)
            stopping = asyncio.create_task(service.acceptor.shut_down(0.5))
            assert await idle_reader.read() == b"stopping\r\n"
            await stopping
            assert service.acceptor.connections == 0
            await end(idle)
            await end(busy)

    run(main)


def test_no_certificate_no_implicit_tls(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Service(Contexts(lambda: TlsChoice(()), tmp_path), implicit=True) as service:
            reader, writer = await connect(service)
            assert await reader.read() == b""
            await end(writer)

    run(main)

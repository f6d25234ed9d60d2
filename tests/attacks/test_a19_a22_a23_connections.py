"""A19, A22, A23 on the connection itself: tickets of another service, renegotiation, clients that take their time or come in
numbers, file descriptors exhausted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import ssl
from pathlib import Path

import pytest

from postoffice.tls.acceptor import ConnectionLimits
from postoffice.tls.contexts import Contexts
from tests.unit.test_tls_contexts import build, shake_hands, write_certificate
from tests.unit.test_tls_link import Run, Service, connect, contexts, end, run

__all__ = ["contexts", "run"]           # fixtures


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a19_a_ticket_of_one_service_means_nothing_to_another(tmp_path: Path, version: ssl.TLSVersion) -> None:
    write_certificate(tmp_path / "a.pem", ["localhost"])
    contexts, _ = build(tmp_path, "a.pem")
    smtp, pop3 = contexts.get_server_context("smtp"), contexts.get_server_context("pop3")
    assert smtp is not None and pop3 is not None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    session = shake_hands(smtp, version=version, client=client)[0].session
    assert session is not None
    assert shake_hands(smtp, version=version, client=client, session=session)[0].session_reused, "the ticket is good"
    assert not shake_hands(pop3, version=version, client=client, session=session)[0].session_reused


def test_a19_no_renegotiation_and_no_client_certificate(tmp_path: Path) -> None:
    write_certificate(tmp_path / "a.pem", ["localhost"])
    context = build(tmp_path, "a.pem")[0].get_server_context()
    assert context is not None
    assert context.options & ssl.OP_NO_RENEGOTIATION and context.verify_mode == ssl.CERT_NONE


def test_a22_a_slow_handshake_counts_and_ends(run: Run, contexts: Contexts) -> None:
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


def test_a22_one_client_leaves_room_for_others(run: Run, contexts: Contexts) -> None:
    """Connections that never shake hands are counted like all others."""
    async def main() -> None:
        async with Service(contexts, implicit=True, limits=ConnectionLimits(total=10, per_client=5)) as service:
            silent = [await connect(service) for _ in range(8)]
            while service.acceptor.connections < 5:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert service.counts.total == 5, "the sixth of one client has no place"
            for _, writer in silent:
                await end(writer)

    run(main)


def test_a23_file_descriptors_exhausted(run: Run, contexts: Contexts) -> None:
    """No spin, and when descriptors are there again the server serves."""
    async def main() -> None:
        async with Service(contexts) as service:
            first_reader, first = await connect(service)
            assert await first_reader.readline() == b"hello\r\n"
            waiting = [socket.socket() for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(sock.fileno() for sock in waiting)
            taken: list[socket.socket] = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
            try:
                with pytest.raises(OSError) as full:
                    while True:
                        taken.append(socket.socket())
                assert full.value.errno == errno.EMFILE
                for sock in waiting:
                    sock.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        sock.connect(("127.0.0.1", service.port))
                used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
                await asyncio.sleep(0.5)
                assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - used < 0.3
                first.write(b"still\r\n")
                assert await first_reader.readline() == b"said still\r\n"
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for sock in (*taken, *waiting):
                    sock.close()
            reader, writer = await connect(service)
            assert await reader.readline() == b"hello\r\n"
            await end(writer)
            await end(first)

    run(main)

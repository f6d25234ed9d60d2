"""CPU of the SMTP engine alone: µs a message with MAIL, RCPT, DATA and a 4 KB body, and MB/s of bodies in pieces.

`python -m bench.engine [--profile]`. No sockets and no services: what the grammar, the state and the body cost.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from typing import Any

from postoffice.smtp.protocol import events as ev
from postoffice.smtp.protocol.events import Event
from postoffice.smtp.protocol.extensions import EngineConfig, Limits
from postoffice.smtp.protocol.reply import OK, RECIPIENT_OK, SENDER_OK, START_DATA, Reply
from postoffice.smtp.protocol.server import ServerEngine

MESSAGES = 3000
LINE = b"The quick brown fox jumps over the lazy dog, then over the lazy cat too.\r\n"
PIECE = 64 * 1024
CONFIG = EngineConfig("mail.example.test", limits=Limits(message_size=0, piece_bytes=PIECE))

_ANSWERS: dict[type, Callable[[ServerEngine, Any], object]] = {
    ev.Mail: lambda engine, event: engine.reply(SENDER_OK),
    ev.Rcpt: lambda engine, event: engine.reply(RECIPIENT_OK),
    ev.Data: lambda engine, event: engine.reply(START_DATA),
    ev.BodyStart: lambda engine, event: engine.proceed(),
    ev.BodyBytes: lambda engine, event: None,
    ev.BodyEnd: lambda engine, event: engine.reply(OK),
    ev.ChunkDone: lambda engine, event: engine.reply(OK),
}


def open_engine() -> ServerEngine:
    """An engine that has seen EHLO."""
    engine = ServerEngine(CONFIG)
    engine.greet(Reply(220, "", ("mail.example.test",)))
    engine.receive(b"EHLO client.test\r\n")
    engine.next_event()
    engine.accept_hello("")
    return engine


def give(engine: ServerEngine, data: bytes) -> list[Event]:
    """Feed and answer everything."""
    engine.receive(data)
    seen = []
    while (event := engine.next_event()) is not None:
        _ANSWERS[type(event)](engine, event)
        seen.append(event)
    return seen


def send_messages(body: bytes, *, pipelined: bool) -> None:
    """MESSAGES messages on one connection."""
    engine = open_engine()
    commands = [b"MAIL FROM:<sender@example.org> SIZE=4096 BODY=8BITMIME\r\n", b"RCPT TO:<taro@example.test>\r\n", b"DATA\r\n"]
    if pipelined:
        commands = [b"".join(commands)]
    for _ in range(MESSAGES):
        for command in commands:
            give(engine, command)
        end = give(engine, body)[-1]
        assert type(end) is ev.BodyEnd


def send_large(body: bytes, repeat: int, *, chunked: bool) -> int:
    """One large message by DATA or BDAT in pieces; bytes sent."""
    engine = open_engine()
    give(engine, b"MAIL FROM:<sender@example.org>\r\nRCPT TO:<taro@example.test>\r\n")
    if not chunked:
        give(engine, b"DATA\r\n")
    command = b"BDAT %d\r\n" % len(body) if chunked else b""
    for _ in range(repeat):
        give(engine, command + body)
    end = give(engine, b"BDAT 0 LAST\r\n" if chunked else b".\r\n")[-1]
    assert type(end) is ev.BodyEnd and end.size == (len((b"\r\n" + body).replace(b"\r\n..", b"\r\n.")) - 2) * repeat
    return len(body) * repeat


def send_tiny_chunks(count: int) -> None:
    """BDAT of one byte each."""
    engine = open_engine()
    give(engine, b"MAIL FROM:<sender@example.org>\r\nRCPT TO:<taro@example.test>\r\n")
    for _ in range(count // 100):
        give(engine, b"BDAT 1\r\nx" * 100)


def measure(work: Callable[[], object]) -> float:
    """CPU seconds, the best of three."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def main() -> None:
    text = (LINE * 1000)[: 4096 - 2] + b"\r\n"
    dotted = b"Subject: dots\r\n\r\n" + (b"..a line with a dot in front\r\n" * 200)[: 4096 - 18] + b"\r\n"
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(send_messages, text + b".\r\n", pipelined=True)
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
        return
    for name, body in (("4 KB", text), ("4 KB, dots", dotted)):
        for pipelined in (False, True):
            seconds = measure(lambda body=body, pipelined=pipelined: send_messages(body + b".\r\n", pipelined=pipelined))  # type: ignore[misc]
            print(f"{name:12s} {'pipelined' if pipelined else 'one by one':12s} {seconds / MESSAGES * 1e6:8.1f} µs a message")
    piece = (LINE * 1000)[: PIECE - 2] + b"\r\n"
    stuffed = (b"..x\r\n" * 14000)[: PIECE - PIECE % 5]
    for name, body, chunked in (("DATA", piece, False), ("DATA, dots", stuffed, False), ("BDAT", piece, True)):
        seconds = measure(lambda body=body, chunked=chunked: send_large(body, 500, chunked=chunked))  # type: ignore[misc]
        print(f"{name:12s} {'64 KB pieces':12s} {len(body) * 500 / seconds / 1e6:8.0f} MB/s")
    print(f"{'BDAT 1':12s} {'':12s} {measure(lambda: send_tiny_chunks(20_000)) / 20_000 * 1e6:8.1f} µs a chunk")
    seconds = measure(lambda: give(open_noop(), b"NOOP\r\n" * 40_000))
    print(f"{'NOOP':12s} {'240 KB':12s} {seconds / 40_000 * 1e6:8.1f} µs a command")


def open_noop() -> ServerEngine:
    _ANSWERS[ev.Simple] = lambda engine, event: engine.reply(event.reply)
    return open_engine()


if __name__ == "__main__":
    main()

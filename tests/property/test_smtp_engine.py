"""Properties of the SMTP engine: how the bytes are cut changes nothing, whatever comes is answered, memory is bounded."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from postoffice.smtp.protocol import events as ev
from postoffice.smtp.protocol.body import DataReader, has_bare_line_end
from postoffice.testing.dialogues import feed_three_ways
from tests.smtp_engine import ScriptedServer, build_config

WORDS = st.sampled_from([
    b"EHLO a\r\n", b"HELO a\r\n", b"MAIL FROM:<a@example.org>\r\n", b"MAIL FROM:<a@example.org> SIZE=9 SMTPUTF8\r\n",
    b"RCPT TO:<taro@example.test>\r\n", b"RCPT TO:<nobody@example.test>\r\n", b"DATA\r\n", b"BDAT 3\r\nabc", b"BDAT 5 LAST\r\nx\r\ny\n",
    b"BDAT 0 LAST\r\n", b"BDAT 99999\r\n", b"BDAT x\r\n", b"RSET\r\n", b"NOOP x\r\n", b"QUIT\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN =\r\n",
    b"AUTH PLAIN AHVzZXIAcGVuY2ls\r\n", b"AHVzZXIAcGVuY2ls\r\n", b"*\r\n", b"STARTTLS\r\n", b"VRFY x\r\n", b"EXPN x\r\n", b"HELP\r\n",
    b".\r\n", b"..\r\n", b".", b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"full", b"text\r\n", b"x" * 70, b"x" * 2100, b" ",
])
PIPELINED = st.sampled_from([
    b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<taro@example.test>\r\n", b"RCPT TO:<nobody@example.test>\r\n", b"RSET\r\n", b"NOOP\r\n",
    b"BDAT 3\r\nabc", b"BDAT 4 LAST\r\nd\r\ne", b"BDAT 0\r\n", b"BDAT 3 LAST\r\na\nb", b"BDAT 200\r\n" + b"y" * 200, b"VRFY x\r\n", b"WHAT\r\n",
    b"MAIL FROM:<a@example.org> SIZE=101\r\n", b"MAIL FROM:<memory@example.org>\r\n", b"\r\n", b"BDAT 2\r\n\r\n",
])
BODY_PARTS = st.sampled_from([b"\r\n", b".", b"..", b"x", b"\r\n.", b"line\r\n", b"\r", b"\n", b"y" * 1500])
CONFIG = build_config(["message_size=100"])
OPEN = build_config(["message_size=0"])


def say(server: ScriptedServer, data: bytes) -> list[object]:
    """What comes back, with pieces of a body as if they had come together."""
    seen = len(server.events)
    if not server.closed:
        server.send(data)
    return [event for event in server.events[seen:] if not isinstance(event, ev.BodyBytes)]


@given(st.lists(PIPELINED, max_size=12).map(b"".join))
def test_commands_and_chunks_are_the_same_however_they_are_cut(data: bytes) -> None:
    def make() -> ScriptedServer:
        server = ScriptedServer(CONFIG)
        server.send(b"EHLO a\r\n")
        return server

    feed_three_ways(make, say, data)


@given(st.lists(BODY_PARTS, max_size=12).map(b"".join), st.data())
def test_a_body_is_the_same_however_it_is_cut(body: bytes, data: st.DataObject) -> None:
    stream = body + b"\r\n.\r\nrest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    whole = DataReader(0)
    rest = whole.feed(stream)
    assert rest is not None
    cut = DataReader(0)
    for begin, end in pairwise([0, *cuts, len(stream)]):
        got = cut.feed(stream[begin:end])
        if got is not None:
            assert got + stream[end:] == rest
            break
    else:
        raise AssertionError("the end was not seen")
    assert (cut.broken, cut.size) == (whole.broken, whole.size)
    assert b"".join(cut.pieces.collect()) == b"".join(whole.pieces.collect())


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\r" not in line and b"\n" not in line), max_size=20))
def test_what_is_stuffed_is_read_back(lines: list[bytes]) -> None:
    body = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    reader = DataReader(0)
    assert reader.feed(stuffed + b".\r\n") == b""
    assert b"".join(reader.pieces.collect()) == body and reader.size == len(body) and not reader.broken


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a"]), max_size=12).map(b"".join))
def test_bare_line_ends_are_found(data: bytes) -> None:
    bare = any(
        (data[i] == 13 and data[i + 1 : i + 2] != b"\n") or (data[i] == 10 and (i == 0 or data[i - 1] != 13)) for i in range(len(data)))
    assert has_bare_line_end(data) is bare


@settings(max_examples=300)
@given(st.lists(WORDS | st.binary(max_size=8), max_size=30), st.sampled_from([(), ("require_auth",), ("off:BDAT", "mechanisms=")]))
def test_whatever_comes_is_answered(pieces: list[bytes], words: tuple[str, ...]) -> None:
    server = ScriptedServer(build_config(words, CONFIG))
    server.take_output()
    for piece in pieces:
        seen = len(server.events)
        say(server, piece)
        new = [event for event in server.events[seen:] if not isinstance(event, ev.BodyBytes | ev.BodyStart)]
        out = server.take_output()
        lines = out.split(b"\r\n")
        assert lines.pop() == b""
        for line in lines:
            assert line.isascii() and line[:3].isdigit() and line[3:4] in (b" ", b"-") and len(line) <= 510
        answered = len([line for line in lines if line[3:4] == b" "])
        # A refused first chunk is answered where its bytes end.
        assert answered == len(new)
        if server.closed:
            break
    for _sender, recipients, body in server.messages:
        assert recipients and not has_bare_line_end(body) and len(body) <= 100


@settings(max_examples=20, deadline=None)
@given(WORDS, st.binary(min_size=1, max_size=40), st.sampled_from([b"", b"EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.test>\r\n"]))
def test_what_the_engine_holds_is_bounded(begin: bytes, piece: bytes, before: bytes) -> None:
    """A client that repeats one thing for ever: 1 MB of it stays under the piece that is handed on."""
    server = ScriptedServer(CONFIG)
    for line in before.splitlines(keepends=True):
        server.send(line)
    block = piece * (8192 // len(piece))
    tracemalloc.start()
    try:
        server.send(begin)
        for _ in range(128):
            if server.closed:
                break
            server.send(block)
            server.events.clear()
            server.take_output()
            server._pieces.clear()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 200_000
    assert server.engine.buffered <= 16_384

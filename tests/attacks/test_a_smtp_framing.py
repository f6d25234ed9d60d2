"""Attack cases A1, A4-A10 and A12-A17 against the SMTP engine: framing, order, sizes."""

from __future__ import annotations

import base64
import time
import tracemalloc

import pytest

from postoffice.smtp.protocol import events as ev
from postoffice.smtp.protocol.body import SMALL_BYTES
from postoffice.smtp.protocol.reply import READY_FOR_TLS, Reply
from postoffice.smtp.protocol.server import ServerEngine
from tests.smtp_engine import CONFIG, ScriptedServer, build_config, converse

HELLO = b"EHLO client.test\r\n"
BEGIN = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<taro@example.test>\r\n"
SMUGGLED = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<taro@example.test>\r\nDATA\r\nsmuggled\r\n.\r\n"


def open_body(*words: str) -> ScriptedServer:
    """A server that has answered 354."""
    server = ScriptedServer(build_config(words))
    for line in (HELLO, BEGIN, b"DATA\r\n"):
        server.send(line)
    assert server.take_codes() == ["220", "250", "250", "250", "354"]
    return server


def open_transaction(*words: str) -> ScriptedServer:
    server = ScriptedServer(build_config(words))
    server.send(HELLO)
    server.send(BEGIN)
    server.take_output()
    return server


# --- A1 ---------------------------------------------------------------------------------------------------

FALSE_ENDS = [
    b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n.\r\r\n", b"\n\n.\r\n", b"\r\n.\n\r\n",
    b"\r.\n", b"\n.\r",
]


@pytest.mark.parametrize("end", FALSE_ENDS)
@pytest.mark.parametrize("by", [0, 1, 2, 3, 7])
def test_a01_only_crlf_dot_crlf_ends_a_message(end: bytes, by: int) -> None:
    server = open_body()
    data = b"Subject: one\r\n\r\nfirst" + end + SMUGGLED
    # What follows a true end comes later, as a client's next words do: this one has the smuggled end alone.
    for piece in [data] if not by else [data[i : i + by] for i in range(0, len(data), by)]:
        server.send(piece)
    assert server.messages == []
    assert server.take_codes() == ["550"]
    assert not any(isinstance(event, ev.Mail) and str(event.sender) == "evil@example.org" for event in server.events)


@pytest.mark.parametrize("end", [b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n..\r\n", b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.\x85\r\n"])
def test_a01_what_looks_like_an_end_is_text(end: bytes) -> None:
    server = open_body()
    server.send(b"first" + end + b"MAIL FROM:<evil@example.org>\r\n.\r\n")
    assert server.take_codes() == ["250"]
    [(sender, _recipients, body)] = server.messages
    assert sender == "a@example.org" and body.endswith(b"MAIL FROM:<evil@example.org>\r\n")


@pytest.mark.parametrize("cut", range(1, 6))
def test_a01_the_end_split_over_packets(cut: int) -> None:
    server = open_body()
    data = b"x\r\n.\r\n"
    server.send(data[:cut])
    assert server.messages == [] and server.take_codes() == []
    server.send(data[cut:])
    assert server.take_codes() == ["250"] and server.messages[0][2] == b"x\r\n"


@pytest.mark.parametrize("body", [b"a\nb\r\n", b"a\rb\r\n", b"a\r", b"\n", b"a\r\n\n", b"\r\r\n"])
def test_a01_bare_line_ends_in_chunks(body: bytes) -> None:
    for cut in range(len(body) + 1):
        server = open_transaction()
        first, second = body[:cut], body[cut:]
        server.send(b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(first), first, len(second), second))
        assert "550" in server.take_codes() and server.messages == []


# --- A4, A5 -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("behind", [b"\r\n", b"NOOP\r\n", b"EHLO x\r\n", b"M", b"\0"])
def test_a04_bytes_behind_starttls(behind: bytes) -> None:
    server = converse(HELLO)
    server.take_output()
    server.send(b"STARTTLS\r\n" + behind)
    assert server.take_codes() == ["554"] and server.closed
    assert not any(isinstance(event, ev.StartTls) for event in server.events)


def test_a04_everything_of_before_is_forgotten() -> None:
    server = ScriptedServer()
    plain = base64.b64encode(b"\0user\0pencil")
    for line in (HELLO, b"AUTH PLAIN " + plain + b"\r\n", BEGIN, b"STARTTLS\r\n"):
        server.send(line)
    engine = server.engine
    assert engine.tls and engine.hello is None and not engine.extended and not engine.authenticated
    assert not engine.in_mail and engine.recipients == 0 and engine.buffered == 0
    server.take_output()
    server.send(b"RCPT TO:<taro@example.test>\r\n")
    assert server.take_codes() == ["503"]


def test_a04_bytes_between_the_answer_and_the_handshake() -> None:
    server = converse(HELLO)
    engine = server.engine
    engine.receive(b"STARTTLS\r\n")
    assert isinstance(engine.next_event(), ev.StartTls)
    engine.reply(READY_FOR_TLS)
    engine.receive(b"MAIL FROM:<evil@example.org>\r\n")
    engine.tls_started()
    assert engine.next_event() is None and engine.buffered == 0


def test_a05_talk_before_the_greeting() -> None:
    server = ScriptedServer(greeted=False)
    server.engine.receive(b"EHLO early.test\r\n")
    server.greet()
    assert server.take_codes() == ["220", "554"] and server.closed
    assert [type(event) for event in server.events] == [ev.Violation]


@pytest.mark.parametrize("lines", [
    b"NOOP\r\nNOOP\r\n", b"NOOP\r\nEHLO a\r\n", b"MAIL FROM:<a@example.org>\r\nRCPT", b"RSET\r\nM",
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO a\r\n" + SMUGGLED])
def test_a05_pipelining_before_ehlo(lines: bytes) -> None:
    server = ScriptedServer()
    server.take_output()
    server.send(lines)
    assert server.take_codes() == ["554"] and server.closed
    assert [type(event) for event in server.events] == [ev.Violation]


def test_a05_whoever_only_says_goodbye_may_go() -> None:
    server = ScriptedServer()
    server.take_output()
    server.send(b"QUIT\r\nQUIT\r\n")
    assert server.take_codes() == ["221"]


@pytest.mark.parametrize("line", [
    b"EHLO a\r\n", b"HELO a\r\n", b"DATA\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN dXNlcg==\r\n"])
def test_a05_talk_behind_a_command_that_must_be_the_last(line: bytes) -> None:
    for together in (True, False):
        server = open_transaction() if line == b"DATA\r\n" else converse(HELLO)
        server.take_output()
        if together:
            server.send(line + b"NOOP\r\n")
            assert server.take_codes() == ["554"] and server.closed
        else:
            engine = server.engine
            engine.receive(line)
            assert engine.next_event() is not None
            engine.receive(b"NOOP\r\n")             # before it was answered
            assert isinstance(engine.next_event(), ev.Violation)


def test_a05_an_answer_to_auth_is_not_pipelined() -> None:
    server = converse(HELLO + b"AUTH LOGIN\r\n")
    engine = server.engine
    engine.receive(base64.b64encode(b"user") + b"\r\n")
    assert isinstance(engine.next_event(), ev.AuthResponse)
    engine.receive(base64.b64encode(b"pencil") + b"\r\n")
    assert isinstance(engine.next_event(), ev.Violation)


# --- A6, A7, A8 -------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("body", "code"), [(b"full\r\n", "452"), (b"a\nb\r\n", "550"), (b"x" * 2000 + b"\r\n", "552")])
def test_a06_nothing_survives_a_message_refused_after_the_dot(body: bytes, code: str) -> None:
    for line in (b"RCPT TO:<taro@example.test>\r\n", b"DATA\r\n", b"BDAT 5 LAST\r\nRSET\n"):
        server = open_body("message_size=1000")
        server.send(body + b".\r\n")
        assert server.take_codes() == [code]
        server.send(line)
        assert server.take_codes() == ["503"] and server.messages == []
        server.send(BEGIN + b"DATA\r\n")
        server.send(b"good\r\n.\r\n")
        assert server.take_codes() == ["250", "250", "354", "250"]
        assert server.messages == [("a@example.org", ["taro@example.test"], b"good\r\n")]


@pytest.mark.parametrize("chunk", [b"BDAT 4 LAST\r\na\nb\n", b"BDAT 2000 LAST\r\n" + b"x" * 2000, b"BDAT 6 LAST\r\nfull\r\n"])
def test_a07_bdat_error_then_data(chunk: bytes) -> None:
    server = open_transaction("message_size=1000")
    server.send(chunk)
    assert server.take_codes()[0] in ("452", "550", "552")
    server.send(b"DATA\r\n")
    assert server.take_codes() == ["503"] and server.messages == []


def test_a07_a_chunk_refused_by_the_session_ends_the_message() -> None:
    engine = ServerEngine(CONFIG)
    engine.greet(Reply(220, "", ("mail.example.test",)))
    engine.receive(HELLO)
    engine.next_event()
    engine.accept_hello("")
    engine.receive(BEGIN + b"BDAT 1\r\nxBDAT 1 LAST\r\nyDATA\r\n")
    for _ in range(2):
        engine.next_event()
        engine.reply(Reply(250, "2.1.0", ("OK",)))
    assert isinstance(engine.next_event(), ev.BodyStart)
    engine.proceed()
    assert isinstance(engine.next_event(), ev.ChunkDone)
    engine.reply(Reply(451, "4.3.0", ("Trouble",)))
    for verb in ("BDAT", "DATA"):
        event = engine.next_event()
        assert isinstance(event, ev.Refused) and (event.verb, event.reply.code) == (verb, 503)
        engine.reply(event.reply)


def test_a07_pipelined_chunks_behind_a_refused_one_are_read() -> None:
    server = open_transaction("message_size=1000")
    server.send(b"BDAT 2000\r\n" + b"x" * 2000 + b"BDAT 30 LAST\r\nMAIL FROM:<evil@example.org>\r\nNOOP\r\n")
    assert server.take_codes() == ["552", "503", "250"]
    assert not any(isinstance(event, ev.Mail) and str(event.sender) == "evil@example.org" for event in server.events)


def test_a08_utf8_without_smtputf8() -> None:
    server = converse(HELLO)
    server.take_output()
    for line, code in (
        ("MAIL FROM:<太郎@example.org>", "553"), ("RCPT TO:<taro@example.test>", "503"), ("VRFY 太郎", "252"), ("DATA", "503"),
        ("MAIL FROM:<太郎@example.org> SMTPUTF8", "250"), ("RSET", "250"), ("MAIL FROM:<a@example.org>", "250"),
        ("RCPT TO:<花子@example.test>", "553"), ("DATA", "554"), ("RCPT TO:<taro@example.test>", "250"),
    ):
        server.send(line.encode() + b"\r\n")
        assert server.take_codes() == [code], line
    assert server.messages == []


# --- A9, A10 ----------------------------------------------------------------------------------------------

def test_a09_chunks_of_one_byte_without_end() -> None:
    """50,000 of a million: each may cost its byte and no object, so the sum is the same at any number."""
    server = open_transaction("message_size=0")
    piece = b"BDAT 1\r\nx" * 500
    tracemalloc.start()
    try:
        for _ in range(100):
            server.send(piece)
            server.take_output()
            server.events.clear()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 50_000 and peak < 500_000
    server.send(b"BDAT 0 LAST\r\n")
    assert server.take_codes() == ["250"] and len(server.messages[0][2]) == 50_000


@pytest.mark.parametrize("size", [b"-1", b"+1", b"9223372036854775808", b"99999999999999999999999", b"", b"0x10", b"1e3", b"1 2", b"1 LAST x", b"LAST"])
@pytest.mark.parametrize("ready", [True, False])
def test_a09_sizes_that_are_none(size: bytes, ready: bool) -> None:
    server = open_transaction() if ready else converse(HELLO)
    server.take_output()
    server.send(b"BDAT " + size + b"\r\nRSET\r\nNOOP\r\n")
    # What follows might be the chunk: it is not read.
    assert server.take_codes() == ["501"] and server.closed


def test_a09_a_size_far_over_the_limit_is_never_kept() -> None:
    server = open_transaction()
    server.send(b"BDAT 9223372036854775807 LAST\r\n")
    tracemalloc.start()
    try:
        for _ in range(64):
            server.send(b"x" * 65_536)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000 and server.take_output() == b""


def test_a09_chunks_without_mail_and_mixed_with_data() -> None:
    server = converse(HELLO)
    server.take_output()
    server.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert server.take_codes() == ["503", "250"]
    server.send(BEGIN + b"BDAT 3\r\nabc")
    server.send(b"DATA\r\n")
    server.send(b"BDAT 0 LAST\r\n")
    assert server.take_codes() == ["250", "250", "250", "503", "250"]
    assert [message[2] for message in server.messages] == [b"abc"]


@pytest.mark.parametrize("begin", [b"", b"NOOP ", b"MAIL FROM:<", b"AUTH PLAIN ", b"\0", b"AUTH"])
def test_a10_a_line_without_end(begin: bytes) -> None:
    server = converse(HELLO)
    server.take_output()
    tracemalloc.start()
    sent = 0
    try:
        server.send(begin)
        while not server.closed and sent < 1 << 30:
            server.send(b"x" * 4096)
            sent += 4096
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert server.closed and server.take_codes() == ["500"]
    assert sent <= 16_384 and peak < 200_000


def test_a10_an_answer_to_auth_without_end() -> None:
    server = converse(HELLO + b"AUTH PLAIN\r\n")
    server.take_output()
    for _ in range(10):
        server.send(b"A" * 4096)
    assert server.closed and server.take_codes() == ["500"]


def test_a10_a_body_that_drips_costs_its_bytes() -> None:
    server = open_body("message_size=0")
    tracemalloc.start()
    try:
        for _ in range(50_000):
            server.send(b"x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 50_000 + 64 * SMALL_BYTES
    server.send(b"\r\n.\r\n")
    assert server.take_codes() == ["250"] and len(server.messages[0][2]) == 50_002


@pytest.mark.parametrize("more", [0, 1])
def test_a10_the_limit_is_the_same_however_the_line_is_cut(more: int) -> None:
    line = b"NOOP " + b"x" * (CONFIG.limits.command_line - 5 + more) + b"\r\n"
    for cut in range(len(line) - 4, len(line)):
        server = converse(HELLO)
        server.take_output()
        for piece in (line[:cut], line[cut:]):
            server.send(piece)
        assert server.take_codes() == (["500"] if more else ["250"]), cut


# --- A12 --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("line", "code"), [
    (b"MAIL FROM:<a\0b@example.org>", "500"), (b"MAIL FROM:<a@example.org>\0", "500"), (b"NOOP \0", "500"), (b"MA\0IL", "500"),
    (b"MAIL FROM:<\xe9@example.org>", "501"), (b"MAIL FROM:<a@example.org> SMTPUTF8 X=\xe9", "555"), (b"\xff\xfe", "500"),
    (b"MAIL FROM:<a\x07@example.org>", "501"), (b"MAIL FROM:<\xc2\x85@example.org> SMTPUTF8", "501"),
    (b"MAIL FROM:<a@example.org> ENVID=a+00b", "501"), (b"MAIL FROM:<a@example.org> ENVID=a+0D+0Ab", "501"),
    (b"MAIL FROM:<a@example.org> ENVID=a+zz", "501"), (b"MAIL FROM:<a@example.org> AUTH=a+0Ab", "501"),
    (b"HELO \x1b[31m", "501"), (b"HELO a\0", "500"), (b"NOOP \xff", "500"), (b"NOOP \x07", "500"), (b"HELP \x1b[2J", "500"),
    (b"VRFY a\x01", "500"), (b"VRFY \xe9", "500"), (b"EXPN \xff", "500"), (b"VRFY \xc2\x85", "500"),
    (b"MAIL FROM:<a@example.org> ENVID=+FF", "501"), (b"MAIL FROM:<a@example.org> AUTH=+C3", "501"),
    (b"MAIL FROM:<a@example.org> ENVID=+C3+A9", "501"),
])
def test_a12_octets_that_do_not_belong_in_commands(line: bytes, code: str) -> None:
    server = converse(HELLO)
    server.take_output()
    server.send(line + b"\r\n")
    out = server.take_output()
    assert out[:3].decode() == code and out.isascii() and out.count(b"\r\n") == 1
    assert not any(byte < 32 for byte in out[:-2])


@pytest.mark.parametrize("value", [b"rfc822;a+00b", b"rfc822;a+80", b"rfc822;a+0Ab", b"rfc822;a+0", b"rfc822;a=b", b"rfc822;", b"a"])
def test_a12_orcpt(value: bytes) -> None:
    server = converse(HELLO + b"MAIL FROM:<a@example.org>\r\n")
    server.take_output()
    server.send(b"RCPT TO:<taro@example.test> ORCPT=" + value + b"\r\n")
    assert server.take_codes() == ["501"]


def test_a12_a_plus_is_decoded_once() -> None:
    server = converse(HELLO + b"MAIL FROM:<a@example.org> ENVID=a+2B2B\r\nRCPT TO:<taro@example.test> ORCPT=rfc822;x+2By\r\n")
    mail, rcpt = server.events[-2:]
    assert isinstance(mail, ev.Mail) and mail.params["ENVID"] == "a+2B"
    assert isinstance(rcpt, ev.Rcpt) and rcpt.params["ORCPT"] == ("rfc822", "x+y")


# --- A13, A14 ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("by", [0, 1, 100])
def test_a13_from_lines_count_to_the_size(by: int) -> None:
    line = b"From someone@example.org Mon Jan  1 00:00:00 2024\r\n"
    for count, code in ((20, "250"), (21, "552")):
        server = open_body(f"message_size={len(line) * 20}")
        data = line * count + b".\r\n"
        for piece in [data] if not by else [data[i : i + by] for i in range(0, len(data), by)]:
            server.send(piece)
        assert server.take_codes() == [code]


@pytest.mark.parametrize(("announced", "code"), [
    ("0", "250"), ("1", "250"), ("1000", "250"), ("1001", "552"), (str(2**63), "552"), (str(2**64), "552"), ("9" * 20, "552"),
    ("9" * 21, "501"), ("-1", "501"), ("+1", "501"), ("", "501"), ("1k", "501"), ("٣", "501"),
])
def test_a14_announced_sizes(announced: str, code: str) -> None:
    server = converse(HELLO, config=build_config(["message_size=1000"]))
    server.take_output()
    server.send(f"MAIL FROM:<a@example.org> SIZE={announced}\r\n".encode())
    assert server.take_codes() == [code]


@pytest.mark.parametrize("announced", [b"", b" SIZE=0", b" SIZE=1", b" SIZE=1000"])
@pytest.mark.parametrize(("size", "code"), [(1000, "250"), (1001, "552"), (100_000, "552")])
def test_a14_what_comes_is_judged_whatever_was_announced(announced: bytes, size: int, code: str) -> None:
    begin = HELLO + b"MAIL FROM:<a@example.org>" + announced + b"\r\nRCPT TO:<taro@example.test>\r\n"
    body = b"x" * (size - 2) + b"\r\n"
    for how in (b"DATA\r\n" + body + b".\r\n", b"BDAT %d LAST\r\n" % size + body):
        server = converse(begin, config=build_config(["message_size=1000"]))
        server.take_output()
        command, _crlf, rest = how.partition(b"\r\n")
        server.send(command + b"\r\n")
        server.send(rest)
        assert server.take_codes()[-1] == code
        assert len(server.messages) == (code == "250")


def test_a14_no_limit_refuses_nothing() -> None:
    server = converse(HELLO, config=build_config(["message_size=0"]))
    assert b"250-SIZE 0\r\n" in server.take_output()
    server.send(b"MAIL FROM:<a@example.org> SIZE=18446744073709551616\r\nRCPT TO:<taro@example.test>\r\nDATA\r\n")
    server.send(b"x\r\n.\r\n")
    assert server.take_codes() == ["250", "250", "354", "250"]


# --- A15, A16, A17 ----------------------------------------------------------------------------------------

def test_a15_order() -> None:
    server = converse(HELLO)
    server.take_output()
    server.send(b"RCPT TO:<taro@example.test>\r\nMAIL FROM:<a@example.org>\r\nMAIL FROM:<b@example.org>\r\n")
    assert server.take_codes() == ["503", "250", "503"]
    server.send(b"RCPT TO:<taro@example.test>\r\nDATA\r\n")
    server.send(b"HELO x\r\nRSET\r\nQUIT\r\n.\r\nQUIT\r\nNOOP\r\n")
    assert server.take_codes() == ["250", "354", "250", "221"] and server.closed
    assert server.messages == [("a@example.org", ["taro@example.test"], b"HELO x\r\nRSET\r\nQUIT\r\n")]


@pytest.mark.parametrize("line", [b"RSET\r\n", b"EHLO again.test\r\n", b"HELO again.test\r\n"])
def test_a15_what_ends_a_transaction(line: bytes) -> None:
    for chunk in (b"", b"BDAT 3\r\nabc"):
        server = open_transaction()
        server.send(chunk)
        server.send(line)
        server.take_output()
        server.send(b"BDAT 4 LAST\r\nQUIT")
        server.send(b"DATA\r\n")
        assert server.take_codes() == ["503", "503"] and server.messages == []


@pytest.mark.parametrize(("path", "address"), [
    (b"<@a.example,@b.example:c@example.test>", "c@example.test"), (b"<@example.test:c@example.org>", "c@example.org"),
    (b"<a%example.org@example.test>", "a%example.org@example.test"), (b"<example.org!a@example.test>", "example.org!a@example.test"),
    (b"<x@[192.0.2.1]>", "x@[192.0.2.1]"), (b"<x@[IPv6:2001:db8::1]>", "x@[IPv6:2001:db8::1]"),
    (b"<" + b"y" * 64 + b"@example.test>", "y" * 64 + "@example.test"), (b"<postmaster>", "postmaster"),
    (b'<"a b"@example.test>', '"a b"@example.test'), (b'<"a>b"@example.test>', '"a>b"@example.test'),
])
def test_a16_addresses(path: bytes, address: str) -> None:
    server = converse(HELLO + b"MAIL FROM:<>\r\nRCPT TO:" + path + b"\r\n")
    event = server.events[-1]
    assert isinstance(event, ev.Rcpt) and str(event.address) == address


@pytest.mark.parametrize("path", [
    b'<""@example.test>', b"<@example.test>", b"<@a.example>", b"<@:c@example.test>", b"<@a,b:c@example.test>", b"<x@[1.2.3]>",
    b"<x@[1.2.3.4.5]>", b"<x@[IPv6:zz]>", b"<x@[IPv6:fe80::1%eth0]>", b"<x@[]>", b"<x@>", b"<" + b"y" * 65 + b"@example.test>",
    b"<x@" + b"y" * 64 + b".test>", b"<x@" + b"y.a" * 90 + b">", b"<x@example.test", b"x@example.test", b"<<x@example.test>>",
    b"<x@example.test>y", b"<x@example..test>", b"", b"<", b"<x@example.test\\>", b'<"x@example.test>',
])
def test_a16_what_is_no_address(path: bytes) -> None:
    server = converse(HELLO + b"MAIL FROM:<>\r\n")
    server.take_output()
    server.send(b"RCPT TO:" + path + b"\r\n")
    assert server.take_codes() == ["501"]


@pytest.mark.parametrize("size", [998, 1000, 100_000])
def test_a16_lines_of_a_body_have_any_length(size: int) -> None:
    server = open_body()
    body = b"x" * (size - 2) + b"\r\n"
    server.send(body + b".\r\n")
    assert server.take_codes() == ["250"] and server.messages[0][2] == body


@pytest.mark.parametrize("initial", [
    b"=", b"!!!!", b"dXNlcg", b"dXNl cg==", b"dXNlcg==x", base64.b64encode(b"\0us\0er\0pencil"), base64.b64encode(b"boss\0user\0pencil"),
    base64.b64encode(b"\0user\0pen\0cil"), base64.b64encode(b"\0\xff\0pencil"), base64.b64encode(b"\0user\0"),
    base64.b64encode(b"\0user\0" + b"x" * 8000),
])
def test_a17_broken_plain(initial: bytes) -> None:
    for immediate in (True, False):
        server = converse(HELLO)
        server.take_output()
        if immediate:
            server.send(b"AUTH PLAIN " + initial + b"\r\n")
        else:
            server.send(b"AUTH PLAIN\r\n")
            server.send((b"" if initial == b"=" else initial) + b"\r\n")
        assert server.take_codes()[-1] == "501" and not server.engine.authenticated
        server.send(b"MAIL FROM:<a@example.org>\r\n")
        assert server.take_codes() == ["250"]               # nothing is left of the exchange


@pytest.mark.parametrize("rubbish", [b"%b!", b"!%b", b"%b =", b"%b=", b"%bAA", b" %b", b"%b\0"])
def test_a17_rubbish_around_the_right_words_is_not_read_over(rubbish: bytes) -> None:
    right = base64.b64encode(b"\0user\0pencil")          # without padding
    assert b"=" not in right
    server = converse(HELLO + b"AUTH PLAIN\r\n")
    server.take_output()
    server.send(rubbish % right + b"\r\n")
    assert server.take_codes() == ["501"]


def test_a17_cancelled_twice_in_a_transaction_and_in_clear() -> None:
    right = b"AUTH PLAIN " + base64.b64encode(b"\0user\0pencil") + b"\r\n"
    server = converse(HELLO)
    server.take_output()
    for line, code in ((b"AUTH PLAIN\r\n", "334"), (b"*\r\n", "501"), (b"*\r\n", "500"), (right, "235"), (right, "503")):
        server.send(line)
        assert server.take_codes() == [code]
    server = open_transaction()
    server.send(right)
    assert server.take_codes() == ["503"] and not server.engine.authenticated
    for words, code in ((("mechanisms=",), "538"), (("mechanisms=", "no-starttls"), "502"), (("mechanisms=LOGIN",), "504")):
        server = converse(HELLO, config=build_config(words))
        server.take_output()
        server.send(right)
        assert server.take_codes() == [code] and not server.engine.authenticated


def test_a17_an_auth_line_may_be_longer_than_a_command_but_not_endless() -> None:
    server = converse(HELLO)
    server.take_output()
    server.send(b"AUTH PLAIN " + b"A" * 10_000 + b"\r\n")
    assert server.take_codes() == ["501"]
    server.send(b"AUTH PLAIN " + b"A" * 20_000 + b"\r\n")
    assert server.take_codes() == ["500"]


# --- time -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("line", [b"NOOP\r\n", b"BDAT 0\r\n", b"RSET\r\n"])
def test_a09_the_time_of_a_flood_grows_with_its_bytes(line: bytes) -> None:
    def measure(count: int) -> float:
        best = 10.0
        for _ in range(3):
            server = ScriptedServer(CONFIG)
            server.send(HELLO)
            begun = time.process_time()
            server.send(line * count)
            best = min(best, time.process_time() - begun)
        return best

    assert measure(40_000) < 12 * measure(10_000)           # four times the bytes; sixteen if each copied the rest

"""The POP3 engine and its encodings: whole, byte by byte, with trailing data, in random splits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postoffice.base.errors import UsageError
from postoffice.pop3.protocol.commands import VERBS, AuthResponse, Command, Event, Refused, State, Violation
from postoffice.pop3.protocol.replies import Stuffer, find_lines_end, format_error, stuff
from postoffice.pop3.protocol.server import MAX_LINE, ServerEngine


def pull(engine: ServerEngine) -> list[Event]:
    found: list[Event] = []
    while (event := engine.next_event()) is not None:
        found.append(event)
    return found


def build(*, signed_in: bool = False) -> ServerEngine:
    engine = ServerEngine()
    if signed_in:
        engine.enter_transaction()
    return engine


def parse(line: bytes, *, signed_in: bool = False) -> Event:
    """One line, three ways; all agree."""
    whole = build(signed_in=signed_in)
    whole.receive(line)
    events = pull(whole)
    bytewise = build(signed_in=signed_in)
    one_by_one: list[Event] = []
    for i in range(len(line)):
        bytewise.receive(line[i:i + 1])
        one_by_one += pull(bytewise)
    trailing = build(signed_in=signed_in)
    trailing.receive(line + b"CAPA\r\nNOO")
    with_more = pull(trailing)
    assert events == one_by_one == with_more[:-1]
    assert with_more[-1] == Command("CAPA") and trailing.buffered == 3
    assert len(events) == 1
    return events[0]


BEFORE = [
    (b"USER alice\r\n", Command("USER", "alice")),
    (b"user alice smith \r\n", Command("USER", "alice smith ")),
    (b"PASS  two blanks \r\n", Command("PASS", " two blanks ")),
    ("PASS パスワード\r\n".encode(), Command("PASS", "パスワード")),
    (b"QUIT\r\n", Command("QUIT")),
    (b"Quit \r\n", Command("QUIT")),
    (b"STLS\r\n", Command("STLS")),
    (b"AUTH\r\n", Command("AUTH")),
    (b"AUTH plain\r\n", Command("AUTH", "PLAIN")),
    (b"AUTH PLAIN =\r\n", Command("AUTH", "PLAIN", initial=b"")),
    (b"AUTH SCRAM-SHA-256 AGEAYg==\r\n", Command("AUTH", "SCRAM-SHA-256", initial=b"\0a\0b")),
    (b"AUTH PLAIN AGEAYg\r\n", Refused("Invalid base64")),
    (b"AUTH PLAIN AGEA Yg==\r\n", Refused("Syntax: AUTH [mechanism [initial-response]]")),
    (b"USER\r\n", Refused("Syntax: USER text")),
    (b"USER \r\n", Refused("Syntax: USER text")),
    (b"USER a\0b\r\n", Refused("Syntax: USER text")),
    (b"USER a\rPASS b\r\n", Refused("Syntax: USER text")),
    (b"USER \xff\xfe\r\n", Refused("Not UTF-8")),
    (b"STLS now\r\n", Refused("Syntax: STLS")),
    (b"APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n", Refused("Unknown command")),
    (b"STAT\r\n", Refused("Sign in first")),
    (b"RETR 1\r\n", Refused("Sign in first")),
    (b"\r\n", Refused("Unknown command")),
    (b"\x00\x01\r\n", Refused("Unknown command")),
]
AFTER = [
    (b"RETR 1\r\n", Command("RETR", number=1)),
    (b"retr  0010 \r\n", Command("RETR", number=10)),
    (b"RETR\r\n", Refused("Syntax: RETR msg")),
    (b"RETR 0\r\n", Refused("Syntax: RETR msg")),
    (b"RETR -1\r\n", Refused("Syntax: RETR msg")),
    (b"RETR +1\r\n", Refused("Syntax: RETR msg")),
    (b"RETR 1_0\r\n", Refused("Syntax: RETR msg")),
    (b"RETR 1 2\r\n", Refused("Syntax: RETR msg")),
    (b"RETR \xd9\xa1\r\n", Refused("Syntax: RETR msg")),
    (b"RETR 99999999999999999999\r\n", Refused("Syntax: RETR msg")),
    (b"LIST\r\n", Command("LIST")),
    (b"LIST 3\r\n", Command("LIST", number=3)),
    (b"UIDL x\r\n", Refused("Syntax: UIDL [msg]")),
    (b"TOP 1 0\r\n", Command("TOP", number=1, count=0)),
    (b"TOP 1\r\n", Refused("Syntax: TOP msg n")),
    (b"TOP 1\t2\r\n", Refused("Syntax: TOP msg n")),
    (b"TOP 1 -1\r\n", Refused("Syntax: TOP msg n")),
    (b"NOOP x\r\n", Refused("Syntax: NOOP")),
    (b"USER alice\r\n", Refused("Already signed in")),
    (b"STLS\r\n", Refused("Already signed in")),
]


@pytest.mark.parametrize(("line", "event"), BEFORE)
def test_lines_before_sign_in(line: bytes, event: Event) -> None:
    assert parse(line) == event


@pytest.mark.parametrize(("line", "event"), AFTER)
def test_lines_after_sign_in(line: bytes, event: Event) -> None:
    assert parse(line, signed_in=True) == event


def test_length_of_lines() -> None:
    """RFC 2449 §4: 255 octets with CRLF; names, passwords and AUTH may be longer."""
    assert isinstance(parse(b"NOOP" + b" " * 249 + b"\r\n", signed_in=True), Command)
    assert parse(b"NOOP" + b" " * 250 + b"\r\n", signed_in=True) == Refused("Line too long")
    assert isinstance(parse(b"PASS " + b"x" * 505 + b"\r\n"), Command)
    assert parse(b"PASS " + b"x" * 506 + b"\r\n") == Refused("Line too long")
    assert parse(b"X" * 254 + b"\r\n") == Refused("Line too long")


def test_a_line_without_end() -> None:
    engine = ServerEngine()
    engine.receive(b"USER " + b"x" * MAX_LINE)
    assert pull(engine)[0] == Violation("Line too long")
    engine.receive(b"x" * 1_000_000)
    assert engine.buffered == 0 and engine.next_event() is None


@pytest.mark.parametrize("data", [b"USER alice\nPASS x\n", b"USER a\nPASS b\r\n", b"NOOP\nQUIT\r\n", b"\n\r\n"])
def test_bare_lf_ends_the_connection(data: bytes) -> None:
    for pieces in ([data], [data[i:i + 1] for i in range(len(data))]):
        engine = ServerEngine()
        events = []
        for piece in pieces:
            engine.receive(piece)
            events += pull(engine)
        assert events == [Violation("Lines must end with CR LF")]
        engine.receive(b"QUIT\r\n")
        assert engine.next_event() is None


def test_sasl_lines() -> None:
    engine = ServerEngine()
    for line, event in ((b"AGEAYg==\r\n", AuthResponse(b"\0a\0b")), (b"*\r\n", AuthResponse(None)), (b"\r\n", AuthResponse(b"")),
                        (b"%%%\r\n", Refused("Invalid base64")), (b"A" * 1600 + b"\r\n", AuthResponse(b"\0" * 1200))):
        engine.expect_response()
        engine.receive(line)
        assert engine.next_event() == event
        engine.receive(b"QUIT\r\n")
        assert engine.next_event() == Command("QUIT"), "only one line is a response"
    engine.enter_transaction()
    with pytest.raises(UsageError):
        engine.expect_response()


def test_what_came_with_stls_is_dropped() -> None:
    engine = ServerEngine()
    engine.receive(b"STLS\r\nUSER mallory\r\nPA")
    assert engine.next_event() == Command("STLS")
    engine.drop_input()
    assert engine.next_event() is None
    engine.receive(b"CAPA\r\n")
    assert engine.next_event() == Command("CAPA")


def test_rows() -> None:
    assert all(verb.rfc.startswith("RFC ") and verb.limit >= 255 for verb in VERBS)
    assert {verb.name for verb in VERBS if verb.states == State.AUTHORIZATION | State.TRANSACTION} == {"CAPA", "QUIT"}


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8), st.booleans())
def test_any_bytes_in_any_splits(data: bytes, cuts: list[int], signed_in: bool) -> None:
    whole, split = build(signed_in=signed_in), build(signed_in=signed_in)
    data += b"\r\n"
    whole.receive(data)
    got: list[Event] = []
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        split.receive(data[start:end])
        got += pull(split)
    assert got == pull(whole)


SMALL = st.sampled_from([b".", b"\r\n", b"x", b"\r\n.", b"..", b"\r\n\r\n"])
MESSAGES = st.lists(SMALL, max_size=30).map(b"".join)


def unstuff(reply: bytes) -> bytes:
    assert reply.endswith(b"\r\n.\r\n") or reply == b".\r\n"
    lines = reply[:-3].split(b"\r\n")
    assert b"." not in lines
    return b"\r\n".join(line.removeprefix(b".") for line in lines)


@given(MESSAGES, st.lists(st.integers(0, 60), max_size=10))
def test_dot_stuffing(data: bytes, cuts: list[int]) -> None:
    whole = stuff(data)
    assert unstuff(whole) == data + (b"" if not data or data.endswith(b"\r\n") else b"\r\n")
    stuffer = Stuffer()
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    pieces = [stuffer.add(data[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    assert b"".join(pieces) + stuffer.finish() == whole


@pytest.mark.parametrize(("data", "count", "end", "missing"), [
    (b"a\r\nb\r\n", 0, 0, 0), (b"a\r\nb\r\n", 1, 3, 0), (b"a\r\nb\r\n", 2, 6, 0), (b"a\r\nb\r\n", 5, 6, 3),
    (b"a\r\nb", 2, 4, 1), (b"", 3, 0, 3), (b"\r\n\r\nc", 2, 4, 0),
])
def test_lines_end(data: bytes, count: int, end: int, missing: int) -> None:
    assert find_lines_end(data, count) == (end, missing)


def test_error_lines() -> None:
    assert format_error("No", "SYS/TEMP") == b"-ERR [SYS/TEMP] No\r\n" and format_error("No") == b"-ERR No\r\n"

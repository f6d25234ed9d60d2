"""Attacks by message content, C36-C41 and C45: bounded work and memory, the right answer, and no header line more."""

from __future__ import annotations

import base64
import dataclasses
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest

from postoffice.message.address import Address
from postoffice.message.compose import Draft, compose
from postoffice.message.fields import decode_unstructured, split_fields
from postoffice.message.mailboxes import parse_mailboxes
from postoffice.message.parameters import parse_parameters
from postoffice.message.parsed import ParsedMessage, Part, pack_parsed, unpack_parsed
from postoffice.message.structured import MAX_DEPTH, MAX_PARTS, parse_large, parse_message
from postoffice.message.trace_fields import Arrived, build_prefix, build_received, strip_return_path


def measure(work: Callable[[], object]) -> float:
    """CPU seconds of this thread, the best of three: what other processes do does not count."""
    best = float("inf")
    for _ in range(3):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best


def assert_linear(build: Callable[[int], bytes], parse: Callable[[bytes], object] = parse_message, n: int = 1) -> None:
    """The time for 4n is not much more than four times that for n (a quadratic parser needs sixteen)."""
    small, double, large = (measure(partial(parse, build(n * factor))) for factor in (1, 2, 4))
    assert large < small * 9 + 0.002, (small, double, large)
    assert double < small * 4.5 + 0.002, (small, double, large)


def count_parts(part: Part) -> int:
    total, stack = 0, [part]
    while stack:
        total += 1
        stack.extend(stack.pop().parts)
    return total


def get_depth(part: Part) -> int:
    depth = 0
    while part.parts:
        part = part.parts[-1]
        depth += 1
    return depth


def build_nest(depth: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth)) + b"\r\nx\r\n"


def build_chain(depth: int) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: last\r\n\r\nx\r\n"


def build_parts(count: int) -> bytes:
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * count + b"--b--\r\n"


# -- C36: MIME structure

@pytest.mark.parametrize("build", [build_nest, build_chain])
def test_c36_depth_1000(build: Callable[[int], bytes]) -> None:
    parsed = parse_message(build(1_000))
    assert "mime-depth" in parsed.defects
    assert get_depth(parsed.root) == MAX_DEPTH
    assert unpack_parsed(pack_parsed(parsed)) == parsed
    assert_linear(build, n=2_000)


def test_c36_100000_parts() -> None:
    data = build_parts(100_000)
    parsed = parse_message(data)
    assert count_parts(parsed.root) == MAX_PARTS
    assert parsed.defects == ["mime-parts"]
    # What was not read still lies in the multipart's body.
    assert parsed.root.body_end == len(data)
    assert measure(lambda: parse_message(data)) < 0.5


def test_c36_parts_without_a_blank_line() -> None:
    assert_linear(lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nX: y\r\n" * (n * 200) + b"z" * (n * 100_000))


def test_c36_boundary_that_is_the_prefix_of_another() -> None:
    body = (b"--ab\r\nContent-Type: multipart/mixed; boundary=abc\r\n\r\n--abc\r\n\r\none\r\n--abcd\r\nnot a delimiter\r\n--abc--\r\n"
            b"--ab\r\n\r\ntwo\r\n--ab--\r\n")
    data = b"Content-Type: multipart/mixed; boundary=ab\r\n\r\n" + body
    parsed = parse_message(data)
    inner, last = parsed.root.parts
    assert [data[p.body_start:p.body_end] for p in (*inner.parts, last)] == [b"one\r\n--abcd\r\nnot a delimiter", b"two"]


def test_c36_missing_end_of_an_inner_multipart() -> None:
    data = (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n"
            b"--a\r\n\r\ntwo\r\n--a--\r\n")
    parsed = parse_message(data)
    assert parsed.defects == ["boundary-end"]
    assert [len(part.parts) for part in parsed.root.parts] == [1, 0]
    last = parsed.root.parts[1]
    assert data[last.body_start:last.body_end] == b"two"


def test_c36_inner_boundary_equal_to_the_outer() -> None:
    data = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 300 + b"--a--\r\n"
    parsed = parse_message(data)
    assert count_parts(parsed.root) <= MAX_PARTS


def test_c36_boundary_of_10_kb() -> None:
    boundary = b"x" * 10_000
    parsed = parse_message(b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n--" + boundary + b"\r\n\r\na\r\n")
    assert parsed.root.parts == []
    assert parsed.defects == ["boundary"]


def test_c36_lines_that_only_look_like_boundaries() -> None:
    head = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    parsed = parse_message(head + b"--\r\n" * 2_000_000)
    assert "boundary-scan" in parsed.defects
    assert measure(lambda: parse_message(head + b"--\r\n" * 2_000_000)) < 0.5


def test_c36_partial_messages_are_not_followed() -> None:
    parsed = parse_message(b"Content-Type: message/partial; id=x; number=1; total=1\r\n\r\nContent-Type: message/partial; id=x\r\n\r\n")
    assert parsed.root.parts == []


def test_c36_large_file_in_bounded_memory() -> None:
    head, line = build_parts(1)[:-7], b"SGVsbG8gV29ybGQhSGVsbG8gV29ybGQhSGVsbG8gV29ybGQhSGVsbG8gV29ybGQhSGVsbG8gV2\r\n"
    block = line * 1_000
    size = len(head) + len(block) * 1_330

    def read(offset: int, length: int) -> bytes:
        """A file of 100 MB that nobody has to hold."""
        length = min(length, size - offset)
        if offset < len(head):
            return (head + block * 4)[offset:offset + length]
        start = (offset - len(head)) % len(block)
        return (block * (length // len(block) + 2))[start:start + length]

    tracemalloc.start()
    parsed = parse_large(read, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert parsed.root.body_end == size > 100_000_000
    assert parsed.root.lines > 1_300_000
    assert peak < 4_000_000


# -- C37: RFC 2231

def test_c37_10000_continuations() -> None:
    def build(n: int) -> bytes:
        return b"".join(b"; filename*%d*=%%41" % number for number in range(n))

    assert len(parse_parameters(build(10_000)).values["filename"]) <= 1_000
    assert_linear(build, parse_parameters, n=250)
    assert_linear(lambda n: b"; a*0*" + b";*" * (n * 5_000), parse_parameters)


def test_c37_gaps_order_and_charsets() -> None:
    read = lambda value: parse_parameters(value).values["filename"]  # noqa: E731
    assert read(b"; filename*2=c; filename*0=a; filename*1=b") == "abc"
    assert read(b"; filename*5=c; filename*1=a") == "ac"
    assert read(b"; filename*0=a; filename*0=b") == "a"
    assert read(b"; filename*0*=iso-2022-jp'ja'%1B$B; filename*1*=F|K%5C; filename*2*=%1B(B") == "日本"
    assert read(b"; filename*0*=utf-8''%e6%97; filename*1*=%a5x; filename*2*=utf-8''y") == "日xutf-8''y"
    assert read(b"; filename*=no-such'x'%41") == "A"
    assert read(b"; filename*99999999999999999999=x; filename=y") == "y"
    assert read(b"; filename*=%zz%") == "%zz%"


# -- C38: headers

def test_c38_header_of_50_mb() -> None:
    data = b"Subject: s\r\nX: " + b"y" * (50 << 20) + b"\r\nTo: late@x.test\r\n\r\nbody\r\n"
    parsed = parse_message(data)
    assert parsed.envelope.subject == "s"
    assert parsed.envelope.to == []
    assert data[parsed.header_end:] == b"body\r\n"
    assert "header-too-long" in parsed.defects
    assert measure(lambda: parse_message(data)) < 0.5


def test_c38_a_million_header_lines() -> None:
    data = b"Subject: s\r\n" + b"X: y\r\n" * 1_000_000 + b"\r\nbody"
    parsed = parse_message(data)
    assert "header-fields" in parsed.defects
    assert data[parsed.header_end:] == b"body"
    assert measure(lambda: parse_message(data)) < 0.2


def test_c38_one_line_of_10_mb() -> None:
    data = b"Subject: " + b"=?utf-8?Q?" * 1_000_000 + b"\r\n\r\n"
    assert len(parse_message(data).envelope.subject) <= 4_000
    assert measure(lambda: parse_message(data)) < 0.5


def test_c38_100000_addresses() -> None:
    data = b"To: " + b"a@b.test, " * 100_000 + b"\r\n\r\n"
    parsed = parse_message(data)
    assert len(parsed.envelope.to) == 2_000
    assert "addresses" in parsed.defects
    assert measure(lambda: parse_message(data)) < 0.2


def test_c38_nested_comments_and_groups() -> None:
    assert parse_mailboxes(b"(" * 100_000 + b"a@b.test" + b")" * 100_000 + b" c@d.test")[0].domain == "d.test"
    assert [box.domain for box in parse_mailboxes(b"a: b: c: d@e.test;;;")][0] == ":"
    for unit in (b" ", b"\t<", b"(", b"()", b"<", b"a:", b'"', b"\\", b"<@a,", b"@", b"[", b"a ", b"=?a?q?", b", ", b'"\\'):
        assert_linear(lambda n, unit=unit: unit * (n * 4_000), lambda value: parse_mailboxes(value, 1 << 30))  # type: ignore[misc]


# -- C39: encoded words

@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?utf-8?B?5pel5pw=?= =?utf-8?B?rOiqng==?=", "日本語"),
        (b"=?utf-8?B?5pel5pys6Kqe", "=?utf-8?B?5pel5pys6Kqe"),
        (b"=?x-unknown?B?5pel5pys?=", "日本"),
        (b"=?utf-7?Q?+ZeVnLIqe-?=", "日本語"),
        (b"=?iso-2022-jp?B?" + base64.b64encode(b"\x1b$B-!\x1b(B") + b"?=", "①"),
        (b"=?iso-2022-jp?B?GyRC?= =?iso-2022-jp?B?Rnw=?=", "日"),
        (b"=?iso-2022-jp?Q?=1B?=", ""),
        (b"=?utf-8?Q?=?=", ""),
        (b"=?utf-8?B??=", ""),
        (b"=?punycode?Q?abc-def?=", "abc-def"),
    ],
)
def test_c39_encoded_words(value: bytes, text: str) -> None:
    assert decode_unstructured(value) == text


# -- C40: linear time

@pytest.mark.parametrize(
    "unit",
    [b"=?utf-8?B?QQ==?= ", b"=?a?q? ", b"=?", b"?=", b"=?utf-8?q?a", b" \t", b"\x1b$B", b"\x1b(I!", b"\x0e", b"\xa4", b"\x8f", b"=\r\n ",
     b"=?iso-2022-jp?B?GyRC?=", b"=?utf-8?B?QQ?=", "日".encode()],
)
def test_c40_unstructured_is_linear(unit: bytes) -> None:
    assert_linear(lambda n: unit * (n * 3_000), decode_unstructured)


@pytest.mark.parametrize(
    "name", ["From", "To", "References", "Content-Type", "Content-Disposition", "Date", "Message-ID", "Content-Transfer-Encoding"],
)
def test_c40_header_is_linear(name: str) -> None:
    for unit in ("<a@b.test>, ", "<", "a/b; c=", "; c*0=x", " ", '"', "(", "a", "1 Jan 2026 "):
        assert_linear(lambda n, unit=unit: f"{name}: {unit * (n * 2_000)}\r\n\r\n".encode())  # type: ignore[misc]


def test_c40_bodies_are_linear() -> None:
    for unit in (b"\r\n--a", b"--a\r\n", b"--b--\r\n", b"\r\n\r\n", b"<", b"<style>", b"&lt;", b"=\r\n", b"-", b" "):
        for head in (b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
                     b"Content-Type: text/html\r\n\r\n", b"Content-Type: message/rfc822\r\n\r\n"):
            assert_linear(lambda n, unit=unit, head=head: head + unit * (n * 2_000))  # type: ignore[misc]


def test_c40_a_quadratic_parser_is_noticed() -> None:
    def quadratic(data: bytes) -> None:
        for end in range(len(data)):
            for _ in range(end):
                pass

    with pytest.raises(AssertionError):
        assert_linear(lambda n: b"x" * (n * 600), quadratic)


# -- C41: CR and LF never make a header line

EVIL = "x\r\nBcc: evil@x.test\r\n\r\nbody\n.\nA: \u2028\u0085\x0b\x0c"


def test_c41_written_messages() -> None:
    draft = Draft(("n", Address("a", "b.test")), [("m", Address("c", "d.test"))], "s", "t", "1@x.test", 0, extra=(("X-Name", "v"),))
    names = [field.name for field in split_fields(compose(draft))]
    for changes in ({"subject": EVIL}, {"sender": (EVIL, draft.sender[1])}, {"to": [(EVIL, Address(EVIL, EVIL))]}, {"message_id": EVIL},
                    {"extra": (("X-Name", EVIL),)}, {"text": EVIL}):
        data = compose(dataclasses.replace(draft, **changes))  # type: ignore[arg-type]
        assert [field.name for field in split_fields(data)] == names


def test_c41_trace_fields() -> None:
    field = build_received(Arrived(EVIL, "192.0.2.1", "h.test", "ESMTP", "ID", Address("a", "b.test"), 0, 0))
    assert len(split_fields(field + b"\r\n")) == 1
    assert build_prefix(Address("a", "b.test"), Address("c\r\nEvil: 1", "d.test")).count(b"\r\n") == 2


def test_c41_read_values() -> None:
    quoted = b"".join(b"=%02X" % code for code in EVIL.encode())
    word = b"=?utf-8?Q?" + quoted + b"?="
    data = (b"Subject: " + word + b"\r\nFrom: " + word + b" <a@b.test>\r\nContent-Description: " + word
            + b"\r\nContent-Disposition: attachment; filename*=utf-8''" + quoted.replace(b"=", b"%") + b"\r\n\r\n")
    parsed: ParsedMessage = parse_message(data)
    for text in (parsed.envelope.subject, parsed.envelope.from_[0].name, parsed.root.description, parsed.root.disposition_params["filename"]):
        assert "evil@x.test" in text
        assert not set(text) & set("\r\n\0\x0b\x0c\u0085\u2028")


# -- C45: odd messages

@pytest.mark.parametrize(
    ("data", "header_end", "defects"),
    [
        (b"", 0, []),
        (b".", 1, ["header-line", "no-blank-line"]),
        (b".\r\n", 3, ["header-line", "no-blank-line"]),
        (b"\r\n", 2, []),
        (b"\r\n.\r\n..\r\n...", 2, []),
        (b"A: 1\r\nB: 2\r\n", 12, ["no-blank-line"]),
        (b"A: 1\r\nB: 2", 10, ["no-blank-line"]),
        (b"no header at all\r\n\r\nx", 20, ["header-line"]),
        (b" folded: from nothing\r\n\r\n", 25, []),
        (b"A: 1\r\n \r\n\r\nx", 11, []),
    ],
)
def test_c45_odd_messages(data: bytes, header_end: int, defects: list[str]) -> None:
    parsed = parse_message(data)
    assert (parsed.header_end, parsed.defects, parsed.size) == (header_end, defects, len(data))
    assert parsed.root.body_start == header_end
    assert parsed.root.body_end == len(data)
    assert strip_return_path(data) == data


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_c45_sizes_around_the_limit_of_memory(size: int) -> None:
    data = (b"A: 1\r\n\r\n" + b"." * size)[:size]
    assert parse_message(data).size == size
    assert parse_large(lambda offset, length: data[offset:offset + length], size) == parse_message(data)

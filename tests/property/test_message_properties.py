"""Properties of message parsing: nothing raises, nothing is read differently from a file, what is written is read
back, and no decoded value can ever make a new line."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from postoffice.message.address import Address, parse_address, parse_path
from postoffice.message.compose import Draft, compose, encode_text
from postoffice.message.dates import format_date, parse_date
from postoffice.message.encodings import decode_text, decode_transfer
from postoffice.message.fields import decode_unstructured, split_fields
from postoffice.message.japanese import guess_text, jp_decode
from postoffice.message.mailboxes import parse_mailboxes
from postoffice.message.parameters import parse_parameters
from postoffice.message.parsed import ParsedMessage, Part, pack_parsed, unpack_parsed
from postoffice.message.structured import parse_large, parse_message
from postoffice.message.trace_fields import build_prefix, count_received, strip_return_path

CORPUS = sorted((Path(__file__).parent.parent / "corpus" / "message").glob("*.eml"))
PIECES = st.sampled_from([
    b"\r\n", b"\r\n\r\n", b"--b", b"--b--", b"--bb", b"Content-Type: ", b"multipart/mixed; boundary=b", b"message/rfc822",
    b"multipart/digest; boundary=\"bb\"", b"text/plain; charset=", b"iso-2022-jp", b"\x1b$B", b"\x1b(B", b"\x1b(I", b"\x0e",
    b"=?utf-8?B?", b"?=", b"=?iso-2022-jp?Q?", b"Subject: ", b"From: ", b"To: ", b"(", b")", b"<", b">", b"@", b",", b":",
    b";", b'"', b"\\", b"a", b" ", b"\t", b"\x00", b"\x80\xff", b"*0*=", b"filename", b"''", b"%", b"Date: ", b"\r", b"\n",
    b"Content-Transfer-Encoding: base64", b"Content-Disposition: attachment; ", b"Return-Path: <x>", b"Received: x",
])
HOSTILE = st.lists(PIECES | st.binary(max_size=8), max_size=60).map(b"".join)
LABELS = st.sampled_from(["", "utf-8", "iso-2022-jp", "cp50221", "euc-jp", "shift_jis", "us-ascii", "utf-7", "utf-16", "gb2312",
                          "big5", "iso-2022-kr", "hz", "nonsense"]) | st.text(max_size=10)


def check(data: bytes) -> ParsedMessage:
    """Parse, and hold the result to every invariant."""
    parsed = parse_message(data)
    assert unpack_parsed(pack_parsed(parsed)) == parsed
    assert parse_large(lambda offset, length: data[offset:offset + length], len(data)) == parsed
    assert 0 <= parsed.header_end <= len(data)
    check_part(parsed.root, len(data))
    for text in texts(parsed):
        assert "\r" not in text
        assert "\n" not in text
        assert "\0" not in text
        text.encode("utf-8")
    return parsed


def check_part(part: Part, end: int) -> None:
    assert 0 <= part.header_start <= part.body_start <= part.body_end <= end
    assert part.lines >= 0
    for child in part.parts:
        assert child.header_start >= part.body_start
        # A header cut off by a delimiter shares that delimiter's line end.
        check_part(child, part.body_end + 2)


def texts(parsed: ParsedMessage) -> Iterator[str]:
    envelope = parsed.envelope
    yield from (envelope.subject, envelope.date, envelope.in_reply_to, envelope.message_id, parsed.preview)
    yield from parsed.references
    for boxes in (envelope.from_, envelope.sender, envelope.reply_to, envelope.to, envelope.cc, envelope.bcc):
        for box in boxes:
            yield from (box.name, box.local, box.domain)
    stack = [parsed.root]
    while stack:
        part = stack.pop()
        stack.extend(part.parts)
        yield from (part.type, part.subtype, part.encoding, part.disposition, part.content_id, part.description)
        for params in (part.params, part.disposition_params):
            for name, value in params.items():
                yield from (name, value)


@given(st.binary(max_size=300) | HOSTILE)
@settings(max_examples=400, deadline=None)
def test_any_bytes_parse(data: bytes) -> None:
    check(data)
    check(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + data)


def test_mutated_corpus_parses() -> None:
    dice = random.Random(20261124)
    sources = [path.read_bytes() for path in CORPUS]
    for _ in range(1_500):
        data = bytearray(dice.choice(sources))
        for _ in range(dice.randint(1, 12)):
            at = dice.randrange(len(data) + 1)
            kind = dice.randrange(4)
            if kind == 0:
                del data[at:at + dice.randint(1, 40)]
            elif kind == 1:
                data[at:at] = dice.randbytes(dice.randint(1, 5))
            elif kind == 2:
                other = dice.choice(sources)
                start = dice.randrange(len(other) + 1)
                data[at:at] = other[start:start + dice.randint(1, 200)]
            elif at < len(data):
                data[at] = dice.randrange(256)
        check(bytes(data))


@given(HOSTILE)
@settings(max_examples=300, deadline=None)
def test_single_values_never_raise_nor_break_a_line(data: bytes) -> None:
    found = [decode_unstructured(data)]
    found += [text for box in parse_mailboxes(data) for text in (box.name, box.local, box.domain)]
    found += [text for pair in parse_parameters(b";" + data).values.items() for text in pair]
    for text in found:
        assert not set(text) & set("\r\n\0\u0085\u2028\u2029")
    parse_date(data)
    count_received(data)
    for field in split_fields(data):
        assert data[field.start:field.end].startswith(field.name)


@given(st.binary(max_size=120) | HOSTILE, LABELS)
@settings(max_examples=400, deadline=None)
def test_decoding_never_raises_and_stores(data: bytes, label: str) -> None:
    for text in (decode_text(data, label)[0], guess_text(data)[0], jp_decode(data, "iso-2022-jp")[0], jp_decode(data, "euc-jp")[0]):
        text.encode("utf-8")
    for encoding in ("base64", "quoted-printable", "7bit"):
        decode_transfer(data, encoding)


@given(st.text(st.characters(codec="cp932", exclude_characters="¢£¬‖−〜"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_japanese_labels_read_what_windows_writes(text: str) -> None:
    data = text.encode("cp932")
    expected = data.decode("cp932")
    assert decode_text(data, "windows-31j") == (expected, False)
    assert decode_text(text.encode("utf-8"), "utf-8") == (text, False)


@given(st.text(st.sampled_from("あいうえおかきくけこアイウエオ日本語漢字会議山田太郎、。ー"), min_size=2, max_size=40))
@settings(max_examples=300, deadline=None)
def test_undeclared_japanese_is_guessed_right(text: str) -> None:
    for codec in ("iso2022_jp", "utf-8", "euc_jp", "cp932"):
        data = text.encode(codec)
        if codec in ("euc_jp", "cp932") and is_utf8(data):
            continue                        # two kanji may be two Greek letters: nobody can tell
        assert guess_text(data) == (text, True)


def is_utf8(data: bytes) -> bool:
    return data.decode("utf-8", "replace").encode("utf-8") == data


@given(HOSTILE)
@settings(max_examples=300, deadline=None)
def test_return_paths_go_and_nothing_else(data: bytes) -> None:
    stripped = strip_return_path(data)
    assert all(field.name.lower() != b"return-path" for field in split_fields(stripped))
    prefixed = build_prefix(None) + data
    assert strip_return_path(prefixed) == stripped or data[:1] in (b" ", b"\t")


@given(st.binary(max_size=80) | HOSTILE, st.booleans())
@settings(max_examples=400, deadline=None)
def test_paths_parse_or_say_why(data: bytes, utf8: bool) -> None:
    for text in (data, b"<" + data + b">", b"<a@" + data + b">", b'<"' + data + b'"@x.test>'):
        try:
            address, rest = parse_path(text, utf8=utf8)
        except ValueError as error:
            assert str(error).isprintable()
            continue
        assert text.endswith(rest)
        if address is not None:
            assert parse_address(str(address), utf8=True) == address
            assert not any(char < " " for char in str(address))
            assert address.key == parse_address(str(address), utf8=True).key


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=200), st.sampled_from(["auto", "quoted-printable", "base64"]))
@settings(max_examples=200, deadline=None)
def test_what_we_compose_is_read_back(name: str, subject: str, text: str, encoding: str) -> None:
    draft = Draft((name, Address("a", "b.test")), [(name, Address("c", "d.test"))], subject, text, "1@x.test", 0, encoding=encoding)
    data = compose(draft)
    parsed = check(data)
    assert parsed.defects == []
    assert [f.name for f in split_fields(data)] == [
        b"Date", b"From", b"To", b"Message-ID", b"Subject", b"MIME-Version", b"Content-Type", b"Content-Transfer-Encoding"]
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert [box.local for box in parsed.envelope.to] == ["c"]
    if subject.isprintable() and "=?" not in subject:
        assert parsed.envelope.subject == subject.strip()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200))
@settings(max_examples=200, deadline=None)
def test_encoded_text_is_ascii_and_comes_back(text: str) -> None:
    encoded = encode_text(text)
    assert encoded.isascii()
    assert decode_unstructured(encoded.encode()) == text.strip()


@given(st.integers(0, 250_000_000_000), st.integers(-720, 840))
@settings(max_examples=300, deadline=None)
def test_dates_come_back(seconds: int, offset: int) -> None:
    assert parse_date(format_date(seconds, offset).encode()) == seconds

"""Messages that we write: readable by our own parser and by another, and never one header line more."""

from __future__ import annotations

import dataclasses
from email import message_from_bytes
from email.header import decode_header, make_header

import pytest

from postoffice.message.address import Address
from postoffice.message.compose import Draft, compose, encode_body, encode_text, format_field
from postoffice.message.encodings import decode_transfer
from postoffice.message.fields import decode_unstructured, split_fields
from postoffice.message.parsed import Mailbox
from postoffice.message.structured import parse_message

DRAFT = Draft(
    ("山田 太郎", Address("taro", "example.test")), [("Suzuki, Hanako", Address("hanako", "example.test")), ("", Address("b", "x.test"))],
    "会議のお知らせ 🎉", "こんにちは\n二行目\n", "1@example.test", 1795480867, 540, (("Auto-Submitted", "auto-generated"),),
)


def test_our_parser_reads_it_back() -> None:
    parsed = parse_message(compose(DRAFT))
    assert parsed.envelope.subject == DRAFT.subject
    assert parsed.envelope.from_ == [Mailbox("山田 太郎", "taro", "example.test")]
    assert parsed.envelope.to == [Mailbox("Suzuki, Hanako", "hanako", "example.test"), Mailbox("", "b", "x.test")]
    assert parsed.date_seconds == 1795480867
    assert parsed.preview == "こんにちは 二行目"
    assert parsed.defects == []


def test_another_parser_reads_it_too() -> None:
    other = message_from_bytes(compose(DRAFT))
    assert str(make_header(decode_header(other["Subject"]))) == DRAFT.subject
    assert other["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_bodies_come_back(encoding: str) -> None:
    text = "行\r.\nFrom here\n" + "長い" * 100 + "\n=20\ttrailing \n"
    used, data = encode_body(text, encoding)
    assert used == encoding
    assert all(line.find(b"\n") < 0 and line.find(b"\r") < 0 and len(line) <= 1_300 for line in data.split(b"\r\n"))
    assert decode_transfer(data, encoding).decode() == text.replace("\r", "\n").replace("\n", "\r\n")


def test_automatic_encoding() -> None:
    assert encode_body("plain")[0] == "7bit"
    assert encode_body("日本")[0] == "8bit"
    assert encode_body("x" * 2_000)[0] == "quoted-printable"
    assert encode_body("日" * 2_000)[0] == "base64"
    with pytest.raises(ValueError, match="7bit"):
        encode_body("日本", "7bit")
    with pytest.raises(ValueError, match="no transfer"):
        encode_body("x", "x-uuencode")


def test_hostile_values_make_no_header_line() -> None:
    evil = "a\r\nBcc: evil@x.test\r\n\r\nbody\u2028\u0085\x00"
    names = [field.name for field in split_fields(compose(DRAFT))]
    data = compose(dataclasses.replace(
        DRAFT, subject=evil, message_id=evil, sender=(evil, Address(evil, evil)), to=[(evil, Address("a", "b"))],
        extra=(("Auto-Submitted", evil),)))
    assert [field.name for field in split_fields(data)] == names
    for bad in ("Evil\r\nBcc", "", "a b", "a:b", "é"):
        with pytest.raises(ValueError, match="field name"):
            format_field(bad, "x")


def test_lines_are_folded() -> None:
    for text in ("日本語の" * 500, "word " * 500, "x" * 20_000, "=?utf-8?Q?fake?=", " ", ""):
        field = format_field("Subject", encode_text(text, 9)).encode()
        assert max(map(len, field.split(b"\r\n"))) <= 998
        assert field.endswith(b"\r\n")
        assert decode_unstructured(split_fields(field)[0].value.replace(b"\r\n", b"")) == text.strip()

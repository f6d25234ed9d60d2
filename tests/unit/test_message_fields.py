"""Header fields, encoded words, parameters, dates, charsets: single values."""

from __future__ import annotations

from pathlib import Path

import pytest

from postoffice.message.dates import format_date, parse_date
from postoffice.message.encodings import decode_base64, decode_text, is_known_charset
from postoffice.message.fields import decode_unstructured, find_field, find_header_end, split_fields, unfold
from postoffice.message.japanese import fold_for_search, guess_text, jp_decode
from postoffice.message.mailboxes import parse_mailboxes
from postoffice.message.parameters import parse_content_type, parse_disposition, parse_parameters
from postoffice.message.parsed import Mailbox


def test_split_fields_gives_offsets() -> None:
    data = b"A: 1\r\nB : x\r\n\ty\r\njunk\r\nC:\r\n\r\nbody"
    fields = split_fields(data)
    assert [(f.name, f.value) for f in fields] == [(b"A", b" 1"), (b"B", b" x\r\n\ty"), (b"C", b"")]
    assert all(data[f.start:f.end].startswith(f.name) and data[f.start:f.end].endswith(b"\r\n") for f in fields)
    assert find_header_end(data) == data.index(b"body")
    value = find_field(fields, b"b")
    assert value is not None
    assert unfold(value) == b" x\ty"
    assert find_field(fields, b"d") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b" Hello  World ", "Hello  World"),
        (b" =?utf-8?Q?a_b?= c =?utf-8?q?=64?=", "a b c d"),
        (b" =?utf-8*ja?B?44GC?=", "あ"),
        (b" =?utf-8?Q?what? really??=", "what? really?"),
        (b" =?utf-8?B?44GC=?= =?utf-8?B?44GE?=", "あい"),
        (b" =?utf-8?X?44GC?=", "=?utf-8?X?44GC?="),
        (b" =?utf-8?B?44GC", "=?utf-8?B?44GC"),
        (b" x=?utf-8?Q?y?=z", "xyz"),
        (b" a\x00b\x1b\x7fc", "a b c"),
        (b" a\r\n\tb", "a b"),
        (b"", ""),
    ],
)
def test_unstructured(value: bytes, text: str) -> None:
    assert decode_unstructured(value) == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"Tue, 24 Nov 2026 09:41:07 +0900", 1795480867),
        (b"Tue, 24 Nov 2026 00:41:07 GMT", 1795480867),
        (b"24 Nov 26 00:41:07 UT", 1795480867),
        (b"Tue, 24 Nov 2026 09:41:07 JST", 1795480867),
        (b"Tue Nov 24 00:41:07 2026", 1795480867),
        (b"2026-11-24T09:41:07+09:00", 1795480867),
        (b" Mon, 23 Nov 2026 19:41:07 -0500 (EST)", 1795480867),
        (b"Thu, 1 Jan 1970 00:00:00 +0000", 0),
        (b"Thu, 29 Feb 2024 00:00:00 -0000", 1709164800),
        (b"yesterday", None),
        (b"Tue, 24 Foo 2026 09:41:07 +0900", None),
        (b"Tue, 24 Nov 2026 29:41:07 +0900", None),
        (b"Tue, 24 Nov 2026 09:41:07 +9999", 1795513267),
        (b"", None),
    ],
)
def test_dates(value: bytes, seconds: int | None) -> None:
    assert parse_date(value) == seconds


def test_format_date() -> None:
    assert format_date(1795480867, 540) == "Tue, 24 Nov 2026 09:41:07 +0900"
    assert format_date(1795480867, -210) == "Mon, 23 Nov 2026 21:11:07 -0330"
    for seconds in range(0, 4_000_000_000, 86_400 * 37 + 12_345):
        assert parse_date(format_date(seconds, 345).encode()) == seconds


def test_parameters() -> None:
    parsed = parse_content_type(b' Text/Plain (c); Charset="us-ascii" (x); x="a;b\\"c"; format=flowed ; boundary=" b "')
    assert parsed is not None
    kind, subtype, parameters = parsed
    assert (kind, subtype) == ("text", "plain")
    assert parameters.values == {"charset": "us-ascii", "x": 'a;b"c', "format": "flowed", "boundary": " b "}
    assert parameters.boundary == b" b"
    assert parse_content_type(b"nonsense") is None
    assert parse_disposition(b'INLINE; filename="x"') == ("inline", {"filename": "x"})


def test_file_names_hold_no_line_end() -> None:
    for value in (b"; filename*=utf-8''a%0D%0AEvil:%20b", b'; filename="=?utf-8?Q?a=0D=0AEvil:_b?="', b'; filename="a\r\n Evil: b"'):
        name = parse_parameters(value).values["filename"]
        assert "\r" not in name
        assert "\n" not in name
        assert "Evil" in name


def test_mailbox_limit_and_damage() -> None:
    assert len(parse_mailboxes(b"a@b, " * 100, 10)) == 10
    assert parse_mailboxes(b"a@b@c") == [Mailbox("", "a@b", "c")]
    assert parse_mailboxes(b"<a@b, <c@d>") == [Mailbox("", "a", "b"), Mailbox("", "c", "d")]
    assert parse_mailboxes(b",, ,") == []
    assert parse_mailboxes(b'"unclosed <a@b>') == [Mailbox("", "unclosed <a@b>", "")]


def test_labels_are_a_closed_table() -> None:
    for label in ("punycode", "unicode_escape", "rot13", "zlib", "idna", "hex", "../../x", "os", "undefined"):
        assert not is_known_charset(label)
        assert decode_text(b"abc-\\x41", label) == ("abc-\\x41", False)
    for label in ("windows-31j", "CP50221", "iso-2022-jp-ms", "eucJP-ms", "x-sjis", "ms932", "gb2312", "ks_c_5601-1987"):
        assert is_known_charset(label)
    assert decode_text(b"caf\xe9", "iso-8859-1") == ("café", False)
    assert decode_text(b"caf\xe9", "utf-8")[1]
    assert decode_text("あ".encode("utf-16"), "UTF_16") == ("あ", False)
    assert decode_text(b"\x1b$B-!\x1b(B", "iso2022jp_2") == ("①", False)


def test_guesses_are_marked_and_lose_nothing() -> None:
    assert guess_text(b"plain") == ("plain", False)
    assert guess_text("日本".encode()) == ("日本", True)
    text, guessed = jp_decode(b"\x1b$B\x28\x5f\x1b(B", "iso-2022-jp")
    assert guessed
    assert text == "(_"
    assert guess_text(bytes(range(128, 256)))[1]


def test_search_folds_wave_dashes_widths_and_case() -> None:
    assert fold_for_search("〜ＡＢＣｱ") == fold_for_search("～abcア")
    assert fold_for_search("Hello") == "hello"
    assert fold_for_search("−") == fold_for_search("－")


def test_base64_is_read_as_far_as_it_goes() -> None:
    assert decode_base64(b"QQ==QUI=\r\nQUJD") == b"AABABC"
    assert decode_base64(b"QU!J*D") == b"ABC"
    assert decode_base64(b"QUJDR") == b"ABC"
    assert decode_base64(b"") == b""


def test_no_codec_is_looked_up_by_the_senders_word() -> None:
    source = Path(__file__).parent.parent.parent / "src" / "postoffice" / "message"
    for path in source.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import email" not in text
        assert "from email" not in text
        assert "codecs.lookup" not in text

"""A message read through windows is the message: needles and line ends that lie across a window's edge."""

from __future__ import annotations

import pytest

from postoffice.message.structured import parse_large, parse_message
from postoffice.message.windows import WINDOW, Windows

HEAD = b"Content-Type: multipart/mixed; boundary=bound\r\n\r\n--bound\r\n\r\n"


@pytest.mark.parametrize("shift", range(-14, 4))
def test_delimiters_and_line_ends_across_the_edge(shift: int) -> None:
    body = HEAD + b"x" * (WINDOW - len(HEAD) + shift) + b"\r\n--bound--\r\n"
    parsed = parse_large(lambda offset, length: body[offset:offset + length], len(body))
    assert parsed == parse_message(body)
    assert parsed.root.parts[0].body_end == WINDOW + shift
    text = b"\r\n" + b"x" * (WINDOW + shift) + b"\r\nend\r\n"
    assert parse_large(lambda offset, length: text[offset:offset + length], len(text)) == parse_message(text)


@pytest.mark.parametrize("shift", range(-5, 3))
def test_find_and_count_across_the_edge(shift: int) -> None:
    data = b"a" * (WINDOW + shift) + b"\r\n--" + b"a" * WINDOW
    windows = Windows(lambda offset, length: data[offset:offset + length], len(data))
    assert windows.find(b"\r\n--", 0, len(data)) == WINDOW + shift
    assert windows.count(b"\r\n", 0, len(data)) == 1
    assert windows.find(b"\r\n--", 0, WINDOW + shift + 3) == -1
    assert windows[WINDOW - 3:WINDOW + 3] == data[WINDOW - 3:WINDOW + 3]
    assert windows[5:2 * WINDOW] == data[5:2 * WINDOW]


def test_a_file_that_is_shorter_than_it_says_ends_the_search() -> None:
    windows = Windows(lambda offset, length: b"abc"[offset:offset + length], 10_000_000)
    assert windows.find(b"x", 0, 10_000_000) == -1
    assert windows.count(b"b", 0, 10_000_000) == 1
    assert parse_large(lambda offset, length: b"A: 1\r\n\r\nx"[offset:offset + length], 5_000_000).size == 5_000_000

"""The readers of bodies: what they keep, in how many pieces, and what they refuse to keep."""

from __future__ import annotations

import pytest

from postoffice.smtp.protocol.body import SMALL_BYTES, ChunkReader, DataReader, Pieces


def test_small_pieces_are_joined_and_keep_their_order() -> None:
    pieces = Pieces()
    large = b"L" * SMALL_BYTES
    for piece in (b"a", b"b", large, b"c", large, large, b"d"):
        pieces.add(piece)
    assert pieces.kept == 4 + 3 * SMALL_BYTES
    assert pieces.collect() == [b"ab", large, b"c", large, large, b"d"]
    assert pieces.kept == 0 and pieces.collect() == []


def test_a_whole_message_is_one_piece() -> None:
    reader = DataReader(0)
    body = b"Subject: one\r\n\r\n" + b"x" * 4000 + b"\r\n"
    assert reader.feed(body + b".\r\nQUIT\r\n") == b"QUIT\r\n"
    assert reader.pieces.collect() == [body] and reader.size == len(body)


@pytest.mark.parametrize(("sent", "body"), [
    (b".\r\n", b""), (b"\r\n.\r\n", b"\r\n"), (b"..\r\n.\r\n", b".\r\n"), (b".x\r\n.\r\n", b"x\r\n"), (b"...\r\n.\r\n", b"..\r\n"),
    (b"a\r\n..\r\n..b\r\n.\r\n", b"a\r\n.\r\n.b\r\n"), (b"a.\r\n.\r\n", b"a.\r\n"), (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
])
def test_dots(sent: bytes, body: bytes) -> None:
    for by in range(1, len(sent) + 1):
        reader = DataReader(0)
        rest = [reader.feed(sent[i : i + by]) for i in range(0, len(sent), by)]
        assert rest == [None] * (len(rest) - 1) + [b""]
        assert b"".join(reader.pieces.collect()) == body and reader.size == len(body) and not reader.broken


def test_nothing_is_kept_of_a_body_that_is_refused() -> None:
    for data in (b"x" * 200, b"a\nb" + b"x" * 10):
        reader = DataReader(100)
        assert reader.feed(b"good\r\n") is None
        assert reader.feed(data) is None
        assert reader.pieces.kept == 0 and (reader.too_large or reader.broken)
        assert reader.feed(b"\r\n.\r\n") == b""
        assert reader.pieces.collect() == []


def test_a_chunk_takes_its_bytes_and_no_more() -> None:
    reader = ChunkReader(0)
    reader.begin(5)
    assert reader.feed(b"..ab", 2) == 2 and reader.left == 3
    assert reader.feed(b"c\r\nRSET") == 3 and reader.left == 0
    reader.finish()
    assert reader.pieces.collect() == [b"abc\r\n"] and not reader.broken


def test_a_line_end_may_be_cut_between_chunks() -> None:
    reader = ChunkReader(0)
    for chunk in (b"a\r", b"\nb\r", b"\n"):
        reader.begin(len(chunk))
        reader.feed(chunk)
    reader.finish()
    assert not reader.broken and reader.pieces.collect() == [b"a\r\nb\r\n"]


def test_a_chunk_over_the_limit_is_known_by_its_size() -> None:
    reader = ChunkReader(10)
    reader.begin(8)
    reader.feed(b"12345678")
    reader.begin(3)
    assert reader.too_large and reader.pieces.kept == 0

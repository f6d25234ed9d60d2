"""Segments kept open for reading: bounded, and never more than what the directory still holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postoffice.store.index import Location
from postoffice.store.reading import OpenSegments, open_location
from postoffice.store.segments import get_segment_path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "segments").mkdir()
    for segment in range(4):
        get_segment_path(tmp_path, segment).write_bytes(b"segment %d" % segment)
    return tmp_path


def test_the_least_recently_used_is_closed(directory: Path) -> None:
    segments = OpenSegments(str(directory), limit=2)
    first, second = segments.get(0), segments.get(1)
    assert segments.get(0) == first
    third = segments.get(2)
    assert os.pread(third, 99, 0) == b"segment 2"
    assert third != first and segments.get(0) == first
    with pytest.raises(OSError):
        os.fstat(second)
    segments.close()
    for fd in (first, third):
        with pytest.raises(OSError):
            os.fstat(fd)
    segments.close()


def test_a_removed_segment_is_not_read_and_not_kept(directory: Path) -> None:
    segments = OpenSegments(str(directory))
    segments.get(0)
    fd = segments.get(1)
    get_segment_path(directory, 0).unlink()
    get_segment_path(directory, 1).unlink()
    with pytest.raises(FileNotFoundError):
        segments.get(0)
    segments.drop_removed()
    with pytest.raises(OSError):
        os.fstat(fd)
    segments.close()


def test_small_message_is_whole_and_a_cut_one_is_an_error(directory: Path) -> None:
    segments = OpenSegments(str(directory))
    reader = open_location(str(directory), Location(1, b"P:", 3, 0, 4, 5, None), segments)
    get_segment_path(directory, 3).unlink()
    assert reader.size == 11 and reader.read(0, 99) == b"P:segment 3"
    reader.close()
    cut = open_location(str(directory), Location(1, b"P:", 2, 0, 4, 6, None), segments)
    with pytest.raises(OSError, match="cut short"):
        cut.read(0, 99)
    cut.close()
    segments.close()

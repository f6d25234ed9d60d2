"""Segments kept open for reading: bounded, and never more than what the directory still holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postoffice.store.index import Location
from postoffice.store.lookahead import HOLD_SECONDS, Lookahead
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


def make_location(number: int) -> Location:
    return Location(number, b"", 1, 0, 0, 0, None)


class CountingIndex:
    """A `ReadIndex` of one folder that counts how it is asked."""

    def __init__(self, uids: list[int]) -> None:
        self.uids = uids
        self.asked: list[str] = []

    def find_location(self, folder: int, uid: int) -> Location | None:
        self.asked.append(f"one {uid}")
        return make_location(uid) if uid in self.uids else None

    def list_locations(self, folder: int, first: int, limit: int) -> dict[int, Location]:
        self.asked.append(f"from {first}")
        return {uid: make_location(uid) for uid in [uid for uid in self.uids if uid >= first][:limit]}


class TestLookahead:
    def setup_method(self) -> None:
        self.commit = 1
        self.now = 100.0
        self.index = CountingIndex(list(range(1, 201)))
        self.ahead = Lookahead(lambda: self.commit, lambda: self.now)

    def find(self, uid: int, folder: int = 7) -> int | None:
        found = self.ahead.find(self.index, folder, uid)  # type: ignore[arg-type]
        return found.message if found else None

    def test_a_walk_through_a_folder_asks_once_for_many(self) -> None:
        assert [self.find(uid) for uid in range(1, 201)] == list(range(1, 201))
        assert self.index.asked == ["one 1", "from 2", "from 66", "from 130", "from 194"]

    def test_single_questions_look_at_nothing_else(self) -> None:
        assert [self.find(9), self.find(3), self.find(3), self.find(4, folder=8)] == [9, 3, 3, 4]
        assert self.index.asked == ["one 9", "one 3", "one 3", "one 4"]

    @pytest.mark.parametrize("what", ["commit", "time", "forget"])
    def test_what_is_known_ahead_does_not_outlive_a_change(self, what: str) -> None:
        assert [self.find(1), self.find(2)] == [1, 2]
        self.index.uids.remove(3)
        if what == "commit":
            self.commit += 1
        elif what == "time":
            self.now += HOLD_SECONDS
        else:
            self.ahead.forget()
        assert self.find(3) is None and self.find(4) == 4

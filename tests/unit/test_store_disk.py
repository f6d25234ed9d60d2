"""base.locks and base.durable: what the store stands on; and the framing of segments."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postoffice.base import durable
from postoffice.base.durable import Disk
from postoffice.base.locks import LockFile, try_hold
from postoffice.store.model import Usage
from postoffice.store.quota import has_room
from postoffice.store.segments import (
    FIRST_OFFSET,
    ActiveSegment,
    SegmentDamage,
    build_frame,
    check_file_header,
    iterate_frames,
    parse_large_slot,
    read_frame,
)
from postoffice.testing.faults import FaultyDisk, RecordingDisk


def test_two_descriptors_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with LockFile(tmp_path / "l") as one, LockFile(tmp_path / "l") as two:
        assert one.try_lock(3)
        assert one.try_lock(3)
        assert not two.try_lock(3)
        assert two.try_lock(4)
        assert two.is_locked(3)
        assert not one.is_locked(3)     # held by itself
        os.close(os.open(tmp_path / "l", os.O_RDONLY))      # another descriptor's close drops nothing
        assert not two.try_lock(3)
        one.unlock(3)
        two.lock(3)


def test_lock_is_free_when_its_holder_closes_or_dies(tmp_path: Path) -> None:
    held = try_hold(tmp_path / "l")
    assert held is not None
    assert try_hold(tmp_path / "l") is None
    held.close()
    held.close()
    code = ("import sys, os, signal; from pathlib import Path; from postoffice.base.locks import LockFile;"
            "l = LockFile(Path(sys.argv[1])); assert l.try_lock(0); print('held', flush=True);"
            "sys.stdin.read()")
    child = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(durable.__file__).parents[2])})
    assert child.stdout is not None and child.stdout.readline() == b"held\n"
    assert try_hold(tmp_path / "l") is None
    child.kill()
    child.communicate()
    last = try_hold(tmp_path / "l")
    assert last is not None
    last.close()


def test_lock_file_leaves_a_note(tmp_path: Path) -> None:
    with LockFile(tmp_path / "l") as lock:
        lock.write_note("pid 123")
    assert (tmp_path / "l").read_text().strip() == "pid 123"


def test_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "f"
    disk = RecordingDisk()
    disk.write_file_atomically(path, b"one", 0o640)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o640)
    assert disk.steps == ["file-synced", "file-renamed", "file-finished"]
    for operation in ("write", "sync"):
        faulty = FaultyDisk()
        faulty.fail(operation, errno.ENOSPC, written=1)
        with pytest.raises(OSError, match="No space"):
            faulty.write_file_atomically(path, b"two")
        assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_directories_are_made_once_and_private(tmp_path: Path) -> None:
    durable.make_directory(tmp_path / "a" / "b")
    durable.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("count", [1, 3, 1_500])
def test_append_writes_all_buffers(tmp_path: Path, count: int) -> None:
    disk = Disk()
    fd = disk.create(tmp_path / "f")
    disk.append(fd, [b"%d;" % n for n in range(count)], 5)
    os.close(fd)
    assert (tmp_path / "f").read_bytes()[5:] == b"".join(b"%d;" % n for n in range(count))


def test_short_write_is_completed(tmp_path: Path) -> None:
    """The kernel may take less than it is given; a file-size limit makes it do so."""
    code = ("import os, resource, signal, sys; from pathlib import Path; from postoffice.base.durable import Disk;"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
            "d = Disk(); fd = d.create(Path(sys.argv[1]));\n"
            "try: d.append(fd, [b'x' * 600, b'y' * 600], 0)\n"
            "except OSError as e: print(e.errno)")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "f"], capture_output=True, check=True,
        env={"PYTHONPATH": str(Path(durable.__file__).parents[2])})
    assert int(done.stdout) == errno.EFBIG
    assert (tmp_path / "f").stat().st_size == 1000


def open_segment(directory: Path) -> ActiveSegment:
    (directory / "segments").mkdir(exist_ok=True)
    return ActiveSegment.create(Disk(), directory, 0x100001, 0)


def write(segment: ActiveSegment, frames: Sequence[tuple[bytes, ...]]) -> None:
    for buffers in frames:
        os.pwrite(segment.fd, b"".join(buffers), segment.end)
        segment.end += sum(map(len, buffers))


def test_frames_read_back(tmp_path: Path) -> None:
    segment = open_segment(tmp_path)
    check_file_header(segment.fd, 0x100001)
    with pytest.raises(SegmentDamage, match="names segment"):
        check_file_header(segment.fd, 0x100002)
    framed = [build_frame(n, b"meta", b"record%d" % n, b"header", b"body" * n) for n in range(4)]
    write(segment, [f.buffers for f in framed])
    frames = list(iterate_frames(segment.fd, 0, segment.end))
    assert [(f.message_id, f.meta, f.record, f.size) for f in frames] == [
        (n, b"meta", b"record%d" % n, framed[n].size) for n in range(4)]
    for frame in frames:
        read_frame(segment.fd, frame.offset)
        assert os.pread(segment.fd, frame.body_size, frame.body_start) == b"body" * frame.message_id
    assert framed[1].header_start == frames[1].body_start - 6 - frames[1].offset
    segment.close()
    segment.close()


@given(st.integers(0, 200), st.integers(1, 255))
def test_any_changed_byte_of_a_frame_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, mask: int) -> None:
    buffers = build_frame(7, b"meta", b"record", b"header", b"body" * 40).buffers
    data = bytearray(b"".join(buffers))
    place %= len(data)
    data[place] ^= mask
    path = tmp_path_factory.getbasetemp() / "frame"
    path.write_bytes(bytes(FIRST_OFFSET) + data)
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(SegmentDamage):
            read_frame(fd, FIRST_OFFSET)
    finally:
        os.close(fd)


def test_large_file_names_tell_their_slot() -> None:
    assert parse_large_slot("0000000000100.msg") == 0
    assert parse_large_slot("0000000000107.msg") == 7
    assert parse_large_slot("README") is None


@pytest.mark.parametrize(("used", "limit", "size", "room"), [
    (0, 0, 10**12, True), (50, 100, 50, True), (50, 100, 51, False), (99, 100, 0, True), (100, 100, 0, False),
    (200, 100, 0, False)])
def test_quota(used: int, limit: int, size: int, room: bool) -> None:
    assert has_room(Usage(used, 1), limit, size) is room

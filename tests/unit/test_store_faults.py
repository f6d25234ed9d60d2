"""The embedded store beside full and broken disks, other processes and its own end: nothing acknowledged is lost, nothing
refused is there, and it goes on when the fault has gone."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from postoffice.base.errors import PostOfficeError, TemporaryError
from postoffice.base.locks import LockFile
from postoffice.store import committer
from postoffice.store.embedded import EmbeddedStore, StoreOptions
from postoffice.store.index import WriteIndex, open_connection
from postoffice.store.model import Committed, Expunge, Failure, Placement, StoreFailure
from postoffice.store.recovery import COMMIT_BYTE, LOCK_NAME
from postoffice.store.verify import verify
from postoffice.testing.faults import FaultyDisk, FaultyIndex, FaultyVfs
from postoffice.testing.store_contract import BODY, build_arrival, fail, get_folder, read_all


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, "postoffice.store")


def run(directory: Path, options: StoreOptions, test: Callable[[EmbeddedStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = EmbeddedStore.open(directory, options=options)
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())
    assert verify(directory) == []


@pytest.mark.parametrize(("number", "failure"), [
    (errno.ENOSPC, Failure.DISK_FULL), (errno.EDQUOT, Failure.DISK_FULL), (errno.EIO, Failure.IO_ERROR)])
@pytest.mark.parametrize("written", [0, 100, 300])
def test_failed_record_write_refuses_the_batch_and_begins_a_new_segment(
        tmp_path: Path, number: int, failure: Failure, written: int) -> None:
    disk = FaultyDisk()

    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        first = store.get_position()[0]
        disk.fail("append", number, written=written)
        pending = [store.submit(build_arrival(n)) for n in (11, 12)]
        assert [await fail(p, None) for p in pending] == [failure] * 2
        assert (await store.submit(build_arrival(13))).uids == (2,)
        assert store.get_position()[0] != first
        assert [i.message_id for i in store.list_items(get_folder(store, 1).id)] == [10, 13]
        assert [m for _, m, _ in store.list_records()] == [10, 13]

    run(tmp_path, StoreOptions(disk=disk), test)


def test_first_record_of_all_fails(tmp_path: Path) -> None:
    disk = FaultyDisk()

    async def test(store: EmbeddedStore) -> None:
        disk.fail("append", errno.ENOSPC, times=2, written=10)
        assert [await fail(store, build_arrival(n)) for n in (10, 11)] == [Failure.DISK_FULL] * 2
        assert (await store.submit(build_arrival(12))).uids == (1,)

    run(tmp_path, StoreOptions(disk=disk), test)


def test_full_disk_refuses_until_there_is_room(tmp_path: Path) -> None:
    disk = FaultyDisk()

    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        disk.fail("append", errno.ENOSPC)
        disk.fail("create", errno.ENOSPC, times=3)
        assert [await fail(store, build_arrival(n)) for n in (11, 12, 13, 14)] == [Failure.DISK_FULL] * 4
        assert read_all(store, get_folder(store, 1).id, 1).endswith(BODY)
        assert (await store.submit(build_arrival(15))).uids == (2,)

    run(tmp_path, StoreOptions(disk=disk), test)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory"])
def test_segment_that_cannot_be_begun_refuses_and_is_tried_again(tmp_path: Path, operation: str) -> None:
    disk = FaultyDisk()

    async def test(store: EmbeddedStore) -> None:
        for n in range(10, 13):
            await store.submit(build_arrival(n))
        disk.fail(operation, errno.EIO)
        assert await fail(store, build_arrival(13)) is Failure.IO_ERROR
        assert (await store.submit(build_arrival(14))).uids == (4,)

    run(tmp_path, StoreOptions(disk=disk, segment_size=100), test)


@pytest.mark.parametrize("operation", ["begin", "commit"])
def test_full_index_rolls_back(tmp_path: Path, operation: str) -> None:
    errors: dict[str, list[apsw.Error]] = {}

    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        errors[operation] = [apsw.FullError("planted")]
        assert await fail(store, build_arrival(11)) is Failure.DISK_FULL
        assert (await store.submit(build_arrival(12))).uids == (2,)

    run(tmp_path, StoreOptions(open_index=FaultyIndex.sharing(errors)), test)


@pytest.mark.parametrize("operation", ["begin", "commit", "rollback"])
def test_index_that_met_an_io_error_is_copied_before_it_is_used_again(tmp_path: Path, operation: str) -> None:
    errors: dict[str, list[apsw.Error]] = {}

    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        other = EmbeddedStore.open(tmp_path)
        inode = (tmp_path / "index.db").stat().st_ino
        if operation == "rollback":
            errors["commit"] = [apsw.FullError("planted")]
        errors[operation] = [apsw.IOError("planted")]
        refused = await fail(store, build_arrival(11))
        assert refused in (Failure.IO_ERROR, Failure.DISK_FULL)
        assert (await store.submit(build_arrival(12))).uids == (2,)
        assert (tmp_path / "index.db").stat().st_ino != inode
        # A process that had the old file open reads and writes the new one.
        assert [i.message_id for i in other.list_items(get_folder(other, 1).id)] == [10, 12]
        assert (await other.submit(build_arrival(13))).uids == (3,)
        assert [i.message_id for i in store.list_items(get_folder(store, 1).id)] == [10, 12, 13]
        await other.close()

    run(tmp_path, StoreOptions(open_index=FaultyIndex.sharing(errors)), test)


@pytest.mark.parametrize(("operation", "full", "failure"), [
    ("wal-sync", False, Failure.IO_ERROR), ("wal-write", False, Failure.IO_ERROR),
    ("wal-write", True, Failure.DISK_FULL)])
def test_sqlite_whose_own_write_or_sync_fails(
        tmp_path: Path, operation: str, full: bool, failure: Failure) -> None:
    vfs = FaultyVfs("faulty")

    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        for round_ in range(3):
            vfs.fail(operation, full=full)
            pending = [store.submit(build_arrival(100 * round_ + n)) for n in (20, 21)]
            assert [await fail(p, None) for p in pending] == [failure] * 2
            assert (await store.submit(build_arrival(100 * round_ + 22))).uids == (2 + round_,)
        assert [i.message_id for i in store.list_items(get_folder(store, 1).id)] == [10, 22, 122, 222]
        assert vfs.failed == [operation] * 3

    try:
        run(tmp_path, StoreOptions(open_index=lambda path: WriteIndex(path, vfs="faulty")), test)
    finally:
        vfs.unregister()


@pytest.mark.parametrize("operation", ["wal-sync", "database-sync", "database-write"])
def test_checkpoint_that_meets_an_io_error_has_the_index_copied(tmp_path: Path, operation: str) -> None:
    vfs = FaultyVfs("faulty")

    async def test(store: EmbeddedStore) -> None:
        inode = (tmp_path / "index.db").stat().st_ino
        vfs.fail(operation)
        number = 10
        while (tmp_path / "index.db").stat().st_ino == inode:
            number += 1
            assert (await store.submit(build_arrival(number))).uids == (number - 10,)
            assert number < 5_000
        assert vfs.failed == [operation]
        assert len(store.list_items(get_folder(store, 1).id)) >= number - 10

    try:
        run(tmp_path, StoreOptions(checkpoint_vfs="faulty", checkpoint_frames=10), test)
    finally:
        vfs.unregister()


def test_index_that_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        index = opened[-1]
        await store.submit(build_arrival(10))
        pages = index.limit_pages(0)
        index.limit_pages(pages + 2)
        refused = [await fail_or_none(store.submit(build_arrival(n, *many))) for n in range(20, 40)]
        assert set(refused) <= {None, Failure.DISK_FULL}
        assert refused[-1] is Failure.DISK_FULL
        index.limit_pages(1 << 30)
        await store.submit(build_arrival(50))

    class SmallIndex(WriteIndex):
        def limit_pages(self, pages: int) -> int:
            if not pages:
                return int(self._connection.pragma("page_count"))       # type: ignore[arg-type]
            return int(self._connection.pragma("max_page_count", pages))        # type: ignore[arg-type]

    many = [Placement(account, prefix=b"X: y\r\n" * 20) for account in range(1, 40)]
    opened: list[SmallIndex] = []

    def open_index(path: Path) -> SmallIndex:
        opened.append(SmallIndex(path))
        return opened[-1]

    run(tmp_path, StoreOptions(open_index=open_index), test)


async def fail_or_none(pending: asyncio.Future[Committed]) -> Failure | None:
    try:
        await pending
    except StoreFailure as refused:
        return refused.failure
    return None


def test_repair_that_fails_is_tried_again(tmp_path: Path) -> None:
    errors: dict[str, list[apsw.Error]] = {}
    disk = FaultyDisk()

    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        disk.fail("rename", errno.EIO)
        errors["commit"] = [apsw.IOError("planted")]
        assert await fail(store, build_arrival(11)) is Failure.IO_ERROR
        while True:
            try:
                assert (await store.submit(build_arrival(12))).uids == (2,)
                break
            except StoreFailure as refused:
                assert refused.failure is Failure.IO_ERROR
        assert disk.failed == ["rename"]

    run(tmp_path, StoreOptions(disk=disk, open_index=FaultyIndex.sharing(errors)), test)


def test_store_that_cannot_repair_its_index_still_closes(tmp_path: Path) -> None:
    errors: dict[str, list[apsw.Error]] = {}
    disk = FaultyDisk()

    async def main() -> None:
        store = EmbeddedStore.open(
            tmp_path, options=StoreOptions(disk=disk, open_index=FaultyIndex.sharing(errors)))
        await store.submit(build_arrival(10))
        disk.fail("rename", errno.EIO, times=1_000)
        errors["commit"] = [apsw.IOError("planted")]
        assert await fail(store, build_arrival(11)) is Failure.IO_ERROR
        await store.close()
        # The next start goes on with the copy.
        again = EmbeddedStore.open(tmp_path)
        assert (await again.submit(build_arrival(12))).uids == (2,)
        await again.close()

    asyncio.run(main())
    assert verify(tmp_path) == []


@pytest.mark.parametrize(("operation", "failure"), [
    ("create", Failure.DISK_FULL), ("write", Failure.DISK_FULL), ("sync", Failure.IO_ERROR),
    ("sync_directory", Failure.IO_ERROR)])
def test_large_message_that_cannot_be_written_is_refused(
        tmp_path: Path, operation: str, failure: Failure) -> None:
    disk = FaultyDisk()

    async def test(store: EmbeddedStore) -> None:
        disk.fail(operation, errno.ENOSPC if failure is Failure.DISK_FULL else errno.EIO)
        writer = store.open_large(10)
        with pytest.raises(StoreFailure) as refused:
            await writer.write([BODY])
            await writer.finish()
        assert refused.value.failure is failure
        writer.discard()

    run(tmp_path, StoreOptions(disk=disk), test)
    assert list((tmp_path / "large").iterdir()) == []


def test_refused_arrival_leaves_no_large_file(tmp_path: Path) -> None:
    disk = FaultyDisk()

    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(9))
        for number, placement in ((10, Placement(1)), (11, Placement(1, uid=1))):
            writer = store.open_large(number)
            await writer.write([BODY])
            large = await writer.finish()
            if number == 10:
                disk.fail("append", errno.ENOSPC)
            await fail(store, build_arrival(number, placement, body=large))

    run(tmp_path, StoreOptions(disk=disk), test)
    assert list((tmp_path / "large").iterdir()) == []


def test_repeated_delivery_of_a_large_message_keeps_its_file(tmp_path: Path) -> None:
    async def repeat(store: EmbeddedStore) -> None:
        writer = store.open_large(10)
        await writer.write([BODY])
        arrival = build_arrival(10, body=await writer.finish())
        await store.submit(arrival)
        await store.submit(arrival)
        assert read_all(store, get_folder(store, 1).id, 1).endswith(BODY)

    run(tmp_path, StoreOptions(), repeat)


def test_bug_in_one_change_is_temporary_and_the_store_goes_on(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        pending = [store.submit(build_arrival(10)), store.submit(build_arrival(11, body=None))]
        assert [await fail(p, None) for p in pending] == [Failure.IO_ERROR] * 2
        assert (await store.submit(build_arrival(12))).uids == (1,)

    run(tmp_path, StoreOptions(), test)


def test_close_finishes_a_long_removal(tmp_path: Path) -> None:
    async def main() -> None:
        store = EmbeddedStore.open(tmp_path)
        pending = [store.submit(build_arrival(n)) for n in range(10, 1_300)]
        await store.wait_idle()
        removal = store.submit(Expunge(get_folder(store, 1).id, tuple(range(1, 1_291))))
        await store.close()
        assert all(p.done() for p in pending)
        assert len((await removal).uids) == 1_290

    asyncio.run(main())
    assert verify(tmp_path) == []


def test_two_stores_on_one_directory_share_everything(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        other = EmbeddedStore.open(tmp_path, options=StoreOptions(segment_size=2_000))
        assert {store.slot, other.slot} == {0, 1}
        pending = []
        for n in range(200):
            pending.append((store if n % 2 else other).submit(build_arrival(1_000 + n)))
            if n % 10 == 9:
                await asyncio.gather(*pending[-3:])
        uids = [(await p).uids[0] for p in pending]
        assert sorted(uids) == list(range(1, 201))
        folder = get_folder(store, 1)
        assert store.list_items(folder.id) == other.list_items(folder.id)
        await other.submit(Expunge(folder.id, tuple(range(1, 100))))
        assert get_folder(store, 1).messages == 101
        assert (await store.submit(build_arrival(5_000))).uids == (201,)
        assert sorted(m for _, m, _ in store.list_records(slot=0)) + sorted(
            m for _, m, _ in store.list_records(slot=1)) != []
        await other.close()

    run(tmp_path, StoreOptions(segment_size=3_000), test)


def test_start_beside_a_living_process_tidies_nothing(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        writer = store.open_large(10)
        await writer.write([BODY])
        await store.submit(build_arrival(9))
        other = EmbeddedStore.open(tmp_path)
        await other.submit(build_arrival(20))
        await store.submit(build_arrival(11))
        await store.submit(build_arrival(10, body=await writer.finish()))
        assert read_all(store, get_folder(store, 1).id, 4).endswith(BODY)
        await other.close()

    run(tmp_path, StoreOptions(), test)


def test_start_alone_removes_what_no_row_names(tmp_path: Path) -> None:
    run(tmp_path, StoreOptions(), lambda store: store.submit(build_arrival(9)))
    strays = [tmp_path / "segments" / "0000000000900001.seg", tmp_path / "large" / "0000000000100.msg"]
    for stray in strays:
        stray.write_bytes(b"x")
    run(tmp_path, StoreOptions(), lambda store: store.submit(build_arrival(10)))
    assert not any(stray.exists() for stray in strays)


def test_missing_index_is_refused_and_nothing_removed(tmp_path: Path) -> None:
    run(tmp_path, StoreOptions(), lambda store: store.submit(build_arrival(9)))
    segments = list((tmp_path / "segments").iterdir())
    (tmp_path / "index.db").rename(tmp_path / "away")
    with pytest.raises(PostOfficeError, match="index.db is missing"):
        EmbeddedStore.open(tmp_path)
    assert list((tmp_path / "segments").iterdir()) == segments
    (tmp_path / "away").rename(tmp_path / "index.db")
    run(tmp_path, StoreOptions(), lambda store: store.submit(build_arrival(10)))


def test_slot_can_be_named_and_is_exclusive(tmp_path: Path) -> None:
    async def main() -> None:
        store = EmbeddedStore.open(tmp_path, slot=7)
        assert store.slot == 7
        with pytest.raises(TemporaryError, match="Slot 7"):
            EmbeddedStore.open(tmp_path, slot=7)
        await store.close()
        again = EmbeddedStore.open(tmp_path, slot=7)
        await again.close()

    asyncio.run(main())


def test_loop_never_waits_for_the_commit_lock(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        with LockFile(tmp_path / LOCK_NAME) as holder:
            assert holder.try_lock(COMMIT_BYTE)
            pending = store.submit(build_arrival(10))
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert not pending.done()
            holder.unlock(COMMIT_BYTE)
            assert (await pending).uids == (1,)

    run(tmp_path, StoreOptions(), test)


def test_lock_that_does_not_come_refuses_what_waits(tmp_path: Path) -> None:
    class Impatient(committer.Committer):
        lock_patience_seconds = 0.05

    async def test(store: EmbeddedStore) -> None:
        with LockFile(tmp_path / LOCK_NAME) as holder:
            assert holder.try_lock(COMMIT_BYTE)
            assert await fail(store, build_arrival(10)) is Failure.IO_ERROR
            assert await fail(store, build_arrival(11)) is Failure.IO_ERROR
            holder.unlock(COMMIT_BYTE)
            assert (await store.submit(build_arrival(12))).uids == (1,)

    run(tmp_path, StoreOptions(committer=Impatient), test)


def test_store_closes_though_another_keeps_the_lock(tmp_path: Path) -> None:
    class Impatient(committer.Committer):
        close_patience_seconds = 0.05

    async def main() -> None:
        store = EmbeddedStore.open(tmp_path, options=StoreOptions(committer=Impatient))
        with LockFile(tmp_path / LOCK_NAME) as holder:
            assert holder.try_lock(COMMIT_BYTE)
            pending = store.submit(build_arrival(10))
            await store.close()
            assert await fail(pending, None) is Failure.IO_ERROR
            assert await fail(store, build_arrival(11)) is Failure.STOPPING

    asyncio.run(main())


def test_message_whose_bytes_are_missing_is_a_temporary_error(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        (segment,) = (tmp_path / "segments").iterdir()
        segment.rename(tmp_path / "away")
        with pytest.raises(TemporaryError, match="message 10 is missing"):
            store.open_message(get_folder(store, 1).id, 1)
        (tmp_path / "away").rename(segment)

    run(tmp_path, StoreOptions(), test)


def test_lock_holder_leaves_its_pid(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        assert (tmp_path / LOCK_NAME).read_text().split() == [str(os.getpid())]

    run(tmp_path, StoreOptions(), test)


def test_dead_segments_go_only_when_the_trace_has_read_them(tmp_path: Path) -> None:
    read: set[int] = set()

    async def test(store: EmbeddedStore) -> None:
        for n in range(10, 20):
            await store.submit(build_arrival(n, record=b"r%d" % n))
        folder = get_folder(store, 1)
        await store.submit(Expunge(folder.id, tuple(range(1, 9))))
        assert [r for _, _, r in store.list_records()] == [b"r%d" % n for n in range(10, 20)]
        read.update(position[0] for position, message, _ in store.list_records() if message < 18)
        await store.submit(Expunge(folder.id, (9,)))
        await store.wait_idle()
        assert [r for _, _, r in store.list_records()] == [b"r18", b"r19"]

    run(tmp_path, StoreOptions(segment_size=50, release=lambda segment, slot: segment in read), test)


def test_open_message_whose_segment_went_while_it_was_looked_up(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        await store.submit(build_arrival(10))
        await store.submit(build_arrival(11))
        folder = get_folder(store, 1)
        reader = store.open_message(folder.id, 1)
        assert reader is not None
        await store.submit(Expunge(folder.id, (1,)))
        await store.submit(build_arrival(12))
        await store.wait_idle()
        assert store.open_message(folder.id, 1) is None
        assert reader.read(0, reader.size).endswith(BODY)
        reader.close()

    run(tmp_path, StoreOptions(segment_size=50), test)


def test_free_space_is_that_of_an_unprivileged_writer(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        assert 0 < store.get_free_bytes() == store.get_free_bytes()

    run(tmp_path, StoreOptions(), test)


def test_wal_that_a_long_reader_let_grow_is_truncated(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        wal = tmp_path / "index.db-wal"
        await store.submit(build_arrival(10))
        reader = open_connection(tmp_path / "index.db")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchall()
        number = 10
        while wal.stat().st_size < 12 * 20 * 4_120:
            number += 1
            await store.submit(build_arrival(number))
        reader.execute("COMMIT")
        reader.close()
        grown = wal.stat().st_size
        while wal.stat().st_size >= grown:
            number += 1
            await store.submit(build_arrival(number))
            assert number < 5_000

    run(tmp_path, StoreOptions(checkpoint_frames=20), test)


def test_wal_stays_small_under_steady_writing(tmp_path: Path) -> None:
    async def test(store: EmbeddedStore) -> None:
        largest = 0
        for n in range(400):
            await store.submit(build_arrival(10 + n))
            largest = max(largest, (tmp_path / "index.db-wal").stat().st_size)
        assert largest < 100 * 4_120 * 4

    run(tmp_path, StoreOptions(checkpoint_frames=100), test)

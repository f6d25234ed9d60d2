"""The rules of `store.api.Store` as tests. A store's test module subclasses `StoreContract` and says how to open one.

Runs on every implementation, `MemoryStore` being the reference; pytest collects the ``test_`` methods of the subclass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from postoffice.base.errors import UsageError
from postoffice.store.model import (
    INBOX,
    Arrival,
    Change,
    Committed,
    CreateFolder,
    Expunge,
    Failure,
    Flag,
    Folder,
    Placement,
    PurgeAccount,
    StoreFailure,
)

HEADER = b"Received: from a by b;\r\n\tTue, 24 Nov 2026 12:00:00 +0900\r\n"
BODY = b"From: a@example.test\r\nSubject: one\r\n\r\nHello.\r\n"
PREFIX = b"Return-Path: <a@example.test>\r\n"


def build_arrival(message_id: int, *placements: Placement, body: Any = BODY, **more: Any) -> Arrival:
    """An arrival with plausible parts; one placement for account 1 unless some are given."""
    return Arrival(
        message_id=message_id, received_seconds=1_795_000_000.5, trace_header=HEADER, body=body, parsed=b"parsed",
        parser_version=1, placements=placements or (Placement(1, prefix=PREFIX),), **more)


class StoreContract:
    """Subclasses give `open_store`; everything else is the same for all stores."""

    def open_store(self, directory: Path) -> Any:
        """A new, empty store. Called while a loop runs."""
        raise NotImplementedError

    def run(self, directory: Path, test: Callable[[Any], Awaitable[None]]) -> None:
        async def main() -> None:
            store = self.open_store(directory)
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(main())

    def test_message_reads_back_as_prefix_header_and_body(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            committed = await store.submit(build_arrival(10))
            assert committed.uids == (1,)
            folder = get_folder(store, 1)
            assert (folder.messages, folder.uidnext) == (1, 2)
            whole = PREFIX + HEADER + BODY
            (item,) = store.list_items(folder.id)
            assert (item.uid, item.message_id, item.size) == (1, 10, len(whole))
            assert item.internal_date == 1_795_000_000
            assert read_all(store, folder.id, 1) == whole
            reader = store.open_message(folder.id, 1)
            assert reader.size == len(whole)
            assert reader.header_size == whole.index(b"Hello")
            assert reader.read(5, 7) == whole[5:12]
            assert reader.read(len(whole) - 3, 100) == whole[-3:]
            assert reader.read(len(whole), 1) == b""
            reader.close()
            assert store.get_parsed(10) == b"parsed"
            assert store.get_parsed(11) is None
            assert store.last_message_id() == 10

        self.run(tmp_path, test)

    def test_one_message_for_many_accounts_has_each_ones_prefix(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            places = [Placement(n, prefix=b"Delivered-To: %d\r\n" % n) for n in range(1, 30)]
            committed = await store.submit(build_arrival(10, *places))
            assert committed.uids == (1,) * 29
            for n in range(1, 30):
                folder = get_folder(store, n)
                assert read_all(store, folder.id, 1) == b"Delivered-To: %d\r\n" % n + HEADER + BODY

        self.run(tmp_path, test)

    def test_an_account_named_twice_gets_one_copy(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            committed = await store.submit(build_arrival(
                10, Placement(1, prefix=b"A: 1\r\n"), Placement(2), Placement(1, prefix=b"A: 2\r\n")))
            assert committed.uids == (1, 1, 1)
            folder = get_folder(store, 1)
            assert folder.messages == 1
            assert read_all(store, folder.id, 1).startswith(b"A: 1\r\n")

        self.run(tmp_path, test)

    def test_repeated_delivery_is_a_successful_no_op(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            first, again = store.submit(build_arrival(10)), store.submit(build_arrival(10))
            assert (await first).uids == (await again).uids == (1,)
            assert (await store.submit(build_arrival(10))).uids == (1,)
            more = await store.submit(build_arrival(10, Placement(1), Placement(2)))
            assert more.uids == (1, 1)
            assert get_folder(store, 1).messages == get_folder(store, 2).messages == 1
            assert read_all(store, get_folder(store, 2).id, 1) == HEADER + BODY

        self.run(tmp_path, test)

    def test_repeated_delivery_does_not_bring_back_what_was_expunged(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            await store.submit(build_arrival(10))
            folder = get_folder(store, 1)
            await store.submit(Expunge(folder.id, (1,)))
            assert (await store.submit(build_arrival(10))).uids == (1,)
            assert store.list_items(folder.id) == []
            # Another account may still get it.
            assert (await store.submit(build_arrival(10, Placement(1), Placement(2)))).uids == (1, 1)
            assert get_folder(store, 1).messages == 0
            assert read_all(store, get_folder(store, 2).id, 1) == HEADER + BODY

        self.run(tmp_path, test)

    def test_uids_grow_and_are_never_used_again(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            for message in range(10, 15):
                await store.submit(build_arrival(message))
            folder = get_folder(store, 1)
            done = await store.submit(Expunge(folder.id, (5, 2, 99)))
            assert sorted(done.uids) == [2, 5]
            assert [item.uid for item in store.list_items(folder.id)] == [1, 3, 4]
            assert (await store.submit(build_arrival(20))).uids == (6,)
            assert store.open_message(folder.id, 5) is None

        self.run(tmp_path, test)

    def test_counters_and_usage_follow(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            size = len(PREFIX + HEADER + BODY)
            for message in range(10, 15):
                await store.submit(build_arrival(message))
            await store.submit(build_arrival(15, Placement(1, "Archive", PREFIX)))
            usage = store.get_usage(1)
            assert (usage.bytes, usage.messages) == (6 * size, 6)
            folder = get_folder(store, 1)
            await store.submit(Expunge(folder.id, (1, 2)))
            assert (get_folder(store, 1).messages, get_folder(store, 1).bytes) == (3, 3 * size)
            assert store.get_usage(1).messages == 4
            assert store.get_usage(2).bytes == store.get_usage(2).messages == 0
            assert sorted(f.name for f in store.list_folders(1)) == ["Archive", INBOX]

        self.run(tmp_path, test)

    def test_commit_numbers_grow(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            numbers = [(await store.submit(build_arrival(n))).commit for n in range(10, 15)]
            assert numbers == sorted(set(numbers))

        self.run(tmp_path, test)

    def test_listing_is_complete_beyond_a_slice(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            pending = [store.submit(build_arrival(n)) for n in range(10, 10 + 1_203)]
            for future in pending:
                await future
            items = store.list_items(get_folder(store, 1).id)
            assert [item.uid for item in items] == list(range(1, 1_204))
            assert len({item.uidl for item in items}) == 1_203
            assert all(1 <= len(i.uidl) <= 70 and all("!" <= c <= "~" for c in i.uidl) for i in items)

        self.run(tmp_path, test)

    def test_flags_are_kept(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            await store.submit(build_arrival(10, Placement(1, flags=Flag.SEEN | Flag.FLAGGED)))
            (item,) = store.list_items(get_folder(store, 1).id)
            assert item.flags == Flag.SEEN | Flag.FLAGGED

        self.run(tmp_path, test)

    def test_folder_is_made_once_and_its_uidvalidity_never_repeats(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            seen = set()
            for _ in range(3):
                await store.submit(CreateFolder(1, "Box"))
                folder = get_folder(store, 1, "Box")
                seen.add(folder.uidvalidity)
                assert await fail(store, CreateFolder(1, "Box")) is Failure.EXISTS
                await store.submit(PurgeAccount(1))
                assert store.find_folder(1, "Box") is None
            assert len(seen) == 3

        self.run(tmp_path, test)

    def test_import_keeps_uidvalidity_uid_and_uidl(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            await store.submit(CreateFolder(1, INBOX, uidvalidity=77, uidnext=100))
            folder = get_folder(store, 1)
            assert (folder.uidvalidity, folder.uidnext) == (77, 100)
            await store.submit(build_arrival(10, Placement(1, uid=5, uidl="old-5")))
            await store.submit(build_arrival(11, Placement(1, uid=9)))
            # Below what is there: the folder is no longer empty enough for it.
            assert await fail(store, build_arrival(12, Placement(1, uid=9))) is Failure.NOT_EMPTY
            assert await fail(store, build_arrival(12, Placement(1, uid=7))) is Failure.NOT_EMPTY
            assert await fail(store, build_arrival(12, Placement(1, uid=12, uidl="old-5"))) is Failure.EXISTS
            assert (await store.submit(build_arrival(13))).uids == (100,)
            # Once mail has come, UIDs below UIDNEXT may have been seen by a client.
            assert await fail(store, build_arrival(14, Placement(1, uid=50))) is Failure.NOT_EMPTY
            assert (await store.submit(build_arrival(15, Placement(1, uid=200)))).uids == (200,)
            assert get_folder(store, 1).uidnext == 201
            assert [(i.uid, i.uidl) for i in store.list_items(folder.id)][0] == (5, "old-5")
            await store.submit(PurgeAccount(1))
            assert await fail(store, CreateFolder(1, INBOX, uidvalidity=77)) is Failure.EXISTS

        self.run(tmp_path, test)

    def test_refused_change_leaves_nothing_of_its_group(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            await store.submit(build_arrival(10, Placement(2)))
            bad = build_arrival(11, Placement(1), Placement(2, uid=1))
            before, refused, after = (
                store.submit(build_arrival(12)), store.submit(bad), store.submit(build_arrival(13)))
            assert (await before).uids == (1,)
            assert await fail(refused, None) is Failure.NOT_EMPTY
            assert (await after).uids == (2,)
            assert store.get_parsed(11) is None
            assert [i.message_id for i in store.list_items(get_folder(store, 1).id)] == [12, 13]

        self.run(tmp_path, test)

    def test_expunge_of_no_folder_and_arrival_without_placement_are_refused(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            assert await fail(store, Expunge(999, (1,))) is Failure.GONE
            arrival = build_arrival(10)
            try:
                await store.submit(Arrival(
                    10, 1.0, arrival.trace_header, arrival.body, b"", 1, placements=()))
            except UsageError:
                return
            raise AssertionError("no UsageError")

        self.run(tmp_path, test)

    def test_purge_removes_an_accounts_mail_and_no_other(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            await store.submit(build_arrival(10, Placement(1), Placement(2)))
            await store.submit(build_arrival(11, Placement(1)))
            arriving, purging = store.submit(build_arrival(12)), store.submit(PurgeAccount(1))
            await arriving
            await purging
            assert store.list_folders(1) == []
            assert store.get_usage(1).messages == 0
            assert store.get_parsed(11) is None
            assert read_all(store, get_folder(store, 2).id, 1) == HEADER + BODY

        self.run(tmp_path, test)

    def test_long_removals_are_whole_when_they_are_answered(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            pending = [store.submit(build_arrival(n, Placement(1), Placement(2), Placement(2 + n % 2, "Box")))
                       for n in range(10, 10 + 1_700)]
            for future in pending:
                await future
            folder = get_folder(store, 1)
            removed = await store.submit(Expunge(folder.id, tuple(range(1, 1_652))))
            assert sorted(removed.uids) == list(range(1, 1_652))
            assert (get_folder(store, 1).messages, len(store.list_items(folder.id))) == (49, 49)
            purging, arriving = store.submit(PurgeAccount(2)), store.submit(build_arrival(5_000, Placement(1)))
            await purging
            await arriving
            assert store.list_folders(2) == []
            assert store.get_usage(1).messages == 50

        self.run(tmp_path, test)

    def test_large_message_streams_in_and_out(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            writer = store.open_large(10)
            chunks = [BODY[:40], BODY[40:]] + [bytes([65 + n % 26]) * 70_000 + b"\r\n" for n in range(40)]
            for start in range(0, len(chunks), 7):
                await writer.write(chunks[start:start + 7])
            large = await writer.finish()
            body = b"".join(chunks)
            assert large.size == len(body)
            await store.submit(build_arrival(10, Placement(1, prefix=PREFIX), Placement(2), body=large))
            folder = get_folder(store, 1)
            whole = PREFIX + HEADER + body
            assert store.list_items(folder.id)[0].size == len(whole)
            assert read_all(store, folder.id, 1, 30_011) == whole
            reader = store.open_message(folder.id, 1)
            assert reader.header_size == whole.index(b"Hello")
            # An open reader survives the removal of what it reads.
            await store.submit(Expunge(folder.id, (1,)))
            assert reader.read(0, 100) == whole[:100]
            reader.close()
            assert read_all(store, get_folder(store, 2).id, 1) == HEADER + body

        self.run(tmp_path, test)

    def test_large_message_given_up_leaves_nothing(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            writer = store.open_large(10)
            await writer.write([b"x" * 100_000])
            writer.discard()
            unused = store.open_large(11)
            unused.discard()
            again = store.open_large(12)
            await again.write([BODY])
            await store.submit(build_arrival(12, body=await again.finish()))
            assert read_all(store, get_folder(store, 1).id, 1) == PREFIX + HEADER + BODY

        self.run(tmp_path, test)

    def test_records_are_listed_from_a_position(self, tmp_path: Path) -> None:
        async def test(store: Any) -> None:
            for n in range(10, 14):
                await store.submit(build_arrival(n, record=b"record %d" % n))
            records = list(store.list_records(None))
            assert [(m, r) for _, m, r in records] == [(n, b"record %d" % n) for n in range(10, 14)]
            assert [m for _, m, _ in store.list_records(records[1][0])] == [12, 13]

        self.run(tmp_path, test)

    def test_closed_store_refuses(self, tmp_path: Path) -> None:
        async def main() -> None:
            store = self.open_store(tmp_path)
            pending = store.submit(build_arrival(10))
            await store.close()
            assert (await pending).uids == (1,)
            assert await fail(store, build_arrival(11)) is Failure.STOPPING

        asyncio.run(main())


def get_folder(store: Any, account: int, name: str = INBOX) -> Folder:
    """The folder, which must exist."""
    folder = store.find_folder(account, name)
    assert folder is not None
    return folder  # type: ignore[no-any-return]


def read_all(store: Any, folder: int, uid: int, step: int = 65_536) -> bytes:
    """All bytes of a placement, read in steps."""
    reader = store.open_message(folder, uid)
    assert reader is not None
    chunks = []
    offset = 0
    while chunk := reader.read(offset, step):
        chunks.append(chunk)
        offset += len(chunk)
    reader.close()
    return b"".join(chunks)


async def fail(store: Any, change: Change | None) -> Failure:
    """Submit what must fail (or await a future given as ``store``); the failure."""
    try:
        committed: Committed = await (store if change is None else store.submit(change))
    except StoreFailure as failure:
        return failure.failure
    raise AssertionError(f"no failure: {committed}")

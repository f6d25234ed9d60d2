"""`verify` finds each of the planted corruptions, and nothing in a store that is whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from postoffice.store.embedded import EmbeddedStore, StoreOptions
from postoffice.store.model import Expunge, Placement
from postoffice.store.verify import verify
from postoffice.testing.store_contract import BODY, build_arrival, get_folder


@pytest.fixture
def mailbox(tmp_path: Path) -> Path:
    """A store with small and large messages, several segments and something expunged, closed."""

    async def fill() -> None:
        store = EmbeddedStore.open(tmp_path, options=StoreOptions(segment_size=2_000))
        for number in range(1, 41):
            places = [Placement(account, prefix=b"X-Copy: %d\r\n" % account) for account in (1, 2 + number % 3)]
            await store.submit(build_arrival(number << 8, *places, body=BODY + b"line\r\n" * number))
        for number in (50, 51):
            writer = store.open_large(number << 8)
            await writer.write([BODY, b"large\r\n" * 300_000])
            await store.submit(build_arrival(number << 8, body=await writer.finish()))
        folder = get_folder(store, 1)
        await store.submit(Expunge(folder.id, (3, 7, 41)))
        await store.close()

    asyncio.run(fill())
    return tmp_path


def run_sql(directory: Path, *statements: str) -> None:
    connection = apsw.Connection(str(directory / "index.db"))
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def get_segment(directory: Path) -> Path:
    return min((directory / "segments").iterdir())


def get_large(directory: Path) -> Path:
    return min((directory / "large").iterdir())


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def duplicate_placement(directory: Path) -> None:
    run_sql(
        directory, "DROP INDEX placements_message",
        "INSERT INTO placements SELECT folder, uid+1000, message, account, flags, internal_date, modseq, size, uidl, "
        "prefix FROM placements LIMIT 1",
        "UPDATE folders SET messages=messages+1, uidnext=5000, bytes=(SELECT sum(size) FROM placements "
        "WHERE folder=folders.id) WHERE id=(SELECT min(folder) FROM placements)")


def damage_pages(directory: Path) -> None:
    path = directory / "index.db"
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 + 8:page * 4096 + 12] = b"\xff" * 4      # the first cells' places
    path.write_bytes(data)


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte of a message": (lambda d: flip(get_segment(d), 400), "wrong CRC"),
    "a record's length": (lambda d: flip(get_segment(d), 36 + 21), "wrong CRC|cut short"),
    "a segment's header": (lambda d: flip(get_segment(d), 10), "header is damaged"),
    "a segment cut short": (
        lambda d: get_segment(d).write_bytes(get_segment(d).read_bytes()[:-100]), "shorter than its end"),
    "a segment deleted": (lambda d: get_segment(d).unlink(), "file is missing"),
    "a byte of a large message": (lambda d: flip(get_large(d), 1_000_000), "wrong CRC"),
    "a large file deleted": (lambda d: get_large(d).unlink(), "is missing"),
    "a large file nobody names": (lambda d: (d / "large" / "0000000000100.msg").write_bytes(b"x"), "no row names it"),
    "a segment nobody names": (
        lambda d: (d / "segments" / "00000000000f0001.seg").write_bytes(b"x"), "no row names its file"),
    "a stray file": (lambda d: (d / "segments" / "notes.txt").write_bytes(b"x"), "it is no segment"),
    "a message's row": (
        lambda d: run_sql(d, "DELETE FROM messages WHERE id=2560"), "message 2560, which does not exist"),
    "a placement's row": (
        lambda d: run_sql(d, "DELETE FROM placements WHERE message=2560"),
        "no placement points to it|counters say"),
    "a folder's counter": (lambda d: run_sql(d, "UPDATE folders SET bytes=bytes+1 WHERE id=1"), "its counters say"),
    "a folder's UIDNEXT": (lambda d: run_sql(d, "UPDATE folders SET uidnext=5 WHERE id=1"), "UIDNEXT is 5"),
    "a folder's row": (lambda d: run_sql(d, "DELETE FROM folders WHERE id=2"), "it does not exist, but UID"),
    "a segment's counter": (
        lambda d: run_sql(d, "UPDATE segments SET live=live+1 WHERE id=(SELECT min(id) FROM segments)"),
        "living records"),
    "a segment's end": (
        lambda d: run_sql(d, "UPDATE segments SET end=end-10 WHERE id=(SELECT min(id) FROM segments)"),
        "beyond the end"),
    "the commit number": (lambda d: run_sql(d, "UPDATE state SET commit_number=3"), "above the commit number 3"),
    "the last message id": (lambda d: run_sql(d, "UPDATE state SET last_message=2560"), "above the last one"),
    "a message's place": (
        lambda d: run_sql(d, "UPDATE messages SET offset=offset+1 WHERE id=2560"), "no record begins at"),
    "two messages' places swapped": (
        lambda d: run_sql(
            d, "UPDATE messages SET (segment, offset)=(SELECT segment, offset FROM messages WHERE id=2816) WHERE id=2560"),
        "is that of message 2816|overlaps"),
    "a message twice for an account": (duplicate_placement, "has it twice"),
    "a copy's size": (
        lambda d: run_sql(d, "UPDATE placements SET size=size+1 WHERE folder=1 AND uid=1",
                          "UPDATE folders SET bytes=bytes+1 WHERE id=1"), "claims"),
    "the database's pages": (damage_pages, "index"),
    "a used UIDVALIDITY forgotten": (lambda d: run_sql(d, "DELETE FROM uidvalidities"), "not on the list"),
}


def test_whole_store_has_no_finding(mailbox: Path) -> None:
    assert verify(mailbox) == []
    assert len(list((mailbox / "segments").iterdir())) > 3


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_found(mailbox: Path, name: str) -> None:
    plant, words = CORRUPTIONS[name]
    plant(mailbox)
    found = verify(mailbox)
    assert any(word in line for line in found for word in words.split("|")), found


def test_missing_index_beside_segments_is_found_and_refused(mailbox: Path) -> None:
    (mailbox / "index.db").unlink()
    assert "is missing" in verify(mailbox)[0]


def test_directory_that_never_was_a_store_has_no_finding(tmp_path: Path) -> None:
    assert verify(tmp_path) == []
    asyncio.run(open_and_close(tmp_path))
    assert verify(tmp_path) == []
    assert list((tmp_path / "segments").iterdir()) == []


async def open_and_close(directory: Path) -> None:
    await EmbeddedStore.open(directory).close()


def test_running_store_is_verified_while_it_accepts(tmp_path: Path) -> None:
    async def main() -> None:
        store = EmbeddedStore.open(tmp_path, options=StoreOptions(segment_size=20_000, checkpoint_frames=20))
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def keep_verifying() -> list[list[str]]:
            found = [verify(tmp_path)]
            while not stop.is_set():
                found.append(verify(tmp_path))
            return found

        verifying = loop.run_in_executor(None, keep_verifying)
        for number in range(1, 150):
            places = [Placement(1 + number % 5)]
            await asyncio.gather(*[store.submit(build_arrival(number * 100 + n, *places)) for n in range(5)])
            folder = get_folder(store, 1 + number % 5)
            await store.submit(Expunge(folder.id, (number // 2, number // 2 + 1)))
        stop.set()
        found = await verifying
        assert found == [[]] * len(found)
        assert len(found) > 3
        await store.close()

    asyncio.run(main())

"""D57: two sessions on one mailbox, RETR of a vanished message, DELE without QUIT, UIDL stable over a restart, the APOP
banner, lines of 255 octets - on the real store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from postoffice.base.clock import SystemClock
from postoffice.pop3.maildrop import Maildrops
from postoffice.pop3.services import Rules, Services
from postoffice.pop3.session import Pop3Session
from postoffice.store.embedded import EmbeddedStore
from postoffice.store.model import Arrival, Expunge, Placement
from postoffice.testing.fakes import MemoryTrace
from postoffice.testing.signin import FakeSignIn
from postoffice.testing.streams import MemoryWire

LARGE = b"Subject: large\r\n\r\n" + b"." * 70 + b"\r\n" + b"z" * 200_000 + b"\r\n"
BODIES = (b"Subject: one\r\n\r\nfirst\r\n", b"Subject: two\r\n\r\n.second\r\n", LARGE)


class Office:
    """One server process: started on a spool, stopped, started again."""

    def __init__(self, spool: Path) -> None:
        self.store = EmbeddedStore.open(spool / "mailbox")
        self.maildrops = Maildrops(spool)
        self.services = Services(self.store, FakeSignIn({"alice": "secret"}), self.maildrops, MemoryTrace(), SystemClock(),
                                 lambda: Rules("mail.example.test"))

    async def put(self) -> None:
        for number, body in enumerate(BODIES, 1):
            await self.store.submit(Arrival(number << 8, 0.0, b"", body, b"", 1, (Placement(1),)))

    async def open(self) -> MemoryWire:
        wire = MemoryWire()
        wire.open(Pop3Session(self.services))
        wire.take()
        await ask(wire, b"USER alice\r\nPASS secret\r\n")
        return wire

    async def close(self) -> None:
        self.maildrops.close()
        await self.store.close()


async def ask(wire: MemoryWire, data: bytes) -> bytes:
    """The answers to pipelined commands; waits for what the disk decides."""
    wire.give(data)
    got = wire.take()
    for _ in range(500):
        if wire.closed or got and wire.session is not None and not wire.session._busy:      # type: ignore[attr-defined]
            break
        await asyncio.sleep(0.002)
        got += wire.take()
    return got


def read_uidls(listing: bytes) -> set[bytes]:
    return {line.split(b" ")[1] for line in listing.split(b"\r\n")[1:-2]}


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await main()
    asyncio.run(limited())


def test_two_sessions_on_one_mailbox(tmp_path: Path) -> None:
    async def main() -> None:
        office, other = Office(tmp_path), None
        try:
            await office.put()
            first = await office.open()
            for process in (office, other := Office(tmp_path)):
                second = MemoryWire()
                second.open(Pop3Session(process.services))
                second.take()
                assert b"-ERR [IN-USE]" in await ask(second, b"USER alice\r\nPASS secret\r\n")
                assert (await ask(second, b"STAT\r\n")).startswith(b"-ERR")
            assert (await ask(first, b"STAT\r\n")).startswith(b"+OK 3 ")
            assert await ask(first, b"DELE 1\r\nQUIT\r\n") == b"+OK\r\n+OK Bye\r\n"
            assert (await ask(await other.open(), b"STAT\r\n")).startswith(b"+OK 2 "), "the other process sees it"
        finally:
            await office.close()
            if other is not None:
                await other.close()

    run(main)


def test_retr_of_a_vanished_message(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(tmp_path)
        try:
            await office.put()
            wire = await office.open()
            folder = office.store.find_folder(1, "INBOX")
            assert folder is not None
            uids = tuple(item.uid for item in office.store.list_items(folder.id)[:1])
            await office.store.submit(Expunge(folder.id, uids))
            assert await ask(wire, b"RETR 1\r\nTOP 1 0\r\n") == b"-ERR The message is gone\r\n" * 2
            assert (await ask(wire, b"RETR 2\r\n")).endswith(b"\r\n\r\n..second\r\n.\r\n")
            assert await ask(wire, b"DELE 1\r\nDELE 2\r\nQUIT\r\n") == b"+OK\r\n+OK\r\n+OK Bye\r\n"
            assert (await ask(await office.open(), b"STAT\r\n")).startswith(b"+OK 1 ")
        finally:
            await office.close()

    run(main)


def test_dele_without_quit(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(tmp_path)
        try:
            await office.put()
            wire = await office.open()
            assert await ask(wire, b"DELE 1\r\nDELE 2\r\nDELE 3\r\n") == b"+OK\r\n" * 3
            wire.lose(ConnectionResetError())
            assert (await ask(await office.open(), b"STAT\r\n")).startswith(b"+OK 3 ")
        finally:
            await office.close()

    run(main)


def test_uidl_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        seen = []
        for start in range(3):
            office = Office(tmp_path)
            try:
                if not start:
                    await office.put()
                wire = await office.open()
                listing = await ask(wire, b"UIDL\r\n")
                lines = listing.split(b"\r\n")[1:4]
                assert [await ask(wire, b"UIDL %d\r\n" % n) for n in (1, 2, 3)] == [b"+OK " + x + b"\r\n" for x in lines]
                for _, uidl in (line.split(b" ") for line in lines):
                    # RFC 1939 §7: one to 70 characters from 0x21 to 0x7E
                    assert 1 <= len(uidl) <= 70 and all(0x21 <= byte <= 0x7E for byte in uidl)
                seen.append(listing)
                assert (await ask(wire, b"RETR 3\r\n")).count(b"z") == 200_000
                await ask(wire, b"QUIT\r\n")
            finally:
                await office.close()
        assert seen[0] == seen[1] == seen[2]

    run(main)


def test_a_uidl_is_never_given_twice(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(tmp_path)
        try:
            await office.put()
            wire = await office.open()
            before = read_uidls(await ask(wire, b"UIDL\r\n"))
            await ask(wire, b"DELE 1\r\nDELE 2\r\nDELE 3\r\nQUIT\r\n")
            for number, body in enumerate(BODIES, 10):
                await office.store.submit(Arrival(number << 8, 0.0, b"", body, b"", 1, (Placement(1),)))
            after = read_uidls(await ask(await office.open(), b"UIDL\r\n"))
            assert len(before) == len(after) == 3 and not before & after
        finally:
            await office.close()

    run(main)


def test_a_lost_download_leaves_no_descriptor(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(tmp_path)
        try:
            await office.put()
            before = len(list(Path("/proc/self/fd").iterdir()))
            for ending in ("lose", "recheck"):
                wire = MemoryWire(high_water=70_000)
                wire.open(Pop3Session(office.services))
                await ask(wire, b"USER alice\r\nPASS secret\r\n")
                wire.give(b"RETR 3\r\n")
                assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
                if ending == "lose":
                    wire.lose()
                else:
                    assert isinstance(office.services.signin, FakeSignIn) and isinstance(wire.session, Pop3Session)
                    office.services.signin.revoked.add(1)
                    wire.session.recheck()
                assert len(list(Path("/proc/self/fd").iterdir())) == before, ending
        finally:
            await office.close()

    run(main)


def test_no_apop(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(tmp_path)
        try:
            wire = MemoryWire()
            wire.open(Pop3Session(office.services))
            greeting = wire.take()
            assert b"<" not in greeting and b"@" not in greeting
            assert (await ask(wire, b"APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n")).startswith(b"-ERR")
            assert b"APOP" not in await ask(wire, b"CAPA\r\n")
        finally:
            await office.close()

    run(main)


def test_lines_of_255_octets(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(tmp_path)
        try:
            wire = await office.open()
            assert await ask(wire, b"NOOP" + b" " * 249 + b"\r\n") == b"+OK\r\n"
            assert await ask(wire, b"NOOP" + b" " * 250 + b"\r\n") == b"-ERR Line too long\r\n"
            assert await ask(wire, b"NOOP\r\n") == b"+OK\r\n"
            wire.give(b"N" * 100_000)
            assert wire.take() == b"-ERR Line too long\r\n" and wire.closed
        finally:
            await office.close()

    run(main)

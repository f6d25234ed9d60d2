"""A process of the kill tests: opens a store, works through every durable step and tells what was acknowledged.

Run as ``python store_child.py DIRECTORY STEP NTH SEED ROUNDS [MISTAKE]``; dies at the NTH time that STEP is reached.
Each acknowledged arrival is one line "+ID ACCOUNT UID COMMIT" in the file ``acknowledged`` of the directory and on standard output;
"-ID" says that a message is about to be removed. MISTAKE plants one of `postoffice.testing.faults.MISTAKES`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import apsw

from postoffice.base.ids import MessageIds
from postoffice.store.embedded import EmbeddedStore, StoreOptions
from postoffice.store.model import Arrival, Committed, Expunge, Placement, StoreFailure
from postoffice.testing.faults import MISTAKES, FaultyIndex, KillDisk
from postoffice.testing.store_contract import BODY, PREFIX, build_arrival, get_folder


def tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")
    os.write(acknowledged, line.encode() + b"\n")


async def submit(store: EmbeddedStore, arrivals: list[Arrival]) -> None:
    def told(arrival: Arrival, future: asyncio.Future[Committed]) -> None:
        if future.exception() is None:
            committed = future.result()
            tell(f"+{arrival.message_id} {arrival.placements[0].account} {committed.uids[0]} {committed.commit}")

    pending = []
    for arrival in arrivals:
        future = store.submit(arrival)
        future.add_done_callback(lambda f, a=arrival: told(a, f))  # type: ignore[misc]
        pending.append(future)
    await asyncio.gather(*pending, return_exceptions=True)


async def work(directory: Path, step: str, nth: int, seed: int, rounds: int, mistake: str = "") -> None:
    errors: dict[str, list[apsw.Error]] = {}
    if mistake:
        options = replace(MISTAKES[mistake], segment_size=6_000, checkpoint_frames=15)
    else:
        options = StoreOptions(
            segment_size=6_000, disk=KillDisk(step, nth), checkpoint_frames=15,
            open_index=FaultyIndex.sharing(errors))
    store = EmbeddedStore.open(directory / "mailbox", options=options)
    ids = MessageIds(store.slot, store.last_message_id())
    account = 100 + seed
    tell("open")
    for number in range(rounds):
        await submit(store, [
            build_arrival(ids.next(1.79e9), Placement(account, prefix=PREFIX), Placement(1 + n % 3),
                          body=BODY + b"%d %d\r\n" % (number, n) * 20)
            for n in range(1 + number % 7)])
        if number % 5 == 2:
            message_id = ids.next(1.79e9)
            writer = store.open_large(message_id)
            await writer.write([BODY, b"large\r\n" * 20_000])
            await submit(store, [build_arrival(message_id, Placement(account), body=await writer.finish())])
        if number % 4 == 3:
            folder = get_folder(store, account)
            victims = store.list_items(folder.id)[:9]
            # From here on each of them may be there or not.
            for item in victims:
                tell(f"-{item.message_id}")
            await store.submit(Expunge(folder.id, tuple(item.uid for item in victims)))
        if number == rounds // 2 and not mistake:
            errors["commit"] = [apsw.IOError("planted")]
            message_id = ids.next(1.79e9)
            try:
                await store.submit(build_arrival(message_id, Placement(account)))
            except StoreFailure:
                tell("failed as planned")
    await store.close()
    tell("closed")


if __name__ == "__main__":
    acknowledged = os.open(Path(sys.argv[1]) / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6]), *sys.argv[6:]))

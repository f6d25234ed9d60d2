"""What a message costs in the store alone: messages per second and CPU per message at batches of several sizes.

Run as ``python -m bench.store [--seconds N] [--profile]``. Every batch waits for its acknowledgement before the next is begun, so
the batch size is what the committer sees. CPU counts all threads, kernel included ("user" alone too). The directory is made
below ``--directory`` (a real disk; default the working directory) and removed afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path

import uvloop

from postoffice.base.ids import MessageIds
from postoffice.store.checkpoint import FRAMES
from postoffice.store.embedded import EmbeddedStore, StoreOptions
from postoffice.store.model import Arrival, Placement

BATCHES = (1, 5, 10, 20, 50)
ACCOUNTS = 500
HEADER = (b"Received: from client.example.test (client.example.test [192.0.2.10])\r\n\tby mail.example.test"
          b" with ESMTP id 0CPZYV8JY0CR0;\r\n\tTue, 24 Nov 2026 12:00:00 +0900\r\n")
PREFIX = b"Return-Path: <sender@example.test>\r\nDelivered-To: account@example.test\r\n"
PARSED = b"\x9a" + b"p" * 700
RECORD = b"r" * 300


def build_body(size: int) -> bytes:
    return b"From: a@example.test\r\nSubject: bench\r\n\r\n" + b"0123456789abcdef" * (size // 16)


async def measure(directory: Path, batch: int, seconds: float, size: int, frames: int) -> dict[str, object]:
    """One batch size on a fresh store."""
    store = EmbeddedStore.open(directory, options=StoreOptions(checkpoint_frames=frames))
    ids = MessageIds(store.slot)
    body = build_body(size)
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    done = 0

    async def one_batch() -> None:
        # As sessions do it: a callback each, no task.
        nonlocal done
        finished: asyncio.Future[None] = loop.create_future()
        left = batch

        def acknowledged(future: asyncio.Future[object]) -> None:
            nonlocal left
            future.result()
            left -= 1
            if not left:
                finished.set_result(None)

        now, begun = time.time(), time.perf_counter()
        for _ in range(batch):
            message = ids.next(now)
            store.submit(Arrival(
                message, now, HEADER, body, PARSED, 1, (Placement(1 + (done + left) * 7 % ACCOUNTS, prefix=PREFIX),),
                RECORD)).add_done_callback(acknowledged)
        await finished
        latencies.append(time.perf_counter() - begun)
        done += batch

    for _ in range(20):
        await one_batch()
    done = 0
    latencies.clear()
    clocks = {t.name: time.pthread_getcpuclockid(t.ident) for t in threading.enumerate() if t.ident}
    before = {name: time.clock_gettime(clock) for name, clock in clocks.items()}
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    while time.perf_counter() - start < seconds:
        await one_batch()
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    threads = {name: round((time.clock_gettime(clock) - before[name]) / done * 1e6, 1)
               for name, clock in clocks.items()}
    latencies.sort()
    await store.close()
    user, system = after.ru_utime - usage.ru_utime, after.ru_stime - usage.ru_stime
    return {
        "batch": batch, "bytes": size, "messages_per_second": round(done / elapsed),
        "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1e3, 2), "max_ms": round(latencies[-1] * 1e3, 1),
        "threads_us": threads, "cpu_us": round((user + system) / done * 1e6, 1), "user_us": round(user / done * 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    parser.add_argument("--frames", type=int, default=FRAMES, help="of the WAL before a checkpoint")
    parser.add_argument("--profile", action="store_true", help="show where the loop's thread spends its time")
    options = parser.parse_args()
    for batch in options.batch or BATCHES:
        place = Path(tempfile.mkdtemp(prefix="bench-store-", dir=options.directory))
        profile = cProfile.Profile()
        try:
            if options.profile:
                profile.enable()
            print(json.dumps(uvloop.run(measure(place, batch, options.seconds, options.size, options.frames))), flush=True)
            if options.profile:
                profile.disable()
                pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        finally:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()

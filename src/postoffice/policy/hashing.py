"""The bounded pool in which passwords are hashed: few threads, a limited queue, and turns among clients.

A hash costs 26 ms of a core, so a storm of sign-ins waits here. Each client has its turn, and when the queue is full
the client with most waiting loses its last: one that floods cannot keep the others out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

_Job = tuple[Callable[[], bool], "asyncio.Future[bool | None]"]


class HashingPool:
    """Used on one loop's thread. ``threads``: how many hashes run at a time (cores / processes, at least 1)."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, "hashing")
        self._waiting: dict[str, deque[_Job]] = {}          # by client, in the order of their turns
        self._count = 0
        self._running = 0

    async def run(self, client: str, work: Callable[[], bool], limit: int) -> bool | None:
        """What ``work`` says, computed in a thread; None when more than ``limit`` wait already (or meanwhile a
        client with fewer waiting took the place)."""
        own = len(self._waiting.get(client, ()))
        if self._count >= limit and not self._make_room(own):
            return None
        future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append((work, future))
        self._count += 1
        self._start()
        return await future

    def close(self) -> None:
        """Threads end after what they are at; what waits is answered with None."""
        for jobs in self._waiting.values():
            for _work, future in jobs:
                if not future.done():
                    future.set_result(None)
        self._waiting.clear()
        self._count = 0
        self._executor.shutdown(wait=False)

    def _make_room(self, own: int) -> bool:
        greediest = max(self._waiting, key=lambda client: len(self._waiting[client]), default=None)
        if greediest is None or len(self._waiting[greediest]) <= own + 1:
            return False
        _work, future = self._waiting[greediest].pop()
        self._count -= 1
        if not future.done():
            future.set_result(None)
        return True

    def _start(self) -> None:
        while self._running < self._threads and self._waiting:
            client = next(iter(self._waiting))
            jobs = self._waiting.pop(client)
            work, future = jobs.popleft()
            if jobs:
                self._waiting[client] = jobs                # behind the others
            self._count -= 1
            if future.done():
                continue                                    # the session is gone
            self._running += 1
            self._executor.submit(work).add_done_callback(partial(self._hand_back, future))

    def _hand_back(self, future: asyncio.Future[bool | None], done: Future[bool]) -> None:
        """In the thread: over to the loop."""
        with contextlib.suppress(RuntimeError):             # the loop has been closed meanwhile: nobody waits
            future.get_loop().call_soon_threadsafe(self._finish, done, future)

    def _finish(self, done: Future[bool], future: asyncio.Future[bool | None]) -> None:
        self._running -= 1
        error = done.exception()
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())
        self._start()

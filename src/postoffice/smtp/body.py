"""The body of a message while it comes in: in memory while it is small, in a file of the store from then on.

Owns the bytes and what they take of the memory budget. Invariants: what is held is reserved; a large body costs its
beginning and the piece under way, whatever its size; once something failed the rest is dropped as it arrives, so that
the client can be told at the end of its message.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from postoffice.message.parsed import ParsedMessage
from postoffice.message.structured import parse_large
from postoffice.message.trace_fields import strip_return_path
from postoffice.smtp.budget import MemoryBudget
from postoffice.smtp.protocol.events import Reply
from postoffice.store.api import LargeWriter, Store
from postoffice.store.model import Failure, LargeFile, StoreFailure

log = logging.getLogger(__name__)

LARGE_BYTES = 512 * 1024        # a body above this goes to a file of its own
EXPECTED_BYTES = 64 * 1024      # reserved for a body whose size was not announced

NO_MEMORY = Reply(452, "4.3.1", ("Too much mail at once, try again later",))
NO_DISK = Reply(452, "4.3.1", ("Not enough disk space, try again later",))
TROUBLE = Reply(451, "4.3.0", ("Temporary trouble, try again later",))


class Body:
    """One message's. ``message_id`` names the file."""

    __slots__ = ("_budget", "_chunks", "_held", "_limit", "_message_id", "_reserved", "_store", "_writer", "failure",
                 "head", "size")

    def __init__(self, store: Store, budget: MemoryBudget, limit_bytes: int, message_id: int) -> None:
        self._store = store
        self._budget = budget
        self._limit = limit_bytes
        self._message_id = message_id
        self._reserved = 0
        self._chunks: list[bytes] = []
        self._held = 0                          # bytes in _chunks
        self._writer: LargeWriter | None = None
        self.size = 0                           # of what arrived, without what was stripped
        self.head = b""                         # the beginning of a large body
        self.failure: Reply | None = None

    @property
    def is_large(self) -> bool:
        return self._writer is not None

    def reserve(self, announced_bytes: int) -> bool:
        """Make room for a body; ``announced_bytes`` 0 when SIZE was not given."""
        return self._grow(min(announced_bytes or EXPECTED_BYTES, LARGE_BYTES))

    def add(self, chunks: Sequence[bytes]) -> bool:
        """Keep a piece. True: `write_out` must be awaited before the next one."""
        if self.failure is not None:
            return False
        size = sum(map(len, chunks))
        self.size += size
        self._chunks.extend(chunks)
        self._held += size
        if self._writer is not None or self._held > LARGE_BYTES:
            return True
        # No memory left: the disk takes what the budget does not.
        return self._held > self._reserved and not self._grow(self._held - self._reserved)

    def join(self) -> bytes:
        """All of a small body."""
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def write_out(self) -> None:
        """Move what is held to the file. Never raises: see ``failure``."""
        if self.failure is not None:
            return
        chunks, self._chunks = self._chunks, []
        try:
            if self._writer is None:
                whole = b"".join(chunks)
                self.head = strip_return_path(whole)
                self.size -= len(whole) - len(self.head)
                self._writer = self._store.open_large(self._message_id)
                chunks = [self.head]
            await self._writer.write(chunks)
            self._held = 0
        except StoreFailure as failure:
            self._fail_by(failure)
        except Exception:
            log.exception("a large message cannot be written")
            self._fail(TROUBLE)

    async def parse(self) -> ParsedMessage | None:
        """What all of a large body holds; None when it cannot be read (see ``failure``)."""
        assert self._writer is not None
        try:
            return await self._writer.examine(lambda read: parse_large(read, self.size))
        except StoreFailure as failure:
            self._fail_by(failure)
        except Exception:
            log.exception("a large message cannot be parsed")
            self._fail(TROUBLE)
        return None

    async def finish(self) -> LargeFile | None:
        """The file with all of the body, durable; None when it failed."""
        assert self._writer is not None
        try:
            file = await self._writer.finish()
            self._writer = None             # from now on the file is the store's
            return file
        except StoreFailure as failure:
            self._fail_by(failure)
        except Exception:
            log.exception("a large message cannot be finished")
            self._fail(TROUBLE)
        return None

    def drop(self) -> None:
        """Forget everything and give the memory back."""
        self._chunks.clear()
        self._held = 0
        self.head = b""
        self._budget.give_back(self._reserved)
        self._reserved = 0
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _grow(self, size: int) -> bool:
        if not self._budget.reserve(size, self._limit):
            return False
        self._reserved += size
        return True

    def _fail_by(self, failure: StoreFailure) -> None:
        log.warning("a large message cannot be written: %s", failure)
        self._fail(NO_DISK if failure.failure is Failure.DISK_FULL else TROUBLE)

    def _fail(self, reply: Reply) -> None:
        self.failure = reply
        self._chunks.clear()
        self._held = 0
        self.head = b""

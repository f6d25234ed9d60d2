"""The message as it comes: dot-unstuffing for DATA, counting for BDAT, in bulk (RFC 5321 §4.5.2, RFC 3030).

Only CRLF.CRLF ends DATA. A bare CR or LF anywhere marks the body as broken: it is swallowed to its end and refused, so
that nothing we ever send on can be read as two messages by a more tolerant host. Bytes over the size limit are
counted, not kept. Work is done by `bytes.find` and `bytes.count` over whole pieces, never line by line.
"""

from __future__ import annotations

_CRLF_DOT = b"\r\n."


def has_bare_line_end(data: bytes) -> bool:
    """Whether a CR or LF stands alone. ``data`` must not end between the two."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs


class DataReader:
    """Takes the bytes after 354. Feed pieces; `chunks` holds what was unstuffed and not yet collected."""

    __slots__ = ("_carry", "_limit", "_virtual", "broken", "chunks", "kept", "size", "too_large")

    def __init__(self, limit: int) -> None:
        self._limit = limit                 # 0: none
        self._carry = b"\r\n"               # as if a line had just ended: a dot may be the first byte
        self._virtual = True                # the carried CRLF is not the client's
        self.broken = False
        self.too_large = False
        self.chunks: list[bytes] = []
        self.kept = 0                       # bytes in ``chunks``
        self.size = 0                       # of the message so far

    def feed(self, new: bytes) -> bytes | None:
        """Take a piece. None: more is needed. Bytes: the end was in it, and these came after."""
        data = self._carry + new
        at = 0
        while True:
            found = data.find(_CRLF_DOT, at)
            if found < 0:
                held = 2 if data.endswith(b"\r\n") else 1 if data.endswith(b"\r") else 0
                self._emit(data, at, len(data) - held)
                self._carry = data[len(data) - held :]
                return None
            after = data[found + 3 : found + 5]
            if after == b"\r\n":
                self._emit(data, at, found + 2)
                self._carry = b""
                return data[found + 5 :]
            if len(after) < 2 and b"\r\n".startswith(after):       # the end may follow in the next piece
                self._emit(data, at, found)
                self._carry = data[found:]
                return None
            self._emit(data, at, found + 2)
            at = found + 3                  # the stuffed dot goes

    def collect(self) -> list[bytes]:
        """What has been unstuffed since the last call."""
        chunks, self.chunks, self.kept = self.chunks, [], 0
        return chunks

    def _emit(self, data: bytes, start: int, end: int) -> None:
        if self._virtual and end > start:
            self._virtual = False
            start += 2
        if end <= start:
            return
        self.size += end - start
        if self.broken or self.too_large:
            return
        chunk = data if not start and end == len(data) else data[start:end]
        if has_bare_line_end(chunk):
            self.broken = True
        elif self._limit and self.size > self._limit:
            self.too_large = True
        else:
            self.chunks.append(chunk)
            self.kept += end - start
            return
        self.chunks, self.kept = [], 0


class ChunkReader:
    """The chunks of one BDAT transaction. `begin` announces a chunk, `feed` takes its bytes."""

    __slots__ = ("_buffer", "_limit", "_pending_cr", "broken", "left", "size", "swallow", "too_large")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()          # many small chunks stay one object
        self._pending_cr = False            # a CR ended the last piece; its LF may follow
        self.broken = False
        self.too_large = False
        self.swallow = False                # the transaction is refused: bytes are counted, not kept
        self.left = 0
        self.size = 0

    @property
    def kept(self) -> int:
        return len(self._buffer)

    def begin(self, size: int) -> None:
        """A chunk of ``size`` bytes follows. Its size is judged now, not when the bytes are here."""
        self.left = size
        if self._limit and self.size + size > self._limit:
            self.too_large = True

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the chunk; returns what came after it. `left` is 0 when it is whole."""
        piece = data[: self.left] if len(data) > self.left else data
        self.left -= len(piece)
        self.size += len(piece)
        if not (self.swallow or self.broken or self.too_large):
            self._keep(piece)
        return data[len(piece) :]

    def finish(self) -> None:
        """The last chunk is whole: a CR that waits for its LF waits in vain."""
        self.broken = self.broken or self._pending_cr

    def collect(self) -> list[bytes]:
        chunks = [bytes(self._buffer)] if self._buffer else []
        self._buffer = bytearray()
        return chunks

    def _keep(self, piece: bytes) -> None:
        judged = b"\r" + piece if self._pending_cr else piece
        self._pending_cr = judged.endswith(b"\r")
        if has_bare_line_end(judged[:-1] if self._pending_cr else judged):
            self.broken = True
            self._buffer = bytearray()
        else:
            self._buffer += piece

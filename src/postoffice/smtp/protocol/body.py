"""The message as it comes: dot-unstuffing for DATA, counting for BDAT, in bulk (RFC 5321 §4.5.2, RFC 3030).

Only CRLF.CRLF ends DATA. A bare CR or LF anywhere marks the body as broken: it is swallowed to its end and refused, so
that nothing we ever send on can be read as two messages by a more tolerant host. NUL and all other octets are content
and stay as they are. Bytes over the size limit are counted, not kept. Work is done by `bytes.find` and `bytes.replace`
over whole pieces, never line by line: a stuffed dot on every line costs no more than on one.
"""

from __future__ import annotations

_CRLF_DOT = b"\r\n."
_END = b"\r\n.\r\n"
_MAX_CHUNKS = 256               # small pieces are joined beyond it: a client that drips costs no more than its bytes


def has_bare_line_end(data: bytes) -> bool:
    """Whether a CR or LF stands alone. ``data`` must not end between the two."""
    # Six times as fast as counting: bytes.count of one octet is a plain loop, `in` is memchr.
    rest = data.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


class Pieces:
    """Bytes that were taken and wait to be collected."""

    __slots__ = ("_chunks", "kept")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.kept = 0                       # bytes

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.kept += len(chunk)
        if len(self._chunks) > _MAX_CHUNKS:
            self._chunks = [b"".join(self._chunks)]

    def collect(self) -> list[bytes]:
        """What was added since the last call; also the way to drop it."""
        chunks, self._chunks, self.kept = self._chunks, [], 0
        return chunks


class DataReader:
    """Takes the bytes after 354. Feed pieces; what was unstuffed and not yet collected is in ``pieces``."""

    __slots__ = ("_carry", "_limit", "_virtual", "broken", "pieces", "size", "too_large")

    def __init__(self, limit: int) -> None:
        self._limit = limit                 # 0: none
        self._carry = b"\r\n"               # as if a line had just ended: a dot may be the first byte
        self._virtual = 2                   # so many of the carried bytes are not the client's
        self.broken = False
        self.too_large = False
        self.pieces = Pieces()
        self.size = 0                       # of the message so far

    def feed(self, new: bytes, at: int = 0) -> int:
        """Take all from ``at`` on. The offset behind the end, if it was in there; else -1."""
        carry = self._carry
        data = carry + new[at:] if at else carry + new
        dot = data.find(_CRLF_DOT)          # one search serves the end and the stuffed dots
        if dot < 0:
            held = 2 if data.endswith(b"\r\n") else 1 if data.endswith(b"\r") else 0
            self._hold(data, held)
            self._take(data, len(data) - held, stuffed=False)
            return -1
        end = data.find(_END, dot)
        if end < 0:
            held = next((n for n in (4, 3, 2, 1) if data.endswith(_END[:n])), 0)
            self._hold(data, held)
            self._take(data, len(data) - held, stuffed=True)
            return -1
        self._take(data, end + 2, stuffed=dot < end)
        return at + end + len(_END) - len(carry)

    def _hold(self, data: bytes, count: int) -> None:
        """The beginning of what may become the end."""
        self._carry = data[len(data) - count:]

    def _take(self, data: bytes, end: int, *, stuffed: bool) -> None:
        """Keep ``data`` up to ``end``; it begins with the virtual CRLF as long as nothing was taken."""
        if not end:
            return
        start, self._virtual = self._virtual, 0
        if stuffed:
            chunk = data[:end].replace(_CRLF_DOT, b"\r\n")[start:]
        else:
            chunk = data[start:end]
        if not chunk:
            return
        self.size += len(chunk)
        if self.broken or self.too_large:
            return
        if has_bare_line_end(chunk):
            self.broken = True
        elif self._limit and self.size > self._limit:
            self.too_large = True
        else:
            self.pieces.add(chunk)
            return
        self.pieces.collect()


class ChunkReader:
    """The chunks of one BDAT transaction. `begin` announces a chunk, `feed` takes its bytes."""

    __slots__ = ("_limit", "_pending_cr", "broken", "left", "pieces", "size", "swallow", "too_large")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending_cr = False            # a CR ended the last piece; its LF may follow
        self.broken = False
        self.too_large = False
        self.swallow = False                # the transaction is refused: bytes are counted, not kept
        self.pieces = Pieces()
        self.left = 0
        self.size = 0

    def begin(self, size: int) -> None:
        """A chunk of ``size`` bytes follows. Its size is judged now, not when the bytes are here."""
        self.left = size
        if self._limit and self.size + size > self._limit:
            self.too_large = True
            self.pieces.collect()

    def feed(self, data: bytes, at: int = 0) -> int:
        """Take bytes of the chunk from ``at`` on; the offset of what came after it. `left` is 0 when it is whole."""
        end = min(len(data), at + self.left)
        self.left -= end - at
        self.size += end - at
        if not (self.swallow or self.broken or self.too_large):
            self._keep(data[at:end])
        return end

    def finish(self) -> None:
        """The last chunk is whole: a CR that waits for its LF waits in vain."""
        self.broken = self.broken or self._pending_cr

    def _keep(self, piece: bytes) -> None:
        judged = b"\r" + piece if self._pending_cr else piece
        self._pending_cr = judged.endswith(b"\r")
        if has_bare_line_end(judged[:-1] if self._pending_cr else judged):
            self.broken = True
            self.pieces.collect()
        else:
            self.pieces.add(piece)

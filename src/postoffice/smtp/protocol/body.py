"""The message as it comes: dot-unstuffing for DATA, counting for BDAT, in bulk (RFC 5321 §4.5.2, RFC 3030).

Only CRLF.CRLF ends DATA. A bare CR or LF anywhere marks the body as broken: it is swallowed to its end and refused, so
that nothing we ever send on can be read as two messages by a more tolerant host. Bytes over the size limit are
counted, not kept. Work is done by `find` and `replace` over whole pieces, never line by line, and small pieces are
joined: a body that drips in costs its bytes, not an object for each of them.
"""

from __future__ import annotations

_END = b"\r\n.\r\n"
_STUFFED = b"\r\n."
_CR, _LF = b"\r\n"
SMALL_BYTES = 1024              # pieces below this are joined


def has_bare_line_end(data: bytes) -> bool:
    """Whether a CR or LF stands alone. ``data`` must not end between the two."""
    # Three times as fast as counting the three kinds.
    rest = data.replace(b"\r\n", b"")
    return _LF in rest or _CR in rest


class Pieces:
    """What has come and is not collected yet: few objects, however small the pieces were."""

    __slots__ = ("_pieces", "_tail", "kept")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._tail = bytearray()
        self.kept = 0                       # bytes held

    def add(self, piece: bytes) -> None:
        self.kept += len(piece)
        if len(piece) < SMALL_BYTES:
            self._tail += piece
            return
        if self._tail:
            self._pieces.append(bytes(self._tail))
            self._tail.clear()
        self._pieces.append(piece)

    def collect(self) -> list[bytes]:
        """Everything held, which is then forgotten."""
        pieces = self._pieces
        if self._tail:
            pieces.append(bytes(self._tail))
        self.clear()
        return pieces

    def clear(self) -> None:
        if self.kept:
            self._pieces = []
            self._tail = bytearray()
            self.kept = 0


class DataReader:
    """Takes the bytes after 354. Feed pieces; `pieces` holds what was unstuffed and not yet collected."""

    __slots__ = ("_begun", "_carry", "_limit", "broken", "pieces", "size", "too_large")

    def __init__(self, limit: int) -> None:
        self._limit = limit                 # 0: none
        # As if a line had just ended: a dot may be the first byte. This CRLF is not the client's.
        self._carry = b"\r\n"
        self._begun = False                 # that CRLF has been taken out again
        self.broken = False
        self.too_large = False
        self.pieces = Pieces()
        self.size = 0                       # of the message so far

    def feed(self, new: bytes) -> bytes | None:
        """Take a piece. None: more is needed. Bytes: the end was in it, and these came after."""
        data = self._carry + new
        end = data.find(_END)
        if end >= 0:
            self._carry = b""
            self._take(data[: end + 2])
            return data[end + len(_END) :]
        # What may be the beginning of the end, or of a stuffed line, waits for the next piece.
        held = next((size for size in (4, 3, 2, 1) if data.endswith(_END[:size])), 0)
        if held < len(data):
            self._take(data[: len(data) - held])
        self._carry = data[len(data) - held :]
        return None

    def _take(self, piece: bytes) -> None:
        if _STUFFED in piece:
            piece = piece.replace(_STUFFED, b"\r\n")
        if not self._begun:
            self._begun = True
            piece = piece[2:]
        self.size += len(piece)
        if self.broken or self.too_large:
            return
        if has_bare_line_end(piece):
            self.broken = True
        elif self._limit and self.size > self._limit:
            self.too_large = True
        else:
            self.pieces.add(piece)
            return
        self.pieces.clear()


class ChunkReader:
    """The chunks of one BDAT transaction. `begin` announces a chunk, `feed` takes its bytes."""

    __slots__ = ("_limit", "_pending_cr", "broken", "left", "pieces", "size", "swallow", "too_large")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending_cr = False            # a CR ended the last piece; its LF may follow
        self.broken = False
        self.too_large = False
        self.swallow = False                # the transaction is refused: bytes are counted, not kept
        self.left = 0
        self.pieces = Pieces()
        self.size = 0

    def begin(self, size: int) -> None:
        """A chunk of ``size`` bytes follows. Its size is judged now, not when the bytes are here."""
        self.left = size
        if self._limit and self.size + size > self._limit:
            self.too_large = True
            self.pieces.clear()

    def feed(self, data: bytes, at: int = 0) -> int:
        """Take bytes of the chunk from ``at`` on; returns how many. `left` is 0 when it is whole."""
        piece = data[at : at + self.left]
        self.left -= len(piece)
        self.size += len(piece)
        if not (self.swallow or self.broken or self.too_large):
            self._keep(piece)
        return len(piece)

    def finish(self) -> None:
        """The last chunk is whole: a CR that waits for its LF waits in vain."""
        self.broken = self.broken or self._pending_cr

    def _keep(self, piece: bytes) -> None:
        judged = b"\r" + piece if self._pending_cr else piece
        self._pending_cr = judged.endswith(b"\r")
        if has_bare_line_end(judged[:-1] if self._pending_cr else judged):
            self.broken = True
            self.pieces.clear()
        else:
            self.pieces.add(piece)

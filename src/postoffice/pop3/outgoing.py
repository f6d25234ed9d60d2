"""A message on its way to a client, piece by piece: memory stays bounded whatever its size and the
client's speed."""

from __future__ import annotations

from postoffice.pop3.protocol.replies import Stuffer, find_lines_end
from postoffice.store.api import MessageReader

PIECE = 64 * 1024


class Outgoing:
    """RETR (``lines`` None) or TOP (that many lines after the header). Owns the reader; `close` it in any
    case."""

    __slots__ = ("_done", "_lines", "_offset", "_reader", "_stuffer")

    def __init__(self, reader: MessageReader, lines: int | None = None) -> None:
        self._reader = reader
        self._lines = lines
        self._offset = 0
        self._stuffer = Stuffer()
        self._done = False

    def next_piece(self) -> bytes:
        """The next bytes for the wire, dot-stuffed, the end of the reply among them; b"" after that.

        Raises OSError when the stored message is shorter than the index says.
        """
        if self._done:
            return b""
        piece = self._read()
        if piece:
            self._offset += len(piece)
            return self._stuffer.add(piece)
        if self._lines is None and self._offset != self._reader.size:
            raise OSError(f"a message ends at {self._offset} of {self._reader.size} bytes")
        self._done = True
        return self._stuffer.finish()

    def close(self) -> None:
        self._reader.close()

    def _read(self) -> bytes:
        reader, offset = self._reader, self._offset
        if self._lines is None:
            return reader.read(offset, PIECE)
        if offset < reader.header_size:
            return reader.read(offset, min(PIECE, reader.header_size - offset))
        if self._lines == 0:
            return b""
        piece = reader.read(offset, PIECE)
        end, self._lines = find_lines_end(piece, self._lines)
        return piece[:end]

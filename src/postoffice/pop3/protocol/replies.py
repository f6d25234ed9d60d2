"""How answers look on the wire: status lines, dot-stuffing, the first lines of a message for TOP.

All in bulk, never line by line. RFC 1939 §3: a multi-line reply ends with CRLF.CRLF, and a line of it that
begins with a dot gets one more. RFC 2449 §8: response codes in brackets.
"""

from __future__ import annotations

import binascii

END = b".\r\n"


def format_challenge(data: bytes) -> bytes:
    """A SASL challenge (RFC 5034 §4), encoded here."""
    return b"+ " + binascii.b2a_base64(data, newline=False) + b"\r\n"


def format_error(text: str, code: str = "") -> bytes:
    """``-ERR [code] text``; ``code`` such as "SYS/TEMP", "AUTH", "IN-USE"."""
    return f"-ERR [{code}] {text}\r\n".encode() if code else f"-ERR {text}\r\n".encode()


def stuff(data: bytes) -> bytes:
    """A whole message as it follows the status line, with its end."""
    if b"\r\n." in data:
        data = data.replace(b"\r\n.", b"\r\n..")
    if data.startswith(b"."):
        data = b"." + data
    return data + END if data.endswith(b"\r\n") or not data else data + b"\r\n" + END


class Stuffer:
    """The same, piece by piece: what is stuffed depends on the last two bytes of the piece before."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"                # the first line begins here

    def add(self, data: bytes) -> bytes:
        """The next piece as it goes out."""
        if not data:
            return data
        stuffed = data.replace(b"\r\n.", b"\r\n..") if b"\r\n." in data else data
        if self._tail == b"\r\n" and data[:1] == b".":
            stuffed = b"." + stuffed
        elif self._tail[-1:] == b"\r" and data[:2] == b"\n.":
            stuffed = b"\n." + stuffed[1:]
        self._tail = data[-2:] if len(data) > 1 else self._tail[-1:] + data
        return stuffed

    def finish(self) -> bytes:
        """What ends the reply."""
        return END if self._tail == b"\r\n" else b"\r\n" + END


def find_lines_end(data: bytes, count: int) -> tuple[int, int]:
    """Where ``count`` lines of ``data`` end, and how many are still missing when it has fewer (the end is
    its length then). A stored line ends in CRLF, so LF alone tells; a pair cut in two by pieces is no
    trouble."""
    if count <= 0:
        return 0, 0
    there = data.count(b"\n")
    if there < count:
        return len(data), count - there
    end = 0
    for _ in range(count):
        end = data.index(b"\n", end) + 1
    return end, 0

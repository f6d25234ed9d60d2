"""A message's structure, read once at arrival: `parse_message` for what is in memory, `parse_large` for a file.

Owns the walk over headers and boundaries. Invariants: never raises for any bytes; time is strictly linear in the
size; work and memory beyond the body's own bytes are bounded by the limits below, and what lies beyond a limit is
opaque and named in ``defects``; the standard library's e-mail parser is never asked. RFC 5322, RFC 2045, RFC 2046.

How it stays linear: one pass; header ends are looked for in growing windows that stop at the first delimiter, and one
search for "CR LF - -" serves all open boundaries, each candidate being looked up in a dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from postoffice.message.dates import parse_date
from postoffice.message.encodings import decode_text, decode_transfer
from postoffice.message.fields import (
    MAX_FIELDS,
    MAX_HEADER_BYTES,
    clean_text,
    decode_unstructured,
)
from postoffice.message.mailboxes import MAX_MAILBOXES, parse_mailboxes
from postoffice.message.parameters import parse_content_type, parse_disposition
from postoffice.message.parsed import PARSER_VERSION, Mailbox, ParsedEnvelope, ParsedMessage, Part
from postoffice.message.windows import Windows

MAX_DEPTH = 100
MAX_PARTS = 2_000
MAX_BOUNDARY = 998                  # an SMTP line; RFC 2046 §5.1.1 allows 70
MAX_CANDIDATES = 50_000             # lines that begin with "--" and are no delimiter
MAX_PART_HEADER = 1 << 16
MAX_REFERENCES = 100
MAX_TEXT = 4_000                    # characters of one decoded field
PREVIEW_CHARACTERS = 200

DEFECTS = {
    "header-too-long": "the header is longer than 1 MiB; the rest of it was not read",
    "header-fields": "the header has more than 2,000 fields; the rest were not read",
    "header-line": "a line of the header is no field",
    "no-blank-line": "no blank line ends the header",
    "duplicate-field": "a field that may stand once stands several times; the first was taken",
    "addresses": "an address field holds more than 2,000 addresses; the rest were not read",
    "date": "the Date field cannot be read",
    "content-type": "a Content-Type cannot be read; text/plain was assumed",
    "boundary": "a multipart has no boundary or one too long; its parts were not read",
    "boundary-end": "a multipart does not end with its closing boundary",
    "boundary-scan": "too many lines look like boundaries; the rest was not read",
    "mime-depth": "parts lie more than 100 deep; the inner ones were not read",
    "mime-parts": "the message has more than 2,000 parts; the rest were not read",
    "part-header": "a part's header is longer than 64 KiB; the rest of it was not read",
}

_ENVELOPE_NAMES = frozenset((
    b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id",
    b"references",
))
_CONTENT_NAMES = frozenset((
    b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-id", b"content-description",
    b"content-language", b"content-location", b"content-md5",
))
_RARE_NAMES = _CONTENT_NAMES - {b"content-type", b"content-transfer-encoding"}
_WANTED = _ENVELOPE_NAMES | _CONTENT_NAMES
_MESSAGE_ID = re.compile(rb"<[^<>\s\x00-\x1f\x7f]{1,900}>")
_TAG = re.compile(r"<!--.*?-->|<(script|style|title)\b.*?(?:</\1\b[^>]*>|\Z)|<[^>]*(?:>|\Z)", re.S | re.I)
_ENTITIES = {"&nbsp;": " ", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&amp;": "&"}
_NO_FIELDS: dict[bytes, bytes] = {}


class Source(Protocol):
    """What the walk needs of a message: ``bytes`` has it, `windows.Windows` gives it for a file."""

    def find(self, sub: bytes, start: int, end: int, /) -> int: ...

    def count(self, sub: bytes, start: int, end: int, /) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...


def parse_message(data: bytes) -> ParsedMessage:
    """All that is stored about a message that is in memory."""
    return _Walk(data, len(data)).parse()


def parse_large(read: Callable[[int, int], bytes], size: int) -> ParsedMessage:
    """The same for a message of ``size`` bytes in a file: ``read(offset, length)`` gives its bytes (fewer only where
    the file is shorter than it should be). Holds a window of it and its header in memory. Raises what ``read``
    raises. Blocking: about 0.3 s for 100 MB, so not on an event loop."""
    return _Walk(Windows(read, size), size).parse()


class _Delimiter:
    """Where a body ended: ``level`` of the multipart whose delimiter line begins after ``start`` (-1: the end of the
    message), and the offset of the line end after it."""

    __slots__ = ("after", "is_last", "level", "start")

    def __init__(self, level: int, start: int, after: int, is_last: bool) -> None:
        self.level = level
        self.start = start
        self.after = after
        self.is_last = is_last


class _Walk:
    """One pass over one message."""

    __slots__ = (
        "counted", "counted_to", "defects", "delimiter", "end", "html", "longest", "misses", "open", "parts", "plain",
        "received", "size", "source", "stopped",
    )

    def __init__(self, source: Source, size: int) -> None:
        self.source = source
        self.size = size
        self.defects: set[str] = set()
        self.open: dict[bytes, int] = {}        # boundary -> level of the multipart
        self.parts = 0
        self.misses = 0
        self.received = 0
        self.stopped = False
        self.longest = 0                        # of the open boundaries
        self.counted_to = 0                     # line ends are counted once, from here on
        self.counted = 0
        self.end = _Delimiter(-1, size, size, False)
        self.delimiter = self.end               # what ended the last entity
        self.plain: Part | None = None          # the first readable text parts
        self.html: Part | None = None

    def parse(self) -> ParsedMessage:
        source, size = self.source, self.size
        if source[0:2] == b"\r\n":
            body_start, block_end = 2, 0
        else:
            block_end = source.find(b"\r\n\r\n", 0, size)
            if block_end < 0:
                if size:
                    self.defects.add("no-blank-line")
                body_start = block_end = size
            else:
                body_start = block_end + 4
        if block_end > MAX_HEADER_BYTES:
            self.defects.add("header-too-long")
            block_end = MAX_HEADER_BYTES
        fields = self.read_fields(source[0:block_end], _WANTED)
        date_seconds = self.read_date(fields)
        envelope = self.build_envelope(fields)
        received = self.received
        self.counted_to = body_start
        root = self.read_entity(fields, 0, body_start, 0, b"")
        return ParsedMessage(
            PARSER_VERSION, size, body_start, envelope, root, date_seconds, _find_references(fields),
            self.build_preview(), received, sorted(self.defects) if self.defects else [],
        )

    # -- header fields

    def read_fields(self, block: bytes, wanted: frozenset[bytes]) -> dict[bytes, bytes]:
        """The first occurrence of each wanted field, unfolded. Counts Received fields."""
        if b"\r\n " in block:
            block = block.replace(b"\r\n ", b" ")
        if b"\r\n\t" in block:
            block = block.replace(b"\r\n\t", b"\t")
        lines = block.split(b"\r\n", MAX_FIELDS)
        if len(lines) > MAX_FIELDS:
            self.defects.add("header-fields")
            del lines[MAX_FIELDS:]
        fields: dict[bytes, bytes] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            name = name.lower()
            if name in wanted:
                if name in fields:
                    self.defects.add("duplicate-field")
                else:
                    fields[name] = value
            elif name == b"received":
                self.received += 1
            elif not colon:
                if line:
                    self.defects.add("header-line")
            elif name[-1:] in (b" ", b"\t"):
                # RFC 5322 §4.5: blanks before the colon.
                name = name.rstrip(b" \t")
                if name in wanted:
                    fields.setdefault(name, value)
                elif name == b"received":
                    self.received += 1
        return fields

    def read_date(self, fields: dict[bytes, bytes]) -> int | None:
        value = fields.get(b"date")
        if value is None:
            return None
        seconds = parse_date(value)
        if seconds is None:
            self.defects.add("date")
        return seconds

    def build_envelope(self, fields: dict[bytes, bytes]) -> ParsedEnvelope:
        get = fields.get
        read = self.read_mailboxes
        from_ = read(value) if (value := get(b"from")) else []
        return ParsedEnvelope(
            _read_text(value) if (value := get(b"date")) else "",
            _read_text(value) if (value := get(b"subject")) else "",
            from_,
            (read(value) if (value := get(b"sender")) else []) or from_,
            (read(value) if (value := get(b"reply-to")) else []) or from_,
            read(value) if (value := get(b"to")) else [],
            read(value) if (value := get(b"cc")) else [],
            read(value) if (value := get(b"bcc")) else [],
            _read_text(value) if (value := get(b"in-reply-to")) else "",
            _read_text(value) if (value := get(b"message-id")) else "",
        )

    def read_mailboxes(self, value: bytes) -> list[Mailbox]:
        found = parse_mailboxes(value)
        if len(found) >= MAX_MAILBOXES:
            self.defects.add("addresses")
        return found

    # -- structure

    def read_entity(
        self, fields: dict[bytes, bytes], header_start: int, body_start: int, depth: int, default: bytes,
    ) -> Part:
        """One entity whose header is read; leaves in ``self.delimiter`` what ended it."""
        part, boundary = self.build_part(fields, header_start, body_start, default)
        lines = self.count_lines(body_start)
        kind = part.type
        if kind == "multipart" and self.can_open(boundary, depth):
            self.read_parts(part, boundary, depth)
        elif kind == "message" and part.subtype in ("rfc822", "global") and self.can_enter(part.encoding, depth):
            self.read_embedded(part, depth)
        else:
            self.delimiter = self.find_delimiter(max(0, body_start - 2), self.size) if self.open else self.end
            if kind == "text" and part.disposition != "attachment":
                if part.subtype == "plain":
                    self.plain = self.plain or part
                elif part.subtype == "html":
                    self.html = self.html or part
        end = self.delimiter.start
        if end > body_start:
            part.body_end = end
            part.lines = self.count_lines(end) - lines
        return part

    def build_part(
        self, fields: dict[bytes, bytes], header_start: int, body_start: int, default: bytes,
    ) -> tuple[Part, bytes]:
        """What the fields say of an entity, its body still empty, and the boundary."""
        self.parts += 1
        get = fields.get
        content = get(b"content-type") or default
        parsed = parse_content_type(content) if content else None
        if parsed is None:
            if content:
                self.defects.add("content-type")
            kind, subtype, params, boundary = "text", "plain", {}, b""
        else:
            kind, subtype, parameters = parsed
            params, boundary = parameters.values.copy(), parameters.boundary
        encoding = _read_encoding(get(b"content-transfer-encoding"))
        if fields.keys().isdisjoint(_RARE_NAMES):
            return Part(kind, subtype, params, encoding, "", {}, "", "", "", "", "",
                        header_start, body_start, body_start, 0, []), boundary
        disposition, disposition_params = parse_disposition(get(b"content-disposition") or b"")
        return Part(
            kind, subtype, params, encoding, disposition, disposition_params, _read_text(get(b"content-id")),
            _read_text(get(b"content-description")), _read_text(get(b"content-language")),
            _read_text(get(b"content-location")), _read_text(get(b"content-md5")),
            header_start, body_start, body_start, 0, [],
        ), boundary

    def can_open(self, boundary: bytes, depth: int) -> bool:
        if not boundary or len(boundary) > MAX_BOUNDARY:
            self.defects.add("boundary")
            return False
        return self.can_enter("", depth)

    def can_enter(self, encoding: str, depth: int) -> bool:
        if depth >= MAX_DEPTH:
            self.defects.add("mime-depth")
            return False
        return encoding not in ("base64", "quoted-printable")

    def read_parts(self, part: Part, boundary: bytes, depth: int) -> None:
        level = depth
        hidden = self.open.get(boundary)
        longest = self.longest
        self.open[boundary] = level
        self.longest = max(longest, len(boundary))
        default = b"message/rfc822" if part.subtype == "digest" else b""
        delimiter = self.find_delimiter(max(0, part.body_start - 2), self.size)
        while delimiter.level == level and not delimiter.is_last:
            if self.parts >= MAX_PARTS:
                self.defects.add("mime-parts")
                self.stopped = True
                delimiter = self.end
                break
            part.parts.append(self.read_child(delimiter.after, depth + 1, default))
            delimiter = self.delimiter
        if hidden is None:
            del self.open[boundary]
        else:
            self.open[boundary] = hidden
        self.longest = longest
        if delimiter.level == level:
            # The epilogue runs to the next delimiter of a multipart around this one.
            delimiter = self.find_delimiter(delimiter.after, self.size)
        elif not self.stopped:
            self.defects.add("boundary-end")
        self.delimiter = delimiter

    def read_child(self, line_end: int, depth: int, default: bytes) -> Part:
        """The part whose delimiter line ends at ``line_end``."""
        start = min(line_end + 2, self.size)
        block_end, body_start, cut = self.find_part_header(start)
        fields = self.read_fields(self.source[start:block_end], _CONTENT_NAMES) if block_end > start else _NO_FIELDS
        return self.read_found(fields, start, body_start, depth, default, cut)

    def read_embedded(self, part: Part, depth: int) -> None:
        """The message inside message/rfc822."""
        start = part.body_start
        block_end, body_start, cut = self.find_part_header(start)
        fields = self.read_fields(self.source[start:block_end], _WANTED) if block_end > start else _NO_FIELDS
        part.envelope = self.build_envelope(fields)
        part.parts.append(self.read_found(fields, start, body_start, depth + 1, b"", cut))

    def read_found(
        self, fields: dict[bytes, bytes], start: int, body_start: int, depth: int, default: bytes,
        cut: _Delimiter | None,
    ) -> Part:
        if cut is None:
            return self.read_entity(fields, start, body_start, depth, default)
        # A delimiter inside the header: no blank line, no body.
        part, _ = self.build_part(fields, start, body_start, default)
        self.delimiter = cut
        return part

    def find_part_header(self, start: int) -> tuple[int, int, _Delimiter | None]:
        """End of the header block, start of the body, and the delimiter that cuts the header off, if one does."""
        source, size = self.source, self.size
        if source[start:start + 2] == b"\r\n":
            cut = self.find_delimiter(max(0, start - 2), start + 2)
            return (start, start, cut) if cut.level >= 0 else (start, start + 2, None)
        limit = min(size, start + MAX_PART_HEADER)
        low, step = start, 2_048
        search_from = max(0, start - 2)
        while True:
            high = min(limit, low + step)
            blank = source.find(b"\r\n\r\n", max(start, low - 3), high)
            stop = blank if blank >= 0 else high
            if blank >= 0 and source.find(b"\r\n--", search_from, blank + 4) < 0:
                return blank, blank + 4, None
            cut = self.find_delimiter(search_from, stop)
            if cut.level >= 0:
                end = max(start, cut.start)
                return end, end, cut
            if blank >= 0:
                return blank, blank + 4, None
            if high == limit:
                if limit < size:
                    self.defects.add("part-header")
                return limit, limit, None
            search_from = max(search_from, high - self.longest - 8)
            low = high
            step *= 2

    def find_delimiter(self, position: int, limit: int) -> _Delimiter:
        """The first delimiter line of any open multipart that begins in ``position``..``limit``; else the end."""
        if self.stopped or not self.open:
            return self.end
        source, size, longest = self.source, self.size, self.longest
        needle = b"\r\n--"
        if len(self.open) == 1:
            needle += next(iter(self.open))
        reach = min(size, limit + len(needle))
        while True:
            found = source.find(needle, position, reach)
            if found < 0:
                return self.end
            line = source[found + 4:found + 4 + longest + 130]
            stop = line.find(b"\r\n")
            if stop < 0:
                stop = len(line)
                is_whole = found + 4 + stop >= size
            else:
                is_whole = True
            if is_whole:
                token = line[:stop].rstrip(b" \t")
                level = self.open.get(token)
                if level is not None:
                    return _Delimiter(level, found, found + 4 + stop, False)
                if token.endswith(b"--"):
                    level = self.open.get(token[:-2].rstrip(b" \t"))
                    if level is not None:
                        return _Delimiter(level, found, found + 4 + stop, True)
            self.misses += 1
            if self.misses > MAX_CANDIDATES:
                self.defects.add("boundary-scan")
                self.stopped = True
                return self.end
            position = found + 2

    def count_lines(self, position: int) -> int:
        """Line ends before ``position``. Positions rise, but for two bytes that a header and a delimiter share."""
        if position >= self.counted_to:
            self.counted += self.source.count(b"\r\n", self.counted_to, position)
        else:
            self.counted -= self.source.count(b"\r\n", position, self.counted_to)
        self.counted_to = position
        return self.counted

    # -- preview

    def build_preview(self) -> str:
        part = self.plain or self.html
        if part is None:
            return ""
        start, size = part.body_start, part.body_end - part.body_start
        is_html = part is self.html
        # Enough in nearly every case; a text that begins with many blanks is looked at once more.
        limit = 8_192 if is_html else 1_800 if part.encoding != "7bit" else 450
        text = self.read_start(part, start, size, limit, is_html)
        if len(text) < PREVIEW_CHARACTERS and size > limit:
            text = self.read_start(part, start, size, limit * 4, is_html)
        text = text[:PREVIEW_CHARACTERS].rstrip()
        return text if text.isprintable() else clean_text(text)

    def read_start(self, part: Part, start: int, size: int, limit: int, is_html: bool) -> str:
        """The first ``limit`` bytes of a text, decoded, its blanks folded."""
        data = self.source[start:start + min(size, limit)]
        if size > limit:
            # Cut at a line's end, where no character and no escape sequence is open.
            cut = data.rfind(b"\n")
            if cut > 0:
                data = data[:cut]
        if part.encoding != "7bit":
            data = decode_transfer(data, part.encoding)
        text = decode_text(data, part.params.get("charset", ""))[0]
        if is_html:
            text = _TAG.sub(" ", text)
            for entity, char in _ENTITIES.items():
                text = text.replace(entity, char)
        return " ".join(text.split())


def _read_text(value: bytes | None) -> str:
    return decode_unstructured(value)[:MAX_TEXT] if value else ""


def _read_encoding(value: bytes | None) -> str:
    if value is None:
        return "7bit"
    word = value.strip().lower()
    if word in (b"7bit", b"8bit", b"base64", b"quoted-printable"):
        return word.decode("ascii")
    text = decode_unstructured(word).partition(";")[0].partition("(")[0].strip()[:60]
    return text if text.isascii() and text else "7bit"


def _find_references(fields: dict[bytes, bytes]) -> list[str]:
    value = fields.get(b"references") or fields.get(b"in-reply-to")
    if value is None:
        return []
    found = _MESSAGE_ID.findall(value)
    if len(found) > MAX_REFERENCES:
        # The thread's root and its latest messages.
        found = found[:1] + found[1 - MAX_REFERENCES:]
    return [item.decode("ascii", "replace") for item in found]

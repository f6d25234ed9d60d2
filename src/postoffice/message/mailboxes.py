"""Address lists of header fields (RFC 5322 §3.4, with the obsolete forms and what senders really write).

Invariants: never raises; linear time without recursion whatever is nested; at most ``limit`` mailboxes. A group is
bracketed by two entries: domain GROUP_START with the group's name as local part, and GROUP_END.
"""

from __future__ import annotations

import re

from postoffice.message.fields import clean_text, decode_raw, decode_words
from postoffice.message.parsed import GROUP_END, GROUP_START, Mailbox

MAX_MAILBOXES = 2_000

# The two forms nearly all addresses have, each followed by a comma or the end. No two neighbouring parts of the
# pattern match the same character, so a failure costs one look.
_ATOM = r'[^\s"<>(),:;\\@\[\]]+'
_PHRASE = r'[^\s"<>(),:;\\@\[\]][^"<>(),:;\\@\[\]]*'
_COMMON = re.compile(
    rf'[ \t]*(?:(?:"([^"\\]*)"[ \t]*|({_PHRASE}|))<({_ATOM})@({_ATOM})>|({_ATOM})@({_ATOM}))[ \t]*(?:,|\Z)')
_PIECE = re.compile(r'[^\s"<>(),:;\[\]@]+|"(?:[^"\\]|\\.)*(?:"|\\?\Z)|\[[^\]]*\]?|\s+|.', re.S)
_ESCAPED = re.compile(r"\\(.)", re.S)


def parse_mailboxes(value: bytes, limit: int = MAX_MAILBOXES) -> list[Mailbox]:
    """The mailboxes of an address field's value (unfolded), names decoded."""
    text = decode_raw(value)
    found: list[Mailbox] = []
    position = 0
    end = len(text)
    match_common = _COMMON.match
    while position < end:
        match = match_common(text, position)
        if match is None:
            _parse_carefully(text, position, limit, found)
            break
        quoted, phrase, local, domain, bare, bare_domain = match.groups()
        if bare is not None:
            found.append(Mailbox("", bare, bare_domain))
        else:
            name = phrase.rstrip() if quoted is None else quoted
            found.append(Mailbox(_decode_name(name) if "=?" in name else name, local, domain))
        if len(found) >= limit:
            break
        position = match.end()
    if not text.isprintable():
        found = [
            Mailbox(clean_text(box.name).strip(), clean_text(box.local), clean_text(box.domain)) for box in found
        ]
    return found


def _decode_name(raw: str) -> str:
    name = raw.strip()
    if "=?" in name:
        name = decode_words(name)
    return name if name.isprintable() else clean_text(name).strip()


class _Entry:
    """What has been read of one mailbox."""

    __slots__ = ("angle", "comment", "has_at", "has_angle", "words")

    def __init__(self) -> None:
        self.words: list[str] = []      # outside < and >
        self.angle: list[str] = []      # inside
        self.comment: list[str] = []
        self.has_angle = False
        self.has_at = False


def _parse_carefully(text: str, position: int, limit: int, found: list[Mailbox]) -> None:
    entry = _Entry()
    depth = 0
    is_angle = False
    in_group = False
    for match in _PIECE.finditer(text, position):
        piece = match[0]
        if depth:
            # Nested comments are counted, never recursed into.
            depth += (piece == "(") - (piece == ")")
            entry.comment.append(piece if depth or piece != ")" else "")
        elif piece == "(":
            depth = 1
        elif is_angle:
            if piece == ">":
                is_angle = False
            elif piece == "," and entry.angle[:1] != ["@"]:
                # A lost ">": the next mailbox begins here.
                is_angle = False
                _finish(entry, found)
                entry = _Entry()
            elif not piece.isspace():
                entry.angle.append(piece)
        elif piece == "<":
            is_angle = entry.has_angle = True
            entry.angle = []
        elif piece == ",":
            _finish(entry, found)
            entry = _Entry()
        elif piece == ":" and not in_group and not entry.has_at and not entry.has_angle:
            in_group = True
            found.append(Mailbox("", _decode_name(_join(entry.words)), GROUP_START))
            entry = _Entry()
        elif piece == ";" and in_group:
            _finish(entry, found)
            entry = _Entry()
            in_group = False
            found.append(Mailbox("", "", GROUP_END))
        else:
            entry.has_at = entry.has_at or piece == "@"
            entry.words.append(piece)
        if len(found) >= limit:
            return
    _finish(entry, found)
    if in_group:
        found.append(Mailbox("", "", GROUP_END))


def _finish(entry: _Entry, found: list[Mailbox]) -> None:
    if entry.has_angle:
        name = _decode_name(_join(entry.words))
        local, domain = _split(entry.angle)
    else:
        name = ""
        local, domain = _split([word for word in entry.words if not word.isspace()])
    if not name and entry.comment:
        name = _decode_name("".join(entry.comment))
    if name or local or domain:
        found.append(Mailbox(name, local, domain))


def _join(words: list[str]) -> str:
    return "".join(_unquote(word) for word in words)


def _unquote(word: str) -> str:
    if not word.startswith('"'):
        return word
    inner = word[1:-1] if len(word) > 1 and word.endswith('"') else word[1:]
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def _split(pieces: list[str]) -> tuple[str, str]:
    """Local part and domain of the pieces of an addr-spec; a source route ("@a,@b:") goes."""
    if pieces and pieces[0] == "@" and ":" in pieces:
        pieces = pieces[pieces.index(":") + 1:]
    # The last "@": in "a@b@c" everything before it can only be a local part.
    for index in range(len(pieces) - 1, -1, -1):
        if pieces[index] == "@":
            return clean_text(_join(pieces[:index])), clean_text(_join(pieces[index + 1:]))
    return clean_text(_join(pieces)), ""

"""Dialogues as files: what a client says and what a server answers, readable as documentation and run as tests.

A file holds lines::

    # a comment, or the section that is shown: # RFC 5321 §4.1.1.2
    # config: require_auth tls     words for whoever makes the server of this file
    C: EHLO client.test          the client sends this with CRLF; consecutive C lines go in one segment
    C| raw \\r\\n escapes          the client sends these bytes, Python escapes allowed, nothing added
    S: 250 2.1.0 Sender OK       exactly this line
    S~ 250 2\\.0\\.0 .*            a line this expression matches
    S* 250                       a whole reply (all its lines) with this code
    S= closed                    the server ends the connection

The same files run against an engine in memory and against a live socket: whatever is a `Peer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")


class Peer(Protocol):
    """A server one can talk to by bytes."""

    def send(self, data: bytes) -> None: ...

    def read_line(self) -> bytes | None:
        """The next line with its CRLF; None when the server has ended the connection."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a file. ``kind`` is one of ``C C| S S~ S* S=``."""

    line: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One file."""

    path: Path
    steps: tuple[Step, ...]
    config: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.path.stem


def read_dialogue(path: Path) -> Dialogue:
    """Read a file. Raises ValueError that names the line which is none."""
    steps = []
    config: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("# config:"):
            config += line.removeprefix("# config:").split()
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(C:|C\||S:|S~|S\*|S=) ?(.*)", line)
        if match is None:
            raise ValueError(f"{path}:{number}: not a line of a dialogue: {line!r}")
        steps.append(Step(number, match[1].rstrip(":"), match[2]))
    return Dialogue(path, tuple(steps), tuple(config))


def list_dialogues(folder: Path) -> list[Dialogue]:
    """All dialogues of a folder, by name."""
    return [read_dialogue(path) for path in sorted(folder.glob("*.txt"))]


def run_dialogue(dialogue: Dialogue, peer: Peer) -> None:
    """Hold the dialogue with a peer. Raises AssertionError that names file, line, wanted and got."""
    waiting: list[bytes] = []
    for step in dialogue.steps:
        if step.kind[0] == "C":
            raw = step.text.encode("utf-8")
            waiting.append(raw.decode("unicode_escape").encode("latin-1") if step.kind == "C|" else raw + b"\r\n")
            continue
        if waiting:
            peer.send(b"".join(waiting))
            waiting.clear()
        _expect(dialogue, step, peer)
    if waiting:
        peer.send(b"".join(waiting))


def _expect(dialogue: Dialogue, step: Step, peer: Peer) -> None:
    got = peer.read_line()
    text = "(closed)" if got is None else got.decode("utf-8", "backslashreplace")
    where = f"{dialogue.path.name}:{step.line}"
    if step.kind == "S=":
        assert got is None, f"{where}: wanted the connection to end, got {text!r}"
        return
    assert got is not None, f"{where}: wanted {step.text!r}, the connection ended"
    assert text.endswith("\r\n"), f"{where}: a line without CRLF: {text!r}"
    text = text[:-2]
    if step.kind == "S":
        assert text == step.text, f"{where}: wanted {step.text!r}, got {text!r}"
    elif step.kind == "S~":
        assert re.fullmatch(step.text, text), f"{where}: wanted /{step.text}/, got {text!r}"
    else:
        while True:
            assert text[:3] == step.text, f"{where}: wanted a reply {step.text}, got {text!r}"
            if text[3:4] != "-":
                return
            more = peer.read_line()
            assert more is not None, f"{where}: the connection ended within a reply"
            text = more.decode("utf-8", "backslashreplace")


def feed_three_ways(
    make: Callable[[], T], feed: Callable[[T, bytes], Iterable[object]], data: bytes,
) -> list[list[object]]:
    """What a parser gives when fed whole, byte by byte, and by halves at every place: all must be the same.

    ``feed`` gives the parser bytes and returns what came out. Raises AssertionError naming the split that differs."""
    results = []
    whole = list(feed(make(), data))
    for name, pieces in _list_splits(data):
        parser = make()
        got = [out for piece in pieces for out in feed(parser, piece)]
        assert got == whole, f"{name}: {got!r} instead of {whole!r}"
        results.append(got)
    return results


def _list_splits(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    yield "whole", [data]
    yield "byte by byte", [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield f"split at {i}", [data[:i], data[i:]]

"""The golden corpus: every message under tests/corpus/message says beside it what must be read out of it, and is read
the same way from memory and from a file through small windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postoffice.message.parsed import ParsedMessage, Part, pack_parsed, unpack_parsed
from postoffice.message.structured import DEFECTS, parse_large, parse_message

CORPUS = Path(__file__).parent.parent / "corpus" / "message"
FILES = sorted(CORPUS.glob("*.eml"))


def draw(part: Part) -> str:
    inner = ",".join(draw(child) for child in part.parts)
    return f"{part.type}/{part.subtype}" + (f"({inner})" if inner else "")


def flatten(part: Part) -> list[Part]:
    return [part, *(deep for child in part.parts for deep in flatten(child))]


def describe(parsed: ParsedMessage) -> dict[str, Any]:
    """Everything that an expectation may name."""
    envelope = parsed.envelope
    parts = flatten(parsed.root)
    mailboxes = {
        name: [[box.name, box.local, box.domain] for box in getattr(envelope, attribute)]
        for name, attribute in (("from", "from_"), ("to", "to"), ("cc", "cc"), ("bcc", "bcc"))
    }
    return mailboxes | {
        "subject": envelope.subject, "message_id": envelope.message_id, "date_seconds": parsed.date_seconds,
        "preview": parsed.preview, "structure": draw(parsed.root), "defects": parsed.defects,
        "lines": parsed.root.lines, "header_end": parsed.header_end, "received_count": parsed.received_count,
        "references": parsed.references,
        "filename": next((p.disposition_params["filename"] for p in parts if "filename" in p.disposition_params), None),
        "name": next((p.params["name"] for p in parts if "name" in p.params), None),
        "inner_subject": next((p.envelope.subject for p in parts if p.envelope is not None), None),
    }


def test_the_corpus_is_there() -> None:
    assert len(FILES) >= 25


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_message(path: Path) -> None:
    data = path.read_bytes()
    parsed = parse_message(data)
    found = describe(parsed)
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert {key: found[key] for key in expected} == expected
    assert set(parsed.defects) <= DEFECTS.keys()
    assert unpack_parsed(pack_parsed(parsed)) == parsed
    assert parse_large(lambda offset, length: data[offset:offset + length], len(data)) == parsed

"""Every command of docs/faq.md and docs/faq.ja.md runs as printed against a live server, and both pages have the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.system.rig import Server, find_free_ports

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parent.parent.parent / "docs"
_PORT = re.compile(r"(?<= )(?:2526|2111|8181)\b")


def read_sections(name: str) -> dict[int, list[str]]:
    """Question number -> its commands."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return {
        int(match[1]): re.findall(r"^\$ (.+)$", match[2], re.M)
        for match in re.finditer(r"^## Q(\d+)\.(.*?)(?=^## |\Z)", text, re.M | re.S)
    }


def test_both_languages_answer_all_questions_with_the_same_commands() -> None:
    english = read_sections("faq.md")
    assert sorted(english) == list(range(1, 20))
    assert english == read_sections("faq.ja.md")
    assert all(english.values())


def test_every_command_works_as_printed(server: Server) -> None:
    ports: dict[str, str] = {}
    for number, commands in read_sections("faq.md").items():
        for command in commands:
            free = _PORT.sub(lambda match: ports.setdefault(match[0], str(find_free_ports(1)[0])), command)
            done = server.run(*_words(free), check=False)
            assert done.returncode == 0, f"Q{number}: {free}\n{done.stdout}{done.stderr}"
            if free.startswith("dbedit -s"):
                key, value = _words(free)[2:]
                assert server.dbedit("-f", key).stdout == f"{key}: [{value}]\n", f"Q{number}"
    assert server.status()["processes"]


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    return words if words[0] == "dbedit" else words[1:]

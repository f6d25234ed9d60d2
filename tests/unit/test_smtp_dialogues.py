"""The dialogues of `tests/dialogues/smtp`, held with the engine in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from postoffice.smtp.protocol.commands import VERBS
from postoffice.testing.dialogues import Dialogue, list_dialogues, run_dialogue
from tests.smtp_engine import open_server

DIALOGUES = list_dialogues(Path(__file__).parent.parent / "dialogues" / "smtp")


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=str)
def test_dialogue(dialogue: Dialogue) -> None:
    server = open_server(dialogue.config)
    run_dialogue(dialogue, server)
    assert server.take_output() == b"", "the server said more than the dialogue shows"


def test_every_command_is_shown() -> None:
    assert len(DIALOGUES) >= 25
    said = {step.text.split(" ")[0].upper() for one in DIALOGUES for step in one.steps if step.kind == "C"}
    assert {verb.name for verb in VERBS} <= said


def test_a_wrong_answer_fails(tmp_path: Path) -> None:
    for number, line in enumerate(("S: 220 other.example ESMTP", "S* 221", "S~ 22[1-9] .*", "S= closed")):
        path = tmp_path / f"{number}.txt"
        path.write_text(line + "\n")
        [dialogue] = [one for one in list_dialogues(tmp_path) if one.path == path]
        with pytest.raises(AssertionError, match=path.name):
            run_dialogue(dialogue, open_server(()))

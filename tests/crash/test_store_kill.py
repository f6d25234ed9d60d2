"""Every durable step of the store is reached and the process killed there once: nothing acknowledged is lost.

Also with a second process accepting all the while, which must go on undisturbed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import postoffice
from tests.crash.acknowledged import find_losses

SOURCE = Path(postoffice.__file__).parent
CHILD = Path(__file__).with_name("store_child.py")

# Step -> the time it is taken at which the process dies.
STEPS = {
    "slot-taken": 1, "index-created": 1, "incarnation-committed": 1, "tidied": 1, "segment-created": 3,
    "segment-header-written": 3, "segment-header-synced": 3, "segment-directory-synced": 3, "rows-prepared": 9,
    "records-synced": 9, "index-committed": 9, "dead-unlinked": 2, "large-created": 2, "large-written": 2,
    "large-synced": 2, "large-directory-synced": 2, "checkpoint-passive": 2, "checkpoint-restarted": 2,
    "copy-written": 1, "copy-synced": 1, "copy-ready": 1, "old-wal-removed": 1, "copy-in-place": 1,
}
ROUNDS = 24


def start(directory: Path, step: str, nth: int, seed: int, rounds: int = ROUNDS) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, CHILD, directory, step, str(nth), str(seed), str(rounds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONPATH": str(SOURCE.parent)})


def check(directory: Path, *outputs: bytes) -> None:
    """See `find_losses`; read from what the processes told."""
    assert find_losses(directory / "mailbox", b"\n".join(outputs)) == []


def test_table_names_every_step_of_the_source() -> None:
    found = set()
    for path in (SOURCE / "store").glob("*.py"):
        found |= set(re.findall(r'\.step\("([a-z-]+)"\)', path.read_text()))
    assert found == set(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_nothing_acknowledged_is_lost(tmp_path: Path, step: str) -> None:
    child = start(tmp_path, step, STEPS[step], 0)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == -9, (output[-300:], errors[-2000:])
    # Killed once more while recovering from it, at the same step where a start takes it.
    again = start(tmp_path, step, 1, 1, rounds=2)
    more, errors = again.communicate(timeout=60)
    assert again.returncode in (0, -9), errors[-2000:]
    check(tmp_path, output, more)


@pytest.mark.slow
@pytest.mark.parametrize("step", [
    "records-synced", "rows-prepared", "index-committed", "segment-created", "dead-unlinked", "checkpoint-passive",
    "large-synced", "copy-written", "copy-ready", "copy-in-place", "slot-taken", "tidied"])
def test_killed_while_another_process_keeps_accepting(tmp_path: Path, step: str) -> None:
    other = start(tmp_path, "none", 1, 1, rounds=80)
    assert other.stdout is not None
    opened = other.stdout.readline()
    assert opened == b"open\n"
    child = start(tmp_path, step, STEPS[step], 0)
    output, errors = child.communicate(timeout=60)
    if step == "tidied":
        assert child.returncode == 0, errors[-2000:]        # not alone: it must not tidy
    else:
        assert child.returncode == -9, (output[-300:], errors[-2000:])
    rest, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors[-2000:]
    assert rest.endswith(b"closed\n")
    check(tmp_path, output, rest)

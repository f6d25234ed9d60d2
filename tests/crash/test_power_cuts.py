"""Power cuts, simulated: two processes at work, the disk given back at 200 points, nothing acknowledged is lost.

And the simulator is proved: with each mistake planted it reports a loss.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import postoffice
from postoffice.testing.disk import RecordedDisk, build_environment, build_recorder, list_present, read_log
from postoffice.testing.faults import MISTAKES
from tests.crash.acknowledged import find_losses

CHILD = Path(__file__).with_name("store_child.py")
SOURCE = Path(postoffice.__file__).parent.parent
CUTS = 200


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


def record(recorder: Path, directory: Path, mistake: str = "", processes: int = 2, rounds: int = 20) -> RecordedDisk:
    """Run the work in some processes; all that they asked of the disk."""
    directory.mkdir(exist_ok=True)
    present = list_present(directory)
    log = directory.with_name(directory.name + ".log")
    environment = build_environment(recorder, directory, log) | {"PYTHONPATH": str(SOURCE)}
    children = [
        subprocess.Popen(
            [sys.executable, CHILD, directory, "none", "1", str(seed), str(rounds), *([mistake] if mistake else [])],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for seed in range(processes)]
    for child in children:
        _, errors = child.communicate(timeout=100)
        assert child.returncode == 0, errors[-2000:]
    return RecordedDisk(present + read_log(log), directory)


def cut(disk: RecordedDisk, number: int, place: Path, before: bytes = b"", start: int = 0) -> list[str]:
    """One cut, decided by its number; what was lost of what was told ``before`` and since."""
    chance = random.Random(number)
    point = chance.randrange(start, len(disk.entries) + 1)
    target = place / f"cut-{number}"
    disk.give_back(point, target, chance)
    mailbox = target / "mailbox"
    mailbox.mkdir(exist_ok=True)
    losses = find_losses(mailbox, before + disk.read_written("acknowledged", point))
    shutil.rmtree(target)
    return losses


@pytest.mark.slow
def test_no_cut_loses_what_was_acknowledged(recorder: Path, tmp_path: Path) -> None:
    disk = record(recorder, tmp_path / "run")
    assert len(disk.read_written("acknowledged", len(disk.entries)).splitlines()) > 150
    cuts = int(os.environ.get("POWER_CUTS", CUTS))
    bad = {number: losses for number in range(cuts) if (losses := cut(disk, number, tmp_path))}
    assert bad == {}


@pytest.mark.slow
def test_no_cut_while_recovering_from_a_cut_loses_anything(recorder: Path, tmp_path: Path) -> None:
    disk = record(recorder, tmp_path / "run")
    for number in range(8):
        chance = random.Random(1_000 + number)
        point = chance.randrange(len(disk.entries) + 1)
        again = tmp_path / f"again-{number}"
        disk.give_back(point, again, chance)
        (again / "acknowledged").unlink(missing_ok=True)
        before = disk.read_written("acknowledged", point)
        present = len(list_present(again))
        second = record(recorder, again, processes=1, rounds=4)
        bad = {n: losses for n in range(25) if (losses := cut(second, n, tmp_path, before, present))}
        assert bad == {}, number


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_is_noticed(recorder: Path, tmp_path: Path, mistake: str) -> None:
    for run in range(5):
        disk = record(recorder, tmp_path / f"run{run}", mistake)
        for number in range(CUTS):
            losses = cut(disk, number + run * CUTS, tmp_path)
            if losses:
                return
    pytest.fail("no cut showed a loss")

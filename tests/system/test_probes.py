"""Every live key is obeyed by a running server, seen from outside; a key without a probe fails the suite.

$PROBE_WORKERS: with how many workers (default 1; 0: everything in one process)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from postoffice.catalog import build_registry
from postoffice.config.keys import Applies
from tests.system.probes import NO_PROBE_NEEDED, PROBES
from tests.system.rig import Server

pytestmark = pytest.mark.slow


def test_every_live_key_has_a_probe() -> None:
    live = {key.path for key in build_registry() if key.applies is Applies.LIVE}
    assert sorted(live - set(PROBES) - NO_PROBE_NEEDED) == []
    assert sorted((set(PROBES) | NO_PROBE_NEEDED) - live) == [], "probes of keys that are not there"


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("probes"), workers=int(os.environ.get("PROBE_WORKERS", "1")))
    server.set_up()
    server.start()
    yield server
    server.stop()
    server.verify()


@pytest.mark.parametrize("path", sorted(PROBES))
def test_the_running_server_obeys(probed: Server, path: str) -> None:
    PROBES[path](probed)

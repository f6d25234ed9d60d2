"""The real server for system tests: in a spool of its own, verified after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.rig import Server


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Server]:
    """Set up, not started; whatever a test starts is stopped."""
    server = Server(tmp_path)
    server.set_up()
    yield server
    server.stop()


@pytest.fixture
def server(installation: Server) -> Iterator[Server]:
    """A running server with the accounts yamada and suzuki; its store must be whole at the end."""
    installation.start()
    yield installation
    installation.stop()
    installation.verify()

"""A directory in a temporary database, with settings that a test can change."""

from __future__ import annotations

from pathlib import Path

from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.directory.model import Account, NewAccount
from postoffice.directory.sqlite import SqliteDirectory

HOST, DOMAIN = "mail.example.test", "example.test"
REGISTRY = build_registry()


class Settings:
    """What `SavedSettings.current` gives, in memory."""

    def __init__(self, **texts: str) -> None:
        self.texts = {"Dispatch/Config/HostName": HOST, "SMTP-Router/Config/LocalMailDomains": DOMAIN,
                      "Account-Manager/Config/StoreSCRAM": "no"}
        self._generation = 0
        self.change(texts)

    def change(self, texts: dict[str, str]) -> None:
        self.texts |= texts
        self._generation += 1
        self._snapshot = Snapshot.of(REGISTRY, self.texts, self._generation)

    def current(self) -> Snapshot:
        return self._snapshot


def open_directory(folder: Path, settings: Settings) -> SqliteDirectory:
    """A directory with its reserved accounts."""
    directory = SqliteDirectory.open(folder / "office.db", settings)
    directory.ensure_reserved()
    return directory


def add(directory: SqliteDirectory, local: str = "yamada", **more: object) -> Account:
    """An account ``local@example.test``."""
    return directory.add(NewAccount(local.title(), f"{local}@{DOMAIN}", **more))      # type: ignore[arg-type]

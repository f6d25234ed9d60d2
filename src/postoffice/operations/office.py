"""The office an administrator works on: the spool with its settings and directory, whether a server runs or not.

Owns: which spool is meant, who may work on it, and telling a running server that something changed. Commands work on
the databases themselves; what only running processes can say goes over the control socket (`running`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from postoffice.base.errors import PostOfficeError
from postoffice.operations import running
from postoffice.operations.caller import become_owner

if TYPE_CHECKING:
    from postoffice.config.saved import SavedSettings
    from postoffice.directory.sqlite import SqliteDirectory

SPOOL_VARIABLE = "PostOffice"
CONFIGURATION_FILE = Path("/etc/post.office.conf")
DATABASE = Path("config/office.db")


def find_spool(option: str | Path | None = None) -> Path:
    """The spool that ``--spool``, ``$PostOffice`` or /etc/post.office.conf names, in this order, as an absolute path.

    Raises PostOfficeError when none does."""
    if option:
        return Path(option).absolute()
    if named := os.environ.get(SPOOL_VARIABLE):
        return Path(named).absolute()
    if named := read_configuration_file().get(SPOOL_VARIABLE.lower()):
        return Path(named)
    raise PostOfficeError(
        "No spool directory is named.",
        f"Name it with --spool or the environment variable {SPOOL_VARIABLE}, or run: postoffice setup")


def read_configuration_file(path: Path = CONFIGURATION_FILE) -> dict[str, str]:
    """The lines ``Name=value`` of the bootstrap file, names in lower case; empty when there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise PostOfficeError(f"{path} cannot be read: {error.strerror}.") from None
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip().lower(): value.strip() for name, _equals, value in pairs}


def is_set_up(spool: Path) -> bool:
    """Whether `postoffice setup` has been here. Raises PostOfficeError when the caller may not look."""
    try:
        return (spool / DATABASE).exists()
    except PermissionError:
        raise PostOfficeError(f"You may not look into the spool {spool}.",
                              "Run the command as its owner or as root.") from None


class Office:
    """An opened spool. Databases open at first use."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self._settings: SavedSettings | None = None
        self._directory: SqliteDirectory | None = None

    @property
    def settings(self) -> SavedSettings:
        if self._settings is None:
            from postoffice.catalog import build_registry
            from postoffice.config.saved import SavedSettings
            self._settings = SavedSettings(self.spool / DATABASE, build_registry())
        return self._settings

    @property
    def directory(self) -> SqliteDirectory:
        if self._directory is None:
            from postoffice.directory.sqlite import SqliteDirectory
            self._directory = SqliteDirectory(self.spool / DATABASE, self.settings.current)
        return self._directory

    def is_running(self) -> bool:
        return running.is_running(self.spool)

    def notify(self) -> None:
        """Return when every process of the running server obeys what is in the databases now; at once when none runs.

        Raises PostOfficeError naming the process that does not, or the port that could not be opened."""
        if not self.is_running():
            return
        running.ask(self.spool, "applied", settings=self.settings.current().generation,
                    directory=self.directory.get_generation())

    def check_ports(self, key: str, value: str) -> None:
        """Whether the ports of a changed ports key could be opened now; a running server keeps them for the change.

        Raises PostOfficeError naming key and address. Without a running server only the form is known to be right: the
        ports are tried when it starts."""
        if self.is_running():
            running.ask(self.spool, "check-ports", key=key, value=value)

    def check_ports_if_any(self, key: str, value: str) -> None:
        """`check_ports` for a key that opens ports; nothing for others."""
        if key.endswith(("Socket", "ListenAddresses")):
            self.check_ports(key, value)

    def close(self) -> None:
        """Close what has been opened. Idempotent."""
        if self._directory is not None:
            self._directory.close()
        if self._settings is not None:
            self._settings.close()
        self._directory = self._settings = None


def open_office(spool: Path) -> Office:
    """Open a spool that has been set up, as its owner. Raises PostOfficeError otherwise."""
    if not is_set_up(spool):
        raise PostOfficeError(f"{spool} has not been set up.", f"Run: postoffice setup --spool {spool}")
    become_owner(spool)
    return Office(spool)

"""Verifying the store: does every message that the index names lie where it says, and nothing else?

Reads, changes nothing; works beside a running server.
"""

from __future__ import annotations

from pathlib import Path

from postoffice.operations.office import Office
from postoffice.settings import dispatch
from postoffice.store.verify import verify

_MAILBOX = "mailbox"                    # in the spool, unless the settings name another place


def find_mailbox_directory(office: Office) -> Path:
    """Where mail lies."""
    named = office.settings.current()[dispatch.MAILBOX_DIR]
    return Path(named) if named else office.spool / _MAILBOX


def verify_store(office: Office) -> list[str]:
    """The differences between index, segments and large files, one sentence each."""
    return verify(find_mailbox_directory(office))

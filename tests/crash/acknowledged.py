"""What was acknowledged against what is there after a crash: the judge of the kill and power-cut tests."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postoffice.base.errors import TemporaryError
from postoffice.store.embedded import EmbeddedStore
from postoffice.store.model import Placement
from postoffice.store.verify import verify
from postoffice.testing.store_contract import build_arrival

ACCOUNTS = (100, 101)
_NEW_ID = 1 << 62


def find_losses(mailbox: Path, told: bytes) -> list[str]:
    """Open the store as a next start would, take one more message, and say what is missing or does not agree.

    ``told`` are the lines of `store_child`. An acknowledged message must be there with its UID unless its removal was
    asked for; nothing acknowledged may be given away again: UIDs, commit numbers, message ids.
    """
    uids: dict[int, tuple[int, int]] = {}
    removed = set()
    commit = 0
    for line in told.decode().splitlines():
        if line.startswith("+"):
            message, account, uid, number = map(int, line[1:].split())
            uids[message] = account, uid
            commit = max(commit, number)
        elif line.startswith("-"):
            removed.add(int(line[1:]))
    try:
        return asyncio.run(_reopen(mailbox, uids, removed, commit)) + verify(mailbox)
    except Exception as error:      # noqa: BLE001 - whatever a planted mistake breaks is a finding
        return [f"{type(error).__name__}: {error}"]


async def _reopen(
    mailbox: Path, uids: dict[int, tuple[int, int]], removed: set[int], commit: int,
) -> list[str]:
    store = EmbeddedStore.open(mailbox)
    losses = []
    try:
        if store.last_message_id() < max(uids, default=0):
            losses.append("the last message id went back")
        present: dict[int, tuple[int, int]] = {}
        for account in ACCOUNTS:
            for folder in store.list_folders(account):
                for item in store.list_items(folder.id):
                    present[item.message_id] = account, item.uid
                    losses += _read(store, folder.id, item.uid)
        for message, place in uids.items():
            if message not in present and message not in removed:
                losses.append(f"message {message} is lost")
            elif message in present and present[message] != place:
                losses.append(f"message {message} was promised as {place} and is {present[message]}")
        more = await store.submit(build_arrival(_NEW_ID, *(Placement(account) for account in ACCOUNTS)))
        for account, uid in zip(ACCOUNTS, more.uids, strict=True):
            if uid <= max((u for a, u in uids.values() if a == account), default=0):
                losses.append(f"UID {uid} of account {account} is used again")
        if more.commit <= commit:
            losses.append(f"the commit number {more.commit} is used again")
    finally:
        await store.close()
    return losses


def _read(store: EmbeddedStore, folder: int, uid: int) -> list[str]:
    try:
        reader = store.open_message(folder, uid)
        assert reader is not None
        try:
            reader.read(0, reader.size)
        finally:
            reader.close()
    except (OSError, TemporaryError) as error:
        return [f"UID {uid} of folder {folder} cannot be read: {error}"]
    return []

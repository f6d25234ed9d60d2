"""Every store keeps the rules of `store.api`."""

from pathlib import Path

from postoffice.store.embedded import EmbeddedStore, StoreOptions
from postoffice.store.memory import MemoryStore
from postoffice.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    def open_store(self, directory: Path) -> MemoryStore:
        return MemoryStore()


class TestEmbeddedStore(StoreContract):
    def open_store(self, directory: Path) -> EmbeddedStore:
        return EmbeddedStore.open(directory / "mailbox")


class TestEmbeddedStoreWithSmallSegments(StoreContract):
    """Every batch rolls the segment and every few frames a checkpoint runs."""

    def open_store(self, directory: Path) -> EmbeddedStore:
        return EmbeddedStore.open(
            directory / "mailbox", options=StoreOptions(segment_size=100, checkpoint_frames=10))

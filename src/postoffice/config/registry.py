"""All keys of a server, and snapshots of their values.

A `Snapshot` is immutable and typed: ``snapshot[KEY]``. Sessions take a new one at each transaction."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from postoffice.base.errors import InputError
from postoffice.config.keys import Key

T = TypeVar("T")


class Registry:
    """The keys by path; paths match without regard to case. Raises ValueError for a path declared twice."""

    def __init__(self, keys: Iterable[Key[Any]]) -> None:
        self._keys: dict[str, Key[Any]] = {}
        for key in keys:
            if key.path.lower() in self._keys:
                raise ValueError(f"{key.path} is declared twice")
            self._keys[key.path.lower()] = key
        self.defaults: dict[Key[Any], Any] = {key: key.parse(key.default) for key in self._keys.values()}

    def __iter__(self) -> Iterator[Key[Any]]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, path: str) -> Key[Any] | None:
        return self._keys.get(path.strip().lower())

    def get(self, path: str) -> Key[Any]:
        """The key of a path. Raises InputError that names near ones when there is none."""
        key = self.find(path)
        if key is None:
            near = difflib.get_close_matches(path.strip().lower(), self._keys, 3, 0.6)
            hint = " or ".join(self._keys[one].path for one in near)
            raise InputError(path, "there is no such key.",
                             f"Did you mean {hint}?" if hint else "List all keys with: dbedit -l")
        return key

    def list_below(self, prefix: str) -> list[Key[Any]]:
        """The keys whose path begins with a prefix, in the order of their paths."""
        low = prefix.strip().lower()
        found = (key for path, key in self._keys.items() if path.startswith(low))
        return sorted(found, key=lambda key: key.path.lower())


class Snapshot:
    """The values of all keys at one moment. ``texts`` are the saved ones, by key;
    ``generation`` rises with each change."""

    __slots__ = ("_values", "generation", "texts")

    def __init__(self, registry: Registry, texts: Mapping[Key[Any], str], generation: int = 0) -> None:
        self._values = dict(registry.defaults)
        for key, text in texts.items():
            self._values[key] = key.parse(text)
        self.texts = dict(texts)
        self.generation = generation

    @classmethod
    def of(cls, registry: Registry, texts: Mapping[str, str], generation: int = 1) -> Snapshot:
        """Defaults with some values by path. Raises InputError or ValueError for an unknown key or bad value."""
        return cls(registry, {registry.get(path): text for path, text in texts.items()}, generation)

    def __getitem__(self, key: Key[T]) -> T:
        value: T = self._values[key]
        return value

    def get_text(self, key: Key[Any]) -> str:
        """The value as it is written: as saved, or the default."""
        return self.texts.get(key, key.default)

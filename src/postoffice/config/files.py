"""Settings as a TOML file: export, difference, apply. An export read back and exported again is the same, byte for byte.

Keys stand below their module, ``[SMTP-Accept.Config]`` then ``Socket = "25"``; values are the texts that `dbedit`
takes. Only saved values are exported unless all are asked for; secrets never are."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from postoffice.base.errors import InputError
from postoffice.config.keys import Key
from postoffice.config.registry import Registry, Snapshot

HEAD = "# Post.Office settings. Apply with: postoffice config apply FILE\n"


def export_settings(registry: Registry, snapshot: Snapshot, *, everything: bool = False) -> str:
    """The saved settings (with ``everything`` also those that have their default) as TOML."""
    lines = [HEAD]
    section = ""
    for key in registry.list_below(""):
        if key.secret or (key not in snapshot.texts and not everything):
            continue
        module, *middle, name = key.path.split("/")
        this = ".".join(_quote_key(part) for part in (module, *middle))
        if this != section:
            lines.append(f"\n[{this}]\n")
            section = this
        lines.append(f"{_quote_key(name)} = {_quote(snapshot.get_text(key))}\n")
    return "".join(lines)


def read_settings(registry: Registry, text: str) -> dict[Key[Any], str]:
    """The values of a TOML file by key. Raises InputError naming the key (or the line) that is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError("file", f"it is not TOML: {error}.") from None
    return {registry.get(path): value for path, value in _flatten(data, "")}


def compare(snapshot: Snapshot, wanted: Mapping[Key[Any], str]) -> list[tuple[Key[Any], str, str]]:
    """(key, text now, text in the file) of every key whose value differs."""
    return [(key, snapshot.get_text(key), text) for key, text in wanted.items() if snapshot.get_text(key) != text]


def _flatten(data: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in data.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            found += _flatten(value, path + "/")
        elif isinstance(value, bool):
            found.append((path, "yes" if value else "no"))
        elif isinstance(value, str | int):
            found.append((path, str(value)))
        elif isinstance(value, list) and all(isinstance(one, str | int) and not isinstance(one, bool) for one in value):
            found.append((path, " ".join(map(str, value))))
        else:
            raise InputError(path, "a value is a text, a number, true, false, or a list of texts.")
    return found


def _quote_key(name: str) -> str:
    return name if all(char.isascii() and (char.isalnum() or char in "-_") for char in name) else _quote(name)


def _quote(text: str) -> str:
    out = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if ord(char) >= 32 and ord(char) != 127 else f"\\u{ord(char):04X}" for char in out) + '"'

"""Settings as a TOML file: export, difference, apply. An export read back and exported again is the same, byte for
byte.

Keys stand below their module, ``[SMTP-Accept.Config]`` then ``Socket = "25"``; values are the texts that `dbedit`
takes. Only saved values are exported unless all are asked for; secrets never are, and what data has to move with
(a directory of this machine) stands there as a comment, so that the file can be applied elsewhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from postoffice.base.errors import InputError
from postoffice.config.keys import Applies, Key
from postoffice.config.registry import Registry, Snapshot

HEAD = "# Post.Office settings. Apply with: postoffice config apply FILE\n"


def list_values(registry: Registry, snapshot: Snapshot, *, everything: bool = False) -> dict[str, str]:
    """Texts by path, in the order of paths: the saved values (with ``everything`` all), without secrets."""
    return {key.path: snapshot.get_text(key) for key in registry.list_below("")
            if not key.secret and (everything or key in snapshot.texts)}


def export_settings(registry: Registry, snapshot: Snapshot, *, everything: bool = False) -> str:
    """The saved settings (with ``everything`` also those that have their default) as TOML."""
    lines = [HEAD]
    section = ""
    for path, text in list_values(registry, snapshot, everything=everything).items():
        module, *middle, name = path.split("/")
        this = ".".join(_quote_key(part) for part in (module, *middle))
        if this != section:
            lines.append(f"\n[{this}]\n")
            section = this
        key = registry.get(path)
        line = f"{_quote_key(name)} = {_quote(text)}"
        lines.append(f"# {line}  # {key.operation}\n" if key.applies is Applies.PLAN else f"{line}\n")
    return "".join(lines)


def read_settings(registry: Registry, text: str | bytes) -> dict[Key[Any], str]:
    """The values of a TOML file by key, in their canonical spelling.

    Raises InputError naming the key (or the line) that is wrong, or the key that stands there twice."""
    try:
        data = tomllib.loads(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError("file", "it is not UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError("file", f"it is not TOML: {error}.") from None
    found: dict[Key[Any], str] = {}
    for path, value in _flatten(data, ""):
        key = registry.get(path)
        if key in found:
            raise InputError(key.path, "it stands in the file twice.")
        try:
            found[key] = key.tidy(value)
        except ValueError as error:
            raise InputError(key.path, f"the value [{value}] is not possible: {error}.") from None
    return found


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

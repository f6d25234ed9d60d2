"""Windows registry files (.reg), in which the original kept its settings: read, and written.

Settings lie below ``HKEY_LOCAL_MACHINE\\SOFTWARE\\[Wow6432Node\\]Software.com\\Post.Office``, a registry key per module
and section, string values. regedit writes "Windows Registry Editor Version 5.00" in UTF-16; the older REGEDIT4 is in
the code page of the machine, cp932 in Japan. Everything else in a file is none of our business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from postoffice.base.errors import InputError
from postoffice.config.keys import Applies, Key
from postoffice.config.registry import Registry

HEADER = "Windows Registry Editor Version 5.00"
_ROOT = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Software.com\\Post.Office"
_HEADERS = (HEADER, "REGEDIT4")
_SECTION = re.compile(
    r"\[(?:HKEY_LOCAL_MACHINE|HKLM)\\SOFTWARE\\(?:Wow6432Node\\)?Software\.com\\Post\.Office(?:\\(?P<path>[^\]]+))?\]",
    re.I)
_VALUE = re.compile(r'"(?P<name>(?:[^"\\]|\\.)+)"\s*=\s*(?P<data>.*)', re.S)
_TEXT = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"')
_NUMBER = re.compile(r"dword:(?P<number>[0-9a-f]{8})", re.I)


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds for us: values by key, canonical; and by path what is passed over, with the reason."""

    values: dict[Key[Any], str]
    passed_over: dict[str, str]


def read_registry_file(registry: Registry, data: bytes) -> Found:
    """The settings in a .reg file. Raises InputError when it is none, or holds nothing of Post.Office."""
    found = Found({}, {})
    seen = False
    for path, text in _list_values(_decode(data)):
        seen = True
        key = registry.find(path)
        if key is None:
            found.passed_over[path] = "this server has no such key"
        elif text is None:
            found.passed_over[path] = "its value is no text"
        elif key.applies is Applies.PLAN:
            found.passed_over[path] = f"set here by: {key.operation}"
        else:
            try:
                found.values[key] = key.tidy(text)
            except ValueError as error:
                found.passed_over[path] = f"[{text}] is not possible: {error}"
    if not seen:
        raise InputError("file", r"it holds no value below SOFTWARE\Software.com\Post.Office.",
                         "Export that branch with regedit.")
    return found


def export_registry_file(values: Mapping[str, str]) -> str:
    """Values by path as the text of a .reg file (CRLF), in their order. Save it as UTF-16 for regedit."""
    lines = [HEADER]
    section = ""
    for path, text in values.items():
        *middle, name = path.split("/")
        this = "\\".join((_ROOT, *middle))
        if this != section:
            lines += ["", f"[{this}]"]
            section = this
        lines.append(f'"{_escape(name)}"="{_escape(text)}"')
    return "\r\n".join([*lines, ""])


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif data[1:2] == b"\0":
        encodings = ["utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp932"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text.lstrip().startswith(_HEADERS):
            return text
        break
    raise InputError("file", "it is no registry file (.reg).", "Export the branch of Post.Office with regedit.")


def _list_values(text: str) -> Iterator[tuple[str, str | None]]:
    """(path, text) of every value below Post.Office; None for data that is neither a string nor a number."""
    section: str | None = None
    for line in re.sub(r"\\\r?\n\s*", "", text).split("\n"):      # long data goes on after a backslash
        line = line.strip()
        if line.startswith("["):
            match = _SECTION.fullmatch(line)
            section = (match["path"] or "").replace("\\", "/") if match else None
        elif section is not None and (value := _VALUE.fullmatch(line)):
            name = _unescape(value["name"])
            yield (f"{section}/{name}" if section else name), _read_data(value["data"])


def _read_data(data: str) -> str | None:
    if text := _TEXT.fullmatch(data):
        return _unescape(text["text"])
    if number := _NUMBER.fullmatch(data):
        return str(int(number["number"], 16))
    return None


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)

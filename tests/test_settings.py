"""Every key of the server keeps the promises of a declaration."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from postoffice import settings
from postoffice.catalog import build_registry
from postoffice.config.keys import Applies, Key
from postoffice.config.manual import build_settings_page
from postoffice.config.registry import Registry
from postoffice.settings.dispatch import SPOOL

REGISTRY = build_registry()
KEYS = REGISTRY.list_below("")
MANUAL = build_settings_page(REGISTRY)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_a_key_is_declared_whole(key: Key[object]) -> None:
    value = key.parse(key.default)
    assert key.parse(key.format(value)) == value
    assert len(key.path.split("/")) >= 3
    assert key.doc.endswith(".") and len(key.doc) > 10
    assert key.ja.endswith(("。", ")")) and not key.ja.isascii()
    assert key.kind.name
    assert (key.applies is Applies.PLAN) == bool(key.operation)
    assert f"### `{key.path}`" in MANUAL
    with pytest.raises(ValueError, match=r".+"):
        key.parse("\x00 no value of any kind \n(")


def test_a_constant_is_called_as_its_key() -> None:
    """SMTP-Accept/Config/AllowVRFY is settings.smtp_accept.ALLOW_VRFY, and every constant stands in its module's KEYS."""
    for file in sorted(Path(settings.__file__).parent.glob("[a-z]*.py")):
        module = import_module(f"postoffice.settings.{file.stem}")
        constants = {name: value for name, value in vars(module).items() if isinstance(value, Key)}
        assert set(constants.values()) == set(module.KEYS)
        for name, key in constants.items():
            assert key.module.lower().replace("-", "_") == file.stem
            assert name.replace("_", "") == key.name.upper() or key is SPOOL
            assert REGISTRY.find(key.path) is key


def test_a_path_cannot_be_declared_twice() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        Registry([SPOOL, replace(SPOOL, path=SPOOL.path.upper())])


def test_paths_match_without_regard_to_case() -> None:
    assert REGISTRY.get("smtp-accept/CONFIG/socket").path == "SMTP-Accept/Config/Socket"


def test_what_the_original_had_and_we_change_is_said() -> None:
    for path in ("SMTP-Accept/Config/AllowVRFY", "SMTP-Accept/Config/AllowEXPN", "SMTP-Accept/Config/VerifyRcpts",
                 "SMTP-Accept/Config/TimeoutCommand"):
        key = REGISTRY.get(path)
        assert key.departure and key.departure in MANUAL


@pytest.mark.parametrize("name", ["AllowETRN", "AllowONEX", "AllowVERB"])
def test_features_that_are_not_there_accept_only_no(name: str) -> None:
    key = REGISTRY.get(f"SMTP-Accept/Config/{name}")
    assert key.parse("no") is False
    with pytest.raises(ValueError, match="only no"):
        key.parse("yes")


def test_the_manual_on_disk_is_this_one() -> None:
    assert (Path(__file__).parent.parent / "docs" / "settings.md").read_text(encoding="utf-8") == MANUAL

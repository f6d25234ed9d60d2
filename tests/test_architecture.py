"""The architecture is held by a test, and the test is held by planted breaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import check_source, check_tree

ROOT = Path(__file__).parent.parent / "src" / "postoffice"


def test_the_source_keeps_layers_purity_and_owners() -> None:
    assert [str(breach) for breach in check_tree(ROOT)] == []


@pytest.mark.parametrize(
    ("file", "text", "rule"),
    [
        ("store/x.py", '"""x"""\nfrom postoffice.smtp import session\n', "layer"),
        ("store/x.py", '"""x"""\nimport postoffice.web.pages\n', "layer"),
        ("smtp/x.py", '"""x"""\nfrom postoffice import pop3\n', "layer"),
        ("base/x.py", '"""x"""\ndef f():\n    from postoffice.config.keys import Key\n', "layer"),
        ("smtp/protocol/x.py", '"""x"""\nimport time\n', "purity"),
        ("message/x.py", '"""x"""\nfrom os import path\n', "purity"),
        ("config/keys.py", '"""x"""\nimport logging\n', "purity"),
        ("smtp/x.py", '"""x"""\nQ = "SELECT a FROM b WHERE c"\n', "owner"),
        ("queue/x.py", '"""x"""\nQ = "INSERT OR IGNORE INTO b VALUES(1)"\n', "owner"),
        ("smtp/x.py", '"""x"""\ndef f(loop):\n    loop.create_task(g())\n', "owner"),
        ("store/x.py", '"""x"""\nimport os\nos.replace("a", "b")\n', "owner"),
        ("smtp/utils.py", '"""x"""\n', "name"),
        ("smtp/x.py", "A = 1\n", "docstring"),
        ("smtp/x.py", '"""x"""\ntry:\n    f()\nexcept:\n    g()\n', "except"),
    ],
)
def test_a_planted_breach_is_found(file: str, text: str, rule: str) -> None:
    assert rule in {breach.rule for breach in check_source(file, text)}


def test_what_is_allowed_passes() -> None:
    text = '"""x: SELECT a FROM b"""\nfrom postoffice.base.errors import InputError\nfrom postoffice.store.api import Store\n'
    assert check_source("smtp/x.py", text) == []

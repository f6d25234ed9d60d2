"""The checker behind test_architecture: reads the source as text (ast) and names every breach of the layers, the purity
lines, the single owners and the forbidden names. Small on purpose; it runs nothing of what it reads."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

LAYERS: dict[str, int] = {
    "base": 0, "message": 0, "sasl": 0,
    "config": 1, "settings": 1, "dns": 1, "tls": 1,
    "directory": 2, "store": 2, "trace": 2, "senderauth": 2,
    "policy": 3, "queue": 3,
    "smtp": 4, "pop3": 4, "imap": 4, "ldap": 4, "finger": 4, "password": 4, "lists": 4, "delivery": 4,
    "operations": 5,
    "web": 6, "cli": 6,
    "app": 7, "catalog": 7, "dispatch": 7, "__main__": 7,
    "testing": 8,                       # shipped fakes: may import anything, nothing imports them
}

# Inside a row (or upwards) only what stands here: importer -> imported.
ALLOWED: set[tuple[str, str]] = {
    ("settings", "config"),
    ("tls", "settings"), ("tls", "config"),
    ("queue", "policy"),
    ("delivery", "smtp"),
    ("sasl", "base"), ("message", "base"), ("sasl", "message"),
    ("app", "dispatch"), ("dispatch", "app"), ("dispatch", "catalog"), ("app", "catalog"),
    ("__main__", "cli"),
    ("cli", "catalog"),                 # the list of commands is the catalogue's
    ("operations", "catalog"),          # the list of settings is the catalogue's
}

IMPURE = {"asyncio", "socket", "ssl", "os", "time", "random", "secrets", "logging", "sqlite3", "apsw", "threading", "subprocess"}
PURE = (
    re.compile(r"[a-z0-9]+/protocol/.*"), re.compile(r"message/.*"), re.compile(r"sasl/.*"), re.compile(r"config/keys\.py"),
    re.compile(r"queue/scheduler\.py"), re.compile(r"policy/verdict\.py"),
)

FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "manager"}

# What only these files may do.
SQL_OWNERS = {"store/index.py", "directory/sqlite.py", "config/saved.py", "trace/files.py", "trace/journal.py", "trace/search.py",
              "policy/counters.py"}
TASK_OWNERS = {"base/tasks.py"}
RENAME_OWNERS = {"base/durable.py"}
_SQL = re.compile(r"\s*(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(UNIQUE\s+)?(TABLE|INDEX)\s)", re.S)


@dataclass(frozen=True)
class Breach:
    file: str
    line: int
    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.detail}"


def check_tree(root: Path) -> list[Breach]:
    """Every breach below ``root`` (the package's folder)."""
    breaches: list[Breach] = []
    for path in sorted(root.rglob("*.py")):
        breaches.extend(check_source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")))
    return breaches


def check_source(file: str, text: str) -> list[Breach]:
    """Every breach of one file; ``file`` relative to the package's folder."""
    tree = ast.parse(text)
    breaches = list(_check_name(file))
    if file.split("/")[0] != "testing":
        breaches += _check_imports(file, tree)
        breaches += _check_owners(file, tree)
    if ast.get_docstring(tree) is None and text.strip():
        breaches.append(Breach(file, 1, "docstring", "a module says what it is"))
    return breaches


def _check_name(file: str) -> list[Breach]:
    words = {part.removesuffix(".py") for part in file.split("/")}
    return [Breach(file, 1, "name", f"{word} says nothing") for word in words & FORBIDDEN_NAMES]


def _check_imports(file: str, tree: ast.AST) -> list[Breach]:
    package = file.split("/")[0].removesuffix(".py")
    pure = any(pattern.fullmatch(file) for pattern in PURE)
    breaches = []
    for node in ast.walk(tree):
        for name in _imported(node):
            head = name.split(".")[0]
            if pure and head in IMPURE:
                breaches.append(Breach(file, node.lineno, "purity", f"imports {head}"))
            if head == "postoffice" and "." in name:
                other = name.split(".")[1]
                breaches += _check_layer(file, node.lineno, package, other)
    return breaches


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        if node.module == "postoffice":
            return [f"postoffice.{alias.name}" for alias in node.names if alias.name != "__version__"]
        return [node.module]
    return []


def _check_layer(file: str, line: int, package: str, other: str) -> list[Breach]:
    if package == "__init__" or other == package:
        return []
    if other not in LAYERS or package not in LAYERS:
        return [Breach(file, line, "layer", f"{package} or {other} has no layer")]
    if LAYERS[other] < LAYERS[package] or (package, other) in ALLOWED:
        return []
    return [Breach(file, line, "layer", f"{package} (row {LAYERS[package]}) imports {other} (row {LAYERS[other]})")]


def _check_owners(file: str, tree: ast.AST) -> list[Breach]:
    breaches = []
    docstrings = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if file not in SQL_OWNERS and _SQL.match(node.value):
                breaches.append(Breach(file, node.lineno, "owner", "holds SQL"))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, value = node.func.attr, node.func.value
            on = value.id if isinstance(value, ast.Name) else ""
            if name in {"create_task", "ensure_future"} and file not in TASK_OWNERS:
                breaches.append(Breach(file, node.lineno, "owner", f"starts a task by {name}"))
            if on == "os" and name in {"rename", "replace"} and file not in RENAME_OWNERS:
                breaches.append(Breach(file, node.lineno, "owner", f"renames a file by os.{name}"))
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            breaches.append(Breach(file, node.lineno, "except", "a bare except"))
    return breaches


def _docstrings(tree: ast.AST) -> set[int]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(id(node.value))
    return found

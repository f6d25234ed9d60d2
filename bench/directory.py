"""What the directory costs: look-ups among 20,000 accounts and the import of 20,000 hashed rows.

Run as ``python -m bench.directory [--accounts N] [--directory DIR]``. Look-ups are medians of five rounds, settings read
from the database as a server does: "warm" asks for what was asked before, "first" for each account's first time after
a change of the directory. The database is made below ``--directory`` and removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from postoffice.catalog import build_registry
from postoffice.config.saved import SavedSettings
from postoffice.directory.credentials import build_credentials, format_scram
from postoffice.directory.exchange import import_accounts
from postoffice.directory.sqlite import SqliteDirectory
from postoffice.message.address import parse_address

ROUNDS = 5


def build_csv(count: int, argon2: str, scram: str) -> bytes:
    rows = (f'u{n}@example.test,User {n},user.{n}@example.test,"{argon2}",{scram}\r\n' for n in range(count))
    return ("address,name,addresses,argon2,scram\r\n" + "".join(rows)).encode()


def time_each(call: Callable[[object], object], arguments: Iterable[object]) -> float:
    """Microseconds a call."""
    arguments = list(arguments)
    begin = time.perf_counter()
    for argument in arguments:
        call(argument)
    return (time.perf_counter() - begin) / len(arguments) * 1e6


def measure(folder: Path, count: int) -> dict[str, float]:
    settings = SavedSettings(folder / "office.db", build_registry())
    settings.apply({"SMTP-Router/Config/LocalMailDomains": "example.test", "Dispatch/Config/HostName": "mail.example.test"}, who="bench")
    directory = SqliteDirectory.open(folder / "office.db", settings)
    directory.ensure_reserved()
    stored = build_credentials("open sesame", settings.current())
    assert stored.scram is not None
    data = build_csv(count, stored.argon2, format_scram(stored.scram))
    begin = time.perf_counter()
    report = import_accounts(directory, settings.current(), data)
    figures = {"accounts": float(count), "import_seconds": time.perf_counter() - begin}
    assert report.rows == count, report.problems[:3]

    addresses = [parse_address(f"u{n}@example.test") for n in range(count)]
    unknown = [parse_address(f"x{n}@example.test") for n in range(count)]
    details = [parse_address(f"u{n}+d@example.test") for n in range(count)]
    logins = [f"u{n}" for n in range(count)]
    rounds: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        directory.set(replace(directory.get_postmaster(), name=f"Round {number}"))      # empties what is remembered
        for name, call, arguments in (
            ("resolve_first", directory.resolve, addresses), ("resolve_warm", directory.resolve, addresses),
            ("resolve_detail", directory.resolve, details), ("resolve_unknown", directory.resolve, unknown),
            ("login_first", directory.find_login, logins), ("login_warm", directory.find_login, logins),
        ):
            rounds.setdefault(name, []).append(time_each(call, arguments))      # type: ignore[arg-type]
    figures |= {f"{name}_us": statistics.median(found) for name, found in rounds.items()}
    directory.close()
    settings.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench-directory-") as folder:
        figures = measure(Path(folder), options.accounts)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:22} {value:12,.1f}")


if __name__ == "__main__":
    main()

"""Post.Office itself for the benchmarks: set up by its own commands, with logs, trace, parsing and policy as shipped."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

DOMAIN = "bench.test"
PASSWORD = "bench-password"


class Product:
    """A server in ``directory`` with ``users`` accounts u0.. and the password `PASSWORD`."""

    name = "Post.Office"
    domain = DOMAIN

    def __init__(self, directory: Path, *, smtp: int, pop3: int, users: int, workers: int) -> None:
        self.spool = directory / "spool"
        self.smtp = smtp
        self.pop3 = pop3
        self._users = users
        self._workers = workers
        self._directory = directory

    def start(self) -> None:
        answers = self._directory / "answers.toml"
        answers.write_text(
            f'hostname = "bench.bench.test"\ndomains = ["{DOMAIN}"]\npostmaster_password = "{PASSWORD}"\n'
            f"[ports]\nsmtp = {self.smtp}\npop3 = {self.pop3}\n"
            + "".join(f"{name} = 0\n" for name in ("submission", "smtps", "pop3s", "imap", "imaps", "http", "https", "ldap",
                                                   "finger", "password"))
            + '[tls]\nplaintext_login_from = ["127.0.0.1"]\n[listen]\naddresses = ["127.0.0.1"]\n'
        )
        self._run("setup", "--answers", str(answers))
        rows = self._directory / "accounts.csv"
        with rows.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["address", "name", "password"])
            writer.writerows([f"u{i}@{DOMAIN}", f"User {i}", PASSWORD] for i in range(self._users))
        self._run("account", "import", str(rows))
        self._run("start", "--workers", str(self._workers))
        status = json.loads(self._run("status", "--json"))
        self.roots = [process["pid"] for process in status["processes"] if process["name"] == "Dispatch"]

    def stop(self) -> None:
        self._run("stop")

    def count_delivered(self) -> int:
        """A 250 of this server means delivered; nothing is waiting."""
        return 0

    def wait_delivered(self, count: int, seconds: float = 0) -> None:
        """Nothing to wait for: the 250 said so."""

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([sys.executable, "-m", "postoffice", *arguments], env=os.environ | {"PostOffice": str(self.spool)},
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"postoffice {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

"""A real server in a temporary spool: set up and started by its own commands, on loopback and free ports."""

from __future__ import annotations

import json
import os
import poplib
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SERVICES = ("smtp", "submission", "smtps", "pop3", "pop3s")
STORED_ONLY = ("imap", "imaps", "http", "https", "ldap", "finger", "password")
PASSWORD = "correct horse battery"


def find_free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, below the range the kernel gives to clients, spread by process id so that two
    test runs at once rarely meet."""
    found: list[int] = []
    port = 10000 + (os.getpid() * 131 + time.monotonic_ns() // 1000) % 20000
    while len(found) < count:
        port = port + 1 if port < 32000 else 10000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """The condition's first true value. Raises AssertionError naming ``what`` when the time is over."""
    until = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Pop3(poplib.POP3):
    """The standard library's leaves its socket open when the greeting is a refusal."""

    def _getresp(self) -> bytes:
        try:
            return super()._getresp()
        except poplib.error_proto:
            if not hasattr(self, "welcome"):
                self.close()
            raise


class Server:
    """One installation. ``yamada`` and ``suzuki`` at example.test have accounts with `PASSWORD`."""

    def __init__(self, directory: Path, *, workers: int = 1) -> None:
        self.directory = directory
        self.spool = directory / "spool"
        self.ports = dict(zip(SERVICES, find_free_ports(len(SERVICES)), strict=True))
        self.password = PASSWORD
        self.certificate = self.spool / "tls" / "server.pem"
        self.workers = workers

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PostOffice": str(self.spool), "PYTHONWARNINGS": "default"}

    def run(self, *arguments: str, check: bool = True, data: str = "") -> subprocess.CompletedProcess[str]:
        """A `postoffice` (or, first argument "dbedit", `dbedit`) command."""
        command = ([str(Path(sys.executable).parent / "dbedit"), *arguments[1:]] if arguments[0] == "dbedit"
                   else [sys.executable, "-m", "postoffice", *arguments])
        done = subprocess.run(command, env=self.environment, input=data, capture_output=True, text=True, timeout=120)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def write_answers(self, **more: Any) -> Path:
        path = self.directory / "answers.toml"
        ports = "".join(f"{name} = {port}\n" for name, port in self.ports.items()) + "".join(f"{name} = 0\n" for name in STORED_ONLY)
        path.write_text(
            f'hostname = "mail.example.test"\ndomains = ["example.test"]\npostmaster_password = "{PASSWORD}"\nuser = "{_get_user()}"\n'
            f'[ports]\n{ports}[tls]\nplaintext_login_from = ["127.0.0.1"]\n[listen]\naddresses = ["127.0.0.1"]\n')
        return path

    def set_up(self) -> None:
        self.run("setup", "--answers", str(self.write_answers()))
        for name in ("yamada", "suzuki"):
            self.run("account", "add", f"{name}@example.test", "--name", name.title(), "--password-stdin", data=PASSWORD + "\n")

    def start(self, *arguments: str) -> None:
        self.run("start", "--workers", str(self.workers), *arguments)

    def stop(self) -> None:
        self.run("stop", check=False)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json").stdout))

    def dbedit(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("dbedit", *arguments, check=check)

    def smtp(self, service: str = "smtp", **options: Any) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.ports[service], timeout=20, **options)

    def send(self, sender: str, recipient: str, message: bytes) -> str:
        """Send by SMTP; the message's id."""
        with self.smtp() as client:
            client.ehlo("client.test")
            assert client.mail(sender)[0] == 250
            assert client.rcpt(recipient)[0] == 250
            code, text = client.data(message)
        assert code == 250, text
        return text.split()[-1].decode()

    def pop3(self, user: str = "suzuki") -> poplib.POP3:
        client = Pop3("127.0.0.1", self.ports["pop3"], timeout=20)
        try:
            client.user(user)
            client.pass_(self.password)
        except poplib.error_proto:
            client.close()
            raise
        return client

    def list_messages(self, user: str) -> list[bytes]:
        """All messages of a mailbox, as POP3 gives them, CRLF."""
        client = self.pop3(user)
        try:
            count = len(client.list()[1])
            return [b"".join(line + b"\r\n" for line in client.retr(number)[1]) for number in range(1, count + 1)]
        finally:
            client.quit()

    def verify(self) -> None:
        done = self.run("store", "verify", check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _get_user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name

"""`postoffice account`, `domain`, `postmaster` and `bans` on a spool that no server runs on."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from postoffice.base.errors import PostOfficeError
from postoffice.cli.main import build_postoffice
from postoffice.directory.credentials import verify_password
from postoffice.operations.office import DATABASE, Office
from postoffice.policy.counters import COUNTERS, Ban, Counters
from tests.unit.offices import DOMAIN, HOST

RIGHT = "open sesame"


class Desk:
    """The commands of one spool."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        (spool / DATABASE).parent.mkdir(parents=True)
        office = Office(spool)
        office.settings.apply({"Dispatch/Config/HostName": HOST, "SMTP-Router/Config/LocalMailDomains": DOMAIN}, who="test")
        office.directory.ensure_reserved()

    @property
    def office(self) -> Office:
        return Office(self.spool)

    def run(self, *arguments: str, data: str = "", code: int = 0) -> str:
        """What a command prints; what it complains about when it shall fail."""
        result: Result = CliRunner().invoke(build_postoffice(), ["--spool", str(self.spool), *arguments], input=data)
        if isinstance(result.exception, PostOfficeError):
            assert code == 1, result.exception
            return str(result.exception)
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def add(self, local: str = "yamada", *more: str) -> str:
        return self.run("account", "add", f"{local}@example.test", "--name", local.title(), "--password-stdin", *more, data=RIGHT + "\n")

    def names(self) -> list[str]:
        return [one["address"] for one in self.json("account", "list") if one["class"] != "reserved"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "spool")


def test_an_account_from_beginning_to_end(desk: Desk) -> None:
    assert "POP3 login name: yamada" in desk.add()
    shown = desk.json("account", "show", "yamada")
    assert shown == {
        "id": shown["id"], "address": "yamada@example.test", "name": "Yamada", "addresses": [], "login": "yamada", "class": "general",
        "postmaster": False, "enabled": True, "delivery": ["mailbox"], "limit": None, "access": [], "password": True}
    desk.run("account", "set", "yamada@example.test", "--name", "山田", "--login", "taro.y", "--add-address", "info@example.test",
             "--limit", "2M", "--access", "192.0.2.0/24", "--postmaster", "--stop")
    text = desk.run("account", "show", "info@example.test")
    for part in ("山田", "taro.y", "info@example.test", f"{2 << 20} bytes", "192.0.2.0/24", "administrative", "stopped"):
        assert part in text, part
    desk.run("account", "set", "taro.y", "--enable", "--main", "taro@example.test", "--remove-address", "info@example.test", "--limit", "unlimited",
             "--access", "", "--no-postmaster")
    shown = desk.json("account", "show", "taro@example.test")
    assert (shown["address"], shown["addresses"], shown["limit"], shown["access"]) == ("taro@example.test", ["yamada@example.test"], 0, [])
    assert (shown["enabled"], shown["class"]) == (True, "general")
    assert desk.names() == ["Postmaster@mail.example.test", "taro@example.test"]
    desk.run("account", "remove", "taro.y")
    assert desk.names() == ["Postmaster@mail.example.test"]
    assert [one.address for one in desk.office.directory.list_removed()] == ["taro@example.test"]


def test_passwords(desk: Desk) -> None:
    def stored() -> str:
        directory = desk.office.directory
        account = directory.find_login("yamada")
        credentials = directory.get_credentials(account.id) if account else None
        assert credentials is not None and credentials.scram is not None
        return credentials.argon2

    desk.add()
    assert verify_password(stored(), RIGHT)
    assert "changed" in desk.run("account", "password", "yamada", "--password-stdin", data=" another  one\r\n"[1:])
    assert verify_password(stored(), "another  one")
    assert "rule" in desk.run("account", "password", "yamada", "--password-stdin", data="short\n", code=1)
    assert "rule" in desk.run("account", "password", "yamada", "--password-stdin", data="", code=1)
    assert "--password-stdin" in desk.run("account", "password", "yamada", code=1)
    assert "no account nobody" in desk.run("account", "password", "nobody", code=1)
    assert "reserved" in desk.run("account", "password", "List.Manager", "--password-stdin", data=RIGHT + "\n", code=1)
    assert verify_password(stored(), "another  one"), "nothing changed"
    desk.run("account", "password", "postmaster", "--password-stdin", data=RIGHT + "\n")
    assert desk.json("account", "show", "postmaster")["password"]


@pytest.mark.parametrize(("arguments", "said"), [
    (("yamada@example.com", "--name", "Y"), "example.com is not a local mail domain. Add it with: postoffice domain add example.com"),
    (("Suzuki@Example.test", "--name", "Y"), "already belongs to Suzuki <suzuki@example.test>"),
    (("yamada@example.test", "--name", "Y", "--address", "suzuki@example.test"), "already belongs to Suzuki"),
    (("yamada@example.test", "--name", "Y", "--login", "ya%mada"), "the character %"),
    (("yamada@example.test", "--name", "Y", "--login", "suzuki"), "already belongs to Suzuki"),
    (("yamada@example.test", "--name", " "), "needs a name"),
    (("yamada.@example.test", "--name", "Y"), "dot before the @"),
    (("ya mada", "--name", "Y"), "no mail address"),
    (("yamada@example.test", "--name", "Y", "--limit", "much"), "no mailbox limit"),
    (("yamada@example.test", "--name", "Y", "--access", "no_where!"), "access"),
    (("postmaster@example.test", "--name", "Y"), "postoffice postmaster forward add"),
])
def test_an_account_that_cannot_be_is_one_sentence_and_nothing(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    desk.add("suzuki")
    before = desk.names()
    assert said in desk.run("account", "add", *arguments, "--password-stdin", data=RIGHT + "\n", code=1)
    assert desk.names() == before


def test_changes_that_cannot_be(desk: Desk) -> None:
    desk.add()
    before = desk.json("account", "show", "yamada")
    for arguments, said in (
        (("--remove-address", "yamada@example.test"), "is the main address"), (("--remove-address", "x@example.test"), "no address of"),
        (("--add-address", "x@example.com"), "domain add"), (("--login", ""), "at least one character"), (("--main", "@"), "no mail address"),
        (("--add-address", "list.manager@example.test"), "reserved account"),
    ):
        assert said in desk.run("account", "set", "yamada", *arguments, code=1)
    assert desk.json("account", "show", "yamada") == before
    assert "no account nobody" in desk.run("account", "set", "nobody", "--stop", code=1)
    assert "cannot be stopped" in desk.run("account", "set", "postmaster", "--stop", code=1)
    assert "cannot be removed" in desk.run("account", "remove", "postmaster", code=1)


def test_lists(desk: Desk) -> None:
    desk.add("suzuki")
    desk.add("yamada", "--postmaster")
    assert desk.names() == ["yamada@example.test", "Postmaster@mail.example.test", "suzuki@example.test"]
    assert [one["login"] for one in desk.json("account", "list", "SUZ")] == ["suzuki"]
    assert [one["login"] for one in desk.json("account", "list", "--class", "administrative")] == ["yamada", "Postmaster"]
    assert len(desk.run("account", "list", "--class", "reserved").splitlines()) == 5


def test_import_and_export(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_bytes("氏名,メールアドレス,パスワード\r\n山田,yamada@example.test,open sesame\r\n".encode("cp932"))
    assert "1 account(s) would be made" in desk.run("account", "import", str(file), "--dry-run")
    assert desk.names() == ["Postmaster@mail.example.test"]
    assert desk.json("account", "import", str(file)) == {"accounts": 1, "dry_run": False, "problems": []}
    output = desk.run("account", "import", str(file), code=1)
    assert "line 2: address: yamada@example.test already belongs to 山田" in output
    assert "no account was made" in output
    exported = desk.run("account", "export")
    desk.run("account", "remove", "yamada")
    file.write_text(exported, newline="")
    desk.run("account", "import", str(file))
    assert desk.run("account", "export") == exported
    assert "argon2" not in desk.run("account", "export", "--without-passwords")
    assert [one["login"] for one in desk.json("account", "export")] == ["yamada"]


def test_domains(desk: Desk) -> None:
    assert desk.json("domain", "list") == ["example.test"]
    desk.run("domain", "add", "例え.test")
    desk.run("domain", "add", "Second.Test")
    desk.run("domain", "add", "second.test")
    assert desk.run("domain", "list") == "example.test\nxn--r8jz45g.test\nsecond.test\n"
    desk.run("account", "add", "yamada@例え.test", "--name", "Y", "--password-stdin", data=RIGHT + "\n")
    said = desk.run("domain", "remove", "例え.test", code=1)
    assert "still used by yamada@例え.test." in said
    for number in range(7):
        desk.run("account", "add", f"u{number}@second.test", "--name", "U", "--address", f"w{number}@example.test", "--password-stdin",
                 data=RIGHT + "\n")
    assert "and 2 more" in desk.run("domain", "remove", "example.test", code=1)
    desk.run("account", "remove", "yamada")
    desk.run("domain", "remove", "例え.test")
    assert desk.json("domain", "list") == ["example.test", "second.test"]
    assert "not a local mail domain" in desk.run("domain", "remove", "third.test", code=1)
    assert "no domain name" in desk.run("domain", "add", "under score.test", code=1)


def test_designated_postmasters(desk: Desk) -> None:
    desk.add()
    desk.add("suzuki")
    desk.run("postmaster", "forward", "add", "yamada@example.test")
    desk.run("postmaster", "forward", "add", "suzuki")
    desk.run("postmaster", "forward", "add", "yamada")
    assert desk.json("postmaster", "forward", "list") == ["yamada@example.test", "suzuki@example.test"]
    assert "sends no mail out yet" in desk.run("postmaster", "forward", "add", "someone@example.com", code=1)
    assert "no account nobody@example.test" in desk.run("postmaster", "forward", "add", "nobody@example.test", code=1)
    assert "reserved account" in desk.run("postmaster", "forward", "add", "postmaster", code=1)
    desk.run("postmaster", "forward", "remove", "yamada")
    assert desk.run("postmaster", "forward", "list") == "suzuki@example.test\n"
    assert "no designated postmaster" in desk.run("postmaster", "forward", "remove", "yamada", code=1)


def test_bans(desk: Desk) -> None:
    desk.add()
    account = desk.office.directory.find_login("yamada")
    assert account is not None
    now = time.time()
    counters = Counters(desk.spool / COUNTERS)
    for client, subject, login in (("192.0.2.1", str(account.id), "yamada@example.test"), ("192.0.2.1", None, "*"),
                                   ("2001:db8:0:1::/64", None, "*"), ("192.0.2.9", "?00", "nobody")):
        assert counters.ban(Ban(client, subject, login, now, now + 900, "10 different wrong passwords"))
    counters.note_failure("192.0.2.1", str(account.id), b"xx", now, 600)
    listed = desk.json("bans", "list")
    assert {(one["client"], one["account"]) for one in listed} == {
        ("192.0.2.1", "yamada@example.test"), ("192.0.2.1", None), ("2001:db8:0:1::/64", None), ("192.0.2.9", "nobody")}
    assert "192.0.2.1  yamada@example.test  until " in desk.run("bans", "list")
    assert [one["account"] for one in desk.json("bans", "lift", "192.0.2.1", "yamada")] == ["yamada@example.test"]
    assert counters.note_failure("192.0.2.1", str(account.id), b"yy", now, 600).passwords == 1, "failures are forgotten, too"
    assert len(desk.json("bans", "lift", "2001:db8:0:1:5::77")) == 1
    desk.run("bans", "lift", "192.0.2.9", "nobody")
    assert "was not banned" in desk.run("bans", "lift", "192.0.2.77")
    assert "no IP address" in desk.run("bans", "lift", "yamada", code=1)
    assert len(desk.json("bans", "list")) == 1
    logged = "".join(path.read_text() for path in (desk.spool / "log").iterdir())
    assert logged.count("Account-Manager:BanLifted:") == 3
    counters.close()


def test_a_terminal_is_asked_twice(desk: Desk) -> None:
    def answer(first: str, second: str) -> tuple[int, str]:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "postoffice", "--spool", str(desk.spool), "account", "add", "tanaka@example.test", "--name", "T"],
            stdin=child, stdout=child, stderr=child, start_new_session=True, env=os.environ | {"PYTHONPATH": "src"})
        os.close(child)
        said = b""
        for text in (first, second):
            said = _read_until(parent, b":")
            assert text.encode() not in said
            os.write(parent, text.encode() + b"\n")
        if first != second:
            said = _read_until(parent, b":")            # it asks again
            process.kill()
        else:
            said = _read_until(parent, b"")
        os.close(parent)
        return process.wait(30), said.decode()

    code, said = answer(RIGHT, RIGHT + "x")
    assert code != 0 and "do not match" in said
    assert "tanaka@example.test" not in desk.names()
    code, said = answer(RIGHT, RIGHT)
    assert code == 0, said
    assert "tanaka@example.test" in desk.names()


def _read_until(terminal: int, end: bytes) -> bytes:
    """What the terminal shows up to ``end`` (b"": to the end of the process)."""
    shown = b""
    while not end or not shown.rstrip().endswith(end):
        try:
            data = os.read(terminal, 1000)
        except OSError:                                  # the other end is gone
            return shown
        if not data:
            return shown
        shown += data
    return shown

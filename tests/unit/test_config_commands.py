"""`dbedit` and `postoffice config` as an administrator types them, on a spool without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from postoffice.base.errors import PostOfficeError
from postoffice.catalog import build_registry
from postoffice.cli.main import build_dbedit, build_postoffice
from postoffice.config.saved import SavedSettings

SOCKET = "SMTP-Accept/Config/Socket"
Run = Callable[..., Result]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    spool = tmp_path / "spool"
    (spool / "config").mkdir(parents=True)
    SavedSettings(spool / "config" / "office.db", build_registry()).close()
    return spool


@pytest.fixture
def dbedit(spool: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(build_dbedit(), arguments, env={"PostOffice": str(spool)})

    return run


@pytest.fixture
def config(spool: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(build_postoffice(), ["config", *arguments], env={"PostOffice": str(spool)})

    return run


def get_error(result: Result) -> str:
    """The sentence of a command that failed as it should."""
    assert isinstance(result.exception, PostOfficeError), result.exception
    return str(result.exception)


def test_find_prints_as_the_original_did(dbedit: Run) -> None:
    assert dbedit("-f", SOCKET).stdout == f"{SOCKET}: [25]\n"
    assert dbedit("-f", "smtp-accept/CONFIG/socket").stdout == f"{SOCKET}: [25]\n"


def test_set_prints_the_value_as_it_is_kept_and_delete_the_default(dbedit: Run) -> None:
    assert dbedit("-s", SOCKET.lower(), " 25   2525").stdout == f"{SOCKET}: [25 2525]\n"
    assert dbedit("-f", SOCKET).stdout == f"{SOCKET}: [25 2525]\n"
    assert dbedit("-s", "SMTP-Accept/Config/MessageSize", "50M").stdout.endswith(": [52428800]\n")
    assert dbedit("-d", SOCKET).stdout == f"{SOCKET}: [25]\n"


@pytest.mark.parametrize(("arguments", "parts"), [
    (("-s", "SMTP-Accept/Config/Sokket", "1"), ("SMTP-Accept/Config/Sokket", "no such key", SOCKET)),
    (("-f", "Nothing/At/All"), ("Nothing/At/All", "dbedit -l")),
    (("-s", SOCKET, "port"), (SOCKET, "[port]", "[address:]port")),
    (("-s", "SMTP-Accept/Config/AllowETRN", "yes"), ("AllowETRN", "[yes]", "only no")),
    (("-s", "SMTP-Accept/Config/AllowVRFY", "true"), ("AllowVRFY", "[true]", "yes and no")),
    (("-s", "Dispatch/Config/MailboxDir", "/x"), ("Dispatch/Config/MailboxDir", "postoffice storage move")),
    (("-d", "Dispatch/Config/Post.Office"), ("Dispatch/Config/Post.Office", "postoffice setup")),
    (("-s", "POP3-Server/Config/Banner", "\udcff"), ("POP3-Server/Config/Banner", "UTF-8")),
    (("-l", "x"), ("x", "no key")),
])
def test_what_is_wrong_is_named_and_nothing_changes(dbedit: Run, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    before = dbedit("-l").stdout
    message = get_error(dbedit(*arguments))
    assert all(part in message for part in parts), message
    assert dbedit("-l").stdout == before


def test_list_knows_every_key_and_a_prefix(dbedit: Run) -> None:
    assert len(dbedit("-l").stdout.splitlines()) == len(build_registry())
    assert dbedit("-l", "imap").stdout.splitlines() == ["IMAP4-Server/Config/Socket: [143]", "IMAP4-Server/Config/SSLSocket: [993]"]
    assert json.loads(dbedit("-l", "www", "--json").stdout) == {
        "WWW-Server/Config/Socket": "80", "WWW-Server/Config/SSLSocket": "443"}


@pytest.mark.parametrize("arguments", [(), ("-l", "-f", SOCKET), ("-f", SOCKET, "more"), ("-s", SOCKET)])
def test_a_wrong_line_explains_itself(dbedit: Run, arguments: tuple[str, ...]) -> None:
    assert dbedit(*arguments).exit_code == 2


def test_a_file_carries_settings_to_another_spool_and_back(dbedit: Run, config: Run, tmp_path: Path) -> None:
    dbedit("-s", SOCKET, "2525")
    dbedit("-s", "Account-Manager/Range/Accounts/Password", r'^\S.{2,}"\S$')
    everything = tmp_path / "all.toml"
    everything.write_bytes(config("export", "--all").stdout_bytes)
    saved = config("export").stdout_bytes
    dbedit("-d", SOCKET)
    dbedit("-s", "SMTP-Accept/Config/AllowVRFY", "yes")
    differences = config("diff", str(everything))
    assert differences.exit_code == 1
    assert differences.stdout.splitlines() == ["SMTP-Accept/Config/AllowVRFY: [yes] -> [no]", f"{SOCKET}: [25] -> [2525]"]
    assert config("apply", str(everything)).stdout.splitlines() == ["SMTP-Accept/Config/AllowVRFY: [no]", f"{SOCKET}: [2525]"]
    assert config("diff", str(everything)).exit_code == 0
    assert config("export", "--all").stdout_bytes == everything.read_bytes()
    assert config("export").stdout_bytes == saved, "a default that comes from a file stays a default"


def test_a_bad_file_changes_nothing(config: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    for content, part in ((b'[SMTP-Accept.Config]\nAllowVRFY = true\nSocket = "x"\n', SOCKET), (b"\xff", "UTF-8"), (b"a", "TOML"),
                          (b'[SMTP-Accept.Config]\nSocket = 1\n[smtp-accept.config]\nsocket = 2\n', "twice"),
                          (b'[Dispatch.Config]\nMailboxDir = "/x"\n', "storage move")):
        file.write_bytes(content)
        assert part in get_error(config("apply", str(file)))
    assert config("history").stdout == ""


def test_history_and_undo(dbedit: Run, config: Run) -> None:
    dbedit("-s", SOCKET, "2525")
    dbedit("-s", SOCKET, "2526")
    second, first = (json.loads(line) for line in config("history", "--json").stdout.splitlines())
    assert (first["before"], first["after"], second["before"], second["after"]) == (None, "2525", "2525", "2526")
    assert first["key"] == SOCKET and first["who"] and first["origin"] == "dbedit"
    assert "changed again" in get_error(config("undo", str(first["id"])))
    assert config("undo", str(second["id"])).stdout == f"{SOCKET}: [2525]\n"
    assert "no such change" in get_error(config("undo", "99"))


def test_a_registry_export_of_the_original_is_taken_over(dbedit: Run, config: Run, tmp_path: Path) -> None:
    file = tmp_path / "old.reg"
    file.write_bytes(("Windows Registry Editor Version 5.00\r\n\r\n"
                      "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Software.com\\Post.Office\\SMTP-Accept\\Config]\r\n"
                      '"Socket"="2525"\r\n"AllowVRFY"="no"\r\n"Unknown"="1"\r\n').encode("utf-16"))
    trial = config("import", "--dry-run", str(file))
    assert trial.stdout == f"{SOCKET}: [2525]\n" and "SMTP-Accept/Config/Unknown" in trial.stderr
    assert dbedit("-f", SOCKET).stdout == f"{SOCKET}: [25]\n"
    assert config("import", str(file)).stdout == f"{SOCKET}: [2525]\n"
    assert dbedit("-f", SOCKET).stdout == f"{SOCKET}: [2525]\n"

"""Programs people really use send and fetch, byte for byte: swaks, curl, msmtp, mutt; fetchmail, getmail, curl."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.rig import Server

pytestmark = pytest.mark.slow

MESSAGE = (b"From: =?ISO-2022-JP?B?GyRCOzNFRBsoQg==?= <yamada@example.test>\r\nTo: suzuki@example.test\r\n"
           b"Subject: =?UTF-8?B?6KuL5rGC5pu4?=\r\nDate: Tue, 24 Nov 2026 12:00:00 +0900\r\nMessage-ID: <1@client.test>\r\n"
           b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
           b"\xe8\xab\x8b\xe6\xb1\x82\xe6\x9b\xb8\r\n.a line with a dot\r\n..two\r\n\r\nlast\r\n")


def run(*command: str, env: dict[str, str] | None = None, data: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    assert shutil.which(command[0]), f"{command[0]} is not installed; make test installs it"
    done = subprocess.run(command, input=data, capture_output=True, env=os.environ | (env or {}), timeout=60)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}")
    return done


def get_body(message: bytes) -> bytes:
    return message.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1].rstrip(b"\n")


@pytest.mark.parametrize("way", ["smtp", "submission-starttls", "smtps"])
def test_swaks_sends(server: Server, way: str) -> None:
    options = {
        "smtp": ["--port", str(server.ports["smtp"])],
        "submission-starttls": ["--port", str(server.ports["submission"]), "--tls", "--auth", "PLAIN",
                                "--auth-user", "yamada@example.test", "--auth-password", server.password],
        "smtps": ["--port", str(server.ports["smtps"]), "--tls-on-connect", "--auth", "LOGIN",
                  "--auth-user", "yamada", "--auth-password", server.password],
    }[way]
    done = run("swaks", "--server", "127.0.0.1", *options, "--from", "yamada@example.test", "--to", "suzuki@example.test",
               "--header", f"Subject: {way}", "--body", "Hello")
    assert b" 250 2.0.0 " in done.stdout
    assert len(server.list_messages("suzuki")) == 1


@pytest.mark.parametrize("way", ["smtp", "submission-starttls", "smtps"])
def test_curl_sends_and_fetches_byte_for_byte(server: Server, tmp_path: Path, way: str) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    login = ["--user", f"yamada@example.test:{server.password}"]
    options = {
        "smtp": [f"smtp://127.0.0.1:{server.ports['smtp']}/client.test"],
        "submission-starttls": [f"smtp://localhost:{server.ports['submission']}/client.test", "--ssl-reqd",
                                "--cacert", str(server.certificate), *login],
        "smtps": [f"smtps://localhost:{server.ports['smtps']}/client.test", "--cacert", str(server.certificate), *login],
    }[way]
    run("curl", "-sS", *options, "--mail-from", "yamada@example.test", "--mail-rcpt", "suzuki@example.test",
        "--upload-file", str(tmp_path / "message"))
    for url, more in ((f"pop3://127.0.0.1:{server.ports['pop3']}/1", []),
                      (f"pop3://localhost:{server.ports['pop3']}/1", ["--ssl-reqd", "--cacert", str(server.certificate)]),
                      (f"pop3s://localhost:{server.ports['pop3s']}/1", ["--cacert", str(server.certificate)])):
        got = run("curl", "-sS", "--user", f"suzuki@example.test:{server.password}", *more, url).stdout
        assert got.startswith(b"Return-Path: <yamada@example.test>\r\n")
        assert got.endswith(b"\r\n" + MESSAGE)


def test_msmtp_sends(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "msmtprc"
    config.write_text(f"account default\nhost localhost\nport {server.ports['submission']}\ntls on\ntls_starttls on\n"
                      f"tls_trust_file {server.certificate}\nauth on\nuser yamada@example.test\npassword {server.password}\n"
                      "from yamada@example.test\n")
    config.chmod(0o600)
    run("msmtp", "-C", str(config), "suzuki@example.test", data=MESSAGE.replace(b"\r\n", b"\n"))
    assert get_body(server.list_messages("suzuki")[0]) == get_body(MESSAGE)


def test_mutt_sends(server: Server, tmp_path: Path) -> None:
    (tmp_path / "muttrc").write_text(
        f'set smtp_url="smtps://yamada@localhost:{server.ports["smtps"]}/"\nset smtp_pass="{server.password}"\n'
        f'set ssl_ca_certificates_file="{server.certificate}"\nset certificate_file="{server.certificate}"\n'
        'set from="yamada@example.test"\nset realname="山田"\nset use_from=yes\nset copy=no\nset ssl_verify_host=yes\n')
    run("mutt", "-n", "-F", str(tmp_path / "muttrc"), "-s", "件名", "--", "suzuki@example.test", data="本文\n".encode(),
        env={"HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "TERM": "dumb"})
    assert len(server.list_messages("suzuki")) == 1


def test_fetchmail_fetches_and_empties(server: Server, tmp_path: Path) -> None:
    server.send("yamada@example.test", "suzuki@example.test", MESSAGE)
    box = tmp_path / "box"
    deliver = tmp_path / "deliver"
    deliver.write_text(f"#!/bin/sh\ncat >> {box}\n")
    deliver.chmod(0o755)
    config = tmp_path / "fetchmailrc"
    config.write_text(f'poll localhost protocol POP3 port {server.ports["pop3s"]} user "suzuki@example.test" password "{server.password}" '
                      f'ssl sslcertck sslcertfile {server.certificate} no rewrite mda "{deliver}"\n')
    config.chmod(0o600)
    env = {"HOME": str(tmp_path), "FETCHMAILHOME": str(tmp_path)}
    run("fetchmail", "--nosyslog", "-f", str(config), env=env)
    assert get_body(box.read_bytes()) == get_body(MESSAGE)
    assert server.list_messages("suzuki") == []


def test_getmail_fetches(server: Server, tmp_path: Path) -> None:
    server.send("yamada@example.test", "suzuki@example.test", MESSAGE)
    box = tmp_path / "box"
    deliver = tmp_path / "deliver"
    deliver.write_text(f"#!/bin/sh\ncat >> {box}\n")      # its own mailbox formats refuse to be written as root
    deliver.chmod(0o755)
    (tmp_path / "getmailrc").write_text(
        f"[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {server.ports['pop3s']}\nusername = suzuki\n"
        f"password = {server.password}\nca_certs = {server.certificate}\n"
        f"[destination]\ntype = MDA_external\npath = {deliver}\nallow_root_commands = true\nunixfrom = false\n"
        "[options]\ndelete = false\nreceived = false\ndelivered_to = false\n")
    run("getmail", "--getmaildir", str(tmp_path), "--rcfile", str(tmp_path / "getmailrc"), env={"HOME": str(tmp_path)})
    assert get_body(box.read_bytes()) == get_body(MESSAGE)

"""`postoffice setup` and what goes wrong in the first hour: one sentence with its remedy, nothing changed, exit 1."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from postoffice.tls.certificates import build_self_signed
from tests.system.rig import PASSWORD, Server, find_free_ports, wait_until

ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")


def list_files(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    return {str(path.relative_to(directory)): (path.stat().st_mode, path.stat().st_uid, path.read_bytes() if path.is_file() and path.name != "office.db" else b"")
            for path in sorted(directory.rglob("*"))}


def expect_refusal(server: Server, *arguments: str, words: tuple[str, ...]) -> None:
    """Exit 1, one line on stderr that holds the words, no file changed."""
    before = list_files(server.directory)
    done = server.run(*arguments, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert list_files(server.directory) == before


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_set_up_makes_a_private_spool_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path)
    answers = server.write_answers()
    server.run("setup", "--answers", str(answers))
    assert (server.spool / "tls" / "server.key").stat().st_mode & 0o777 == 0o600
    assert (server.spool / "tls" / "server.pem").stat().st_mode & 0o777 == 0o644
    assert all(path.stat().st_mode & 0o007 == 0 for path in (server.spool, server.spool / "config" / "office.db", server.spool / "mailbox"))
    assert not (server.spool / "config" / "office.db").read_bytes().count(PASSWORD.encode())
    before, settings = list_files(server.spool), server.run("config", "export").stdout
    again = server.run("setup", "--answers", str(answers))
    assert "nothing has changed" in again.stdout
    assert list_files(server.spool) == before
    assert server.run("config", "export").stdout == settings
    assert server.dbedit("-f", "SMTP-Accept/Config/Socket").stdout == f"SMTP-Accept/Config/Socket: [{server.ports['smtp']}]\n"
    assert server.dbedit("-f", "dispatch/config/hostname").stdout == "Dispatch/Config/HostName: [mail.example.test]\n"


def test_set_up_again_changes_what_is_asked_and_the_certificate_follows_the_name(installation: Server) -> None:
    old = installation.certificate.read_bytes()
    answers = installation.directory / "answers.toml"
    edit(answers, "mail.example.test", "new.example.test")
    done = installation.run("setup", "--answers", str(answers))
    assert "Dispatch/Config/HostName: [new.example.test]" in done.stdout and "SMTP-Accept" not in done.stdout
    assert installation.certificate.read_bytes() != old
    assert "yamada@example.test" in installation.run("account", "list").stdout


@pytest.mark.parametrize(("before", "after", "words"), [
    ("hostname =", "host =", ("host", "no such answer")),
    ('"mail.example.test"', '"192.0.2.7"', ("hostname", "192.0.2.7")),
    ('["example.test"]', '["exa mple"]', ("domains", "exa")),
    (f'"{PASSWORD}"', '"short"', ("postmaster_password", "Account-Manager/Range/Accounts/Password")),
    ("[ports]", "[ports]\nsmpt = 25", ("ports.smpt",)),
    ("user = ", 'user = "nobody-at-all" # ', ("user", "nobody-at-all")),
])
def test_a_wrong_answer_is_named_and_nothing_is_made(tmp_path: Path, before: str, after: str, words: tuple[str, ...]) -> None:
    server = Server(tmp_path)
    answers = server.write_answers()
    edit(answers, before, after)
    expect_refusal(server, "setup", "--answers", str(answers), words=words)
    assert not server.spool.exists()


def test_a_certificate_of_ones_own_is_taken_or_refused(tmp_path: Path) -> None:
    import time

    server = Server(tmp_path)
    answers = server.write_answers()
    pair, other = (build_self_signed("mail.example.test", time.time()) for _ in range(2))
    (tmp_path / "own.pem").write_bytes(pair.certificate)
    (tmp_path / "own.key").write_bytes(other.key)
    edit(answers, "[tls]", '[tls]\ncertificate = "own.pem"\nkey = "own.key"')
    expect_refusal(server, "setup", "--answers", str(answers), words=("key", "does not belong"))
    assert not server.spool.exists()
    (tmp_path / "own.key").write_bytes(pair.key)
    server.run("setup", "--answers", str(answers))
    used = server.spool / "tls" / "certificate.pem"
    assert used.read_bytes() == pair.certificate and used.with_suffix(".key").stat().st_mode & 0o777 == 0o600
    assert "nothing has changed" in server.run("setup", "--answers", str(answers)).stdout


def test_without_a_spool_each_command_says_what_to_do(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for command in (("status",), ("start",), ("stop",), ("account", "list"), ("dbedit", "-l")):
        expect_refusal(server, *command, words=(str(server.spool), "has not been set up", "postoffice setup"))


@pytest.mark.skipif(Path("/etc/post.office.conf").exists(), reason="this machine has a server of its own")
def test_no_spool_named(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PostOffice"}
    done = subprocess.run([sys.executable, "-m", "postoffice", "status"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "--spool" in done.stderr and "PostOffice" in done.stderr


def test_spool_may_be_named_before_and_after_the_command(installation: Server) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PostOffice"}
    for words in (["--spool", str(installation.spool), "status"], ["status", "--spool", str(installation.spool)]):
        done = subprocess.run([sys.executable, "-m", "postoffice", *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "stopped" in done.stdout, done.stderr


def test_questions_have_defaults_in_brackets(tmp_path: Path) -> None:
    server = Server(tmp_path)
    if ROOT:                # so that no system user has to be made: an existing spool is its owner's
        _let_pass(tmp_path)
        server.spool.mkdir()
        os.chown(server.spool, pwd.getpwnam("nobody").pw_uid, -1)
    # A terminal is needed for the password; `script` would be one more package, a pty is enough.
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "postoffice", "setup"], env=server.environment,
                               stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    told = ""

    def answer(question: str, text: str) -> None:
        nonlocal told
        while question not in told:
            told += os.read(ours, 4096).decode()
        told = told.partition(question)[2]
        os.write(ours, (text + "\n").encode())

    answer("Host name", "mail.asked.test")
    answer("[asked.test]", "")
    for question in ("[25]", "[587]", "[465]", "[110]", "[995]"):
        answer(question, str(find_free_ports(1)[0]))
    answer("Password of Postmaster", "short")
    answer("Once more", "short")
    answer("Password of Postmaster", PASSWORD)
    answer("Once more", PASSWORD)
    try:
        while "is set up" not in told:
            told += os.read(ours, 4096).decode()
    except OSError:
        raise AssertionError(told) from None
    assert process.wait(timeout=60) == 0
    os.close(ours)
    assert server.dbedit("-f", "Dispatch/Config/HostName").stdout == "Dispatch/Config/HostName: [mail.asked.test]\n"
    assert server.dbedit("-f", "SMTP-Router/Config/LocalMailDomains").stdout == "SMTP-Router/Config/LocalMailDomains: [asked.test]\n"


# --- as root: another user's spool


@pytest.fixture
def given(tmp_path: Path) -> Server:
    """Set up by root for the user nobody."""
    _let_pass(tmp_path)
    server = Server(tmp_path)
    answers = server.write_answers()
    edit(answers, 'user = "root"', 'user = "nobody"')
    server.run("setup", "--answers", str(answers))
    return server


@root_only
def test_the_server_runs_as_the_spools_owner_without_rights(given: Server) -> None:
    given.run("account", "add", "yamada@example.test", "--name", "Yamada", "--password-stdin", data=PASSWORD + "\n")
    given.start()
    try:
        uid = pwd.getpwnam("nobody").pw_uid
        for process in given.status()["processes"]:
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{process['pid']}/status").read_text().splitlines())
            assert set(lines["Uid"].split()) == {str(uid)}, process
            kept = 1 << 10 if process["name"] == "Dispatch" else 0
            assert int(lines["CapPrm"], 16) == int(lines["CapEff"], 16) == kept, process
            assert lines["NoNewPrivs"].strip() == "1"
        assert {path.stat().st_uid for path in given.spool.rglob("*")} == {uid}
        low = next(port for port in range(1023, 900, -1) if _is_free(port))
        given.dbedit("-s", "SMTP-Accept/Config/Socket", str(low))
        with socket.create_connection(("127.0.0.1", low), timeout=10) as connection:
            assert connection.recv(100).startswith(b"220 ")
    finally:
        given.stop()


@root_only
def test_another_user_is_refused(given: Server) -> None:
    user = pwd.getpwnam("daemon")
    done = subprocess.run([sys.executable, "-m", "postoffice", "status"], env=given.environment, capture_output=True, text=True,
                          user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "nobody" in done.stderr or "root" in done.stderr


@root_only
def test_a_low_port_without_privilege_says_so(given: Server) -> None:
    low = next(port for port in range(1023, 900, -1) if _is_free(port))
    given.dbedit("-s", "SMTP-Accept/Config/Socket", str(low))
    user = pwd.getpwnam("nobody")
    done = subprocess.run([sys.executable, "-m", "postoffice", "start"], env=given.environment, capture_output=True, text=True,
                          user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/")
    assert done.returncode == 1
    assert "SMTP-Accept/Config/Socket" in done.stderr and str(low) in done.stderr and "root" in done.stderr


@root_only
def test_a_directory_the_user_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = Server(closed)
    answers = server.write_answers()
    edit(answers, 'user = "root"', 'user = "nobody"')
    done = server.run("setup", "--answers", str(answers), check=False)
    assert done.returncode == 1
    assert "nobody" in done.stderr and "is in the way" in done.stderr
    assert not server.spool.exists()


def test_an_unwritable_mailbox_directory_stops_the_start(installation: Server) -> None:
    (installation.spool / "mailbox").rmdir()
    (installation.spool / "mailbox").write_text("")
    done = installation.run("start", check=False)
    assert done.returncode == 1 and "mailbox directory" in done.stderr and len(done.stderr.splitlines()) == 1


def test_make_run_sets_a_demonstration_up_and_reuses_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "postoffice", "demo", "--spool", str(tmp_path / "var")]
    server = Server(tmp_path)
    server.spool = tmp_path / "var"
    first = server.run("demo", "--no-run").stdout
    assert first.count("password ") == 2
    second = server.run("demo", "--no-run").stdout
    assert "password " not in second.replace("account password", "")
    for service, port in {"SMTP-Accept/Config/Socket": "2525", "POP3-Server/Config/SSLSocket": "2995"}.items():
        assert server.dbedit("-f", service).stdout == f"{service}: [{port}]\n"
    free = dict(zip(("SMTP-Accept/Config/Socket", "SMTP-Accept/Config/SubmissionSocket", "SMTP-Accept/Config/SSLSocket",
                     "POP3-Server/Config/Socket", "POP3-Server/Config/SSLSocket"), find_free_ports(5), strict=True))
    for key, port in free.items():
        server.dbedit("-s", key, str(port))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with socket.create_connection(("127.0.0.1", wait_until(lambda: _is_served(free["SMTP-Accept/Config/Socket"]), "it serves"))) as first_client:
        assert first_client.recv(100).startswith(b"220 ")
    process.terminate()
    told = process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert f"listening on 127.0.0.1:{free['SMTP-Accept/Config/Socket']}" in told


def _let_pass(path: Path) -> None:
    """Temporary directories are private; another user's server must get through."""
    for directory in (path, *path.parents):
        if directory.stat().st_mode & 0o005 != 0o005 and directory.stat().st_uid == os.geteuid():
            directory.chmod(0o755)


def _is_served(port: int) -> int:
    with socket.socket() as probe:
        return port if probe.connect_ex(("127.0.0.1", port)) == 0 else 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

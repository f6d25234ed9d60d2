"""Starting, stopping and watching the real server: what `postoffice start|stop|restart|status` promise."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.rig import Server, find_free_ports, wait_until


def get_pids(server: Server) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in server.status()["processes"]}


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def greet(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return connection.recv(200)


def list_spool_pids(spool: Path) -> list[int]:
    """Processes that were started for this spool."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if str(spool).encode() in words and b"--spool" in words and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_start_and_stop(installation: Server, workers: int) -> None:
    installation.workers = workers
    installation.start()
    names = set(get_pids(installation))
    assert names == {"Dispatch", *({"Serve"} if not workers else {"Deliver", *(f"Serve {n + 1}" for n in range(workers))})}
    assert greet(installation.ports["smtp"]).startswith(b"220 ")
    assert greet(installation.ports["pop3"]).startswith(b"+OK")
    listening = {(port["service"], port["port"]) for port in installation.status()["ports"]}
    assert listening == set(installation.ports.items())
    installation.run("stop")
    assert list_spool_pids(installation.spool) == []
    assert not any(map(is_open, installation.ports.values()))
    assert installation.status()["state"] == "stopped"


def test_a_second_start_is_refused_and_disturbs_nothing(server: Server) -> None:
    before = get_pids(server)
    done = server.run("start", check=False)
    assert done.returncode == 1
    assert "already running" in done.stderr and "postoffice stop" in done.stderr
    assert get_pids(server) == before


def test_stop_without_a_server_says_so(installation: Server) -> None:
    done = installation.run("stop", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not running" in done.stderr and len(done.stderr.splitlines()) == 1


def test_start_after_kill_9_and_children_end_within_a_second(server: Server) -> None:
    pids = get_pids(server)
    os.kill(pids.pop("Dispatch"), signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids.values())), "the children end", seconds=1)
    assert (server.spool / "control").exists()
    server.start()
    assert greet(server.ports["smtp"]).startswith(b"220 ")


def test_children_that_are_still_starting_end_with_their_parent(installation: Server) -> None:
    process = subprocess.Popen([sys.executable, "-m", "postoffice", "start", "--foreground", "--workers", "2"],
                               env=installation.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list_spool_pids(installation.spool)) >= 3, "children are being started")
    process.kill()
    process.wait()
    wait_until(lambda: not list_spool_pids(installation.spool), "all have ended", seconds=1)


def test_a_dead_worker_is_started_again_and_logged(server: Server) -> None:
    pid = get_pids(server)["Serve 1"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: get_pids(server).get("Serve 1") not in (None, pid), "a new worker")
    assert greet(server.ports["smtp"]).startswith(b"220 ")
    log = "".join(path.read_text() for path in (server.spool / "log").glob("post.office-*.log"))
    assert f":ProcessDied:Serve 1:{pid}:signal 9:" in log


def test_a_crash_loop_is_held_back_and_the_status_says_so(server: Server) -> None:
    def kill_and_look() -> dict[str, object] | None:
        status = server.status()
        for place in status["held_back"]:
            return dict(place)
        for process in status["processes"]:
            if process["name"] == "Serve 1":
                os.kill(process["pid"], signal.SIGKILL)
        return None

    held = wait_until(kill_and_look, "the worker is held back")
    assert held["name"] == "Serve 1" and held["deaths_in_a_row"] >= 2
    assert "signal 9" in str(held["last_error"])
    wait_until(lambda: "Serve 1" in get_pids(server), "it comes back")


@pytest.mark.parametrize("service", ["smtp", "pop3"])
def test_a_taken_port_stops_the_start_and_leaves_nothing(installation: Server, service: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", installation.ports[service]))
        other.listen()
        done = installation.run("start", check=False)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        key = {"smtp": "SMTP-Accept/Config/Socket", "pop3": "POP3-Server/Config/Socket"}[service]
        assert key in done.stderr and str(installation.ports[service]) in done.stderr and "127.0.0.1" in done.stderr
        assert list_spool_pids(installation.spool) == []
    installation.start()


def test_a_port_moves_while_a_connection_lives_on(server: Server) -> None:
    new = find_free_ports(1)[0]
    old = server.ports["smtp"]
    with socket.create_connection(("127.0.0.1", old), timeout=10) as connection:
        assert connection.recv(200).startswith(b"220 ")
        server.dbedit("-s", "SMTP-Accept/Config/Socket", str(new))
        assert greet(new).startswith(b"220 ")
        assert not is_open(old)
        connection.sendall(b"NOOP\r\n")
        assert connection.recv(200).startswith(b"250 ")


def test_a_taken_port_is_refused_and_the_old_one_stays(server: Server) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        done = server.dbedit("-s", "SMTP-Accept/Config/Socket", str(taken), check=False)
    assert done.returncode == 1
    assert "SMTP-Accept/Config/Socket" in done.stderr and str(taken) in done.stderr
    assert server.dbedit("-f", "SMTP-Accept/Config/Socket").stdout == f"SMTP-Accept/Config/Socket: [{server.ports['smtp']}]\n"
    assert greet(server.ports["smtp"]).startswith(b"220 ")


def test_stop_tells_idle_connections(server: Server) -> None:
    with (socket.create_connection(("127.0.0.1", server.ports["smtp"]), timeout=10) as smtp,
          socket.create_connection(("127.0.0.1", server.ports["pop3"]), timeout=10) as pop3):
        assert smtp.recv(200).startswith(b"220 ") and pop3.recv(200).startswith(b"+OK")
        started = time.monotonic()
        server.run("stop")
        assert time.monotonic() - started < 10
        assert smtp.recv(200).startswith(b"421 ")
        assert pop3.recv(200).startswith(b"-ERR")


def test_restart_renews_the_processes_and_keeps_the_ports(server: Server) -> None:
    before = get_pids(server)
    server.run("restart")
    after = get_pids(server)
    assert before["Dispatch"] == after["Dispatch"]
    assert not {before["Serve 1"], before["Deliver"]} & set(after.values())
    assert greet(server.ports["smtp"]).startswith(b"220 ")


def test_term_stops_and_hup_reopens_logs(installation: Server) -> None:
    process = subprocess.Popen([sys.executable, "-m", "postoffice", "start", "--foreground"], env=installation.environment,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Serve 1 is ready"):
            break
    wait_until(lambda: installation.run("status", "--json", check=False).returncode == 0 and get_pids(installation), "it answers")
    log = next((installation.spool / "log").glob("post.office-*.log"))
    log.rename(log.with_name("moved"))
    process.send_signal(signal.SIGHUP)
    server_dbedit = installation.dbedit("-s", "SMTP-Accept/Config/Socket", str(find_free_ports(1)[0]))
    assert server_dbedit.returncode == 0
    wait_until(log.exists, "a new log of the same name")
    process.terminate()
    process.stdout.read()
    assert process.wait(timeout=30) == 0
    process.stdout.close()


def test_status_with_the_environment_while_stopped(installation: Server) -> None:
    found = json.loads(installation.run("status", "--json", "--environment").stdout)
    environment = found["environment"]
    assert found["state"] == "stopped" and found["processes"] == []
    assert environment["host_name"] == "mail.example.test" and environment["domains"] == ["example.test"]
    assert environment["spool_directory"] == str(installation.spool)
    for name in ("program_directory", "mailbox_directory", "log_directory", "version", "python", "kernel", "virtualization"):
        assert environment[name]
    assert environment["file_systems"][str(installation.spool)]["free_bytes"] > 0


def test_readiness_and_stopping_are_told_to_the_service_manager(installation: Server, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        process = subprocess.Popen([sys.executable, "-m", "postoffice", "start", "--foreground"], stdout=subprocess.DEVNULL,
                                   env=installation.environment | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        assert greet(installation.ports["smtp"]).startswith(b"220 ")
        process.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        assert process.wait(timeout=30) == 0

"""`make bench`: Post.Office beside Postfix + Dovecot, in one run, taking turns; prints a table and writes JSON.

(1) accept and deliver into mailboxes, 4 KB and 64 KB, 1, 10 and 50 sessions: the clock runs until every message can be
read; (2) POP3 download of one mailbox of 10,000 messages, one request at a time and 8 ahead. CPU is the sum over all
processes of a server. Ratios of medians count; absolute figures are this machine's and this hour's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.peers import PostfixDovecot
from bench.processes import get_cpu_seconds, get_rss_bytes
from bench.product import PASSWORD, Product

SIZES = (4096, 65536)
SESSIONS = (1, 10, 50)
USERS = 100
_HERE = Path(__file__).parent


def build_load(directory: Path) -> Path:
    """Compile the load generator."""
    binary = directory / "load"
    subprocess.run(["cc", "-O2", "-o", binary, _HERE / "load.c"], check=True)
    return binary


def run_load(binary: Path, *arguments: object) -> dict[str, float]:
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"load {arguments}: {done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout))


def measure_accept(server, binary: Path, sessions: int, size: int, messages: int) -> dict[str, float]:
    """Rate until everything is delivered, CPU seconds per 1,000 messages, percentiles of the 250."""
    before, cpu, begin = server.count_delivered(), get_cpu_seconds(server.roots), time.monotonic()
    result = run_load(binary, "smtp", "127.0.0.1", server.smtp, sessions, messages, size, server.domain, USERS)
    server.wait_delivered(before + messages)
    seconds = time.monotonic() - begin
    return {
        "rate": messages / seconds,
        "cpu_per_1000": (get_cpu_seconds(server.roots) - cpu) / messages * 1000,
        "p50_ms": result["p50_ms"], "p99_ms": result["p99_ms"], "rss_mb": get_rss_bytes(server.roots) / 1e6,
    }


def measure_pop3(server, binary: Path, depth: int) -> dict[str, float]:
    password = PASSWORD if isinstance(server, Product) else "pw"
    cpu = get_cpu_seconds(server.roots)
    result = run_load(binary, "pop3", "127.0.0.1", server.pop3, f"u0@{server.domain}",
                      password, depth)
    return {"rate": result["messages"] / result["seconds"],
            "cpu_per_1000": (get_cpu_seconds(server.roots) - cpu) / result["messages"] * 1000}


def get_message_count(server, sessions: int, size: int, scale: float) -> int:
    """Enough for some seconds on each server."""
    base = 1200 if isinstance(server, PostfixDovecot) else 12000
    return max(50, int(base * scale * (0.3 if sessions == 1 else 1) * (0.35 if size > 8192 else 1)))


def fill_reader(server, binary: Path, messages: int) -> None:
    """10,000 messages of 4 KB in the one mailbox that POP3 reads."""
    before = server.count_delivered()
    run_load(binary, "smtp", "127.0.0.1", server.smtp, 20, messages, 4096, server.domain, 1)
    server.wait_delivered(before + messages, 900)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of messages")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-peer", action="store_true", help="measure Post.Office alone")
    parser.add_argument("--skip-pop3", action="store_true")
    parser.add_argument("--sessions", type=int, nargs="*", default=list(SESSIONS))
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--json", type=Path, default=_HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postoffice-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        binary = build_load(directory)
        servers: list[Product | PostfixDovecot] = [
            Product(directory, smtp=14525, pop3=14110, users=USERS, workers=options.workers)]
        if not options.no_peer:
            servers.append(PostfixDovecot(directory / "peer", smtp=14625, pop3=14210))
        started = []
        try:
            for server in servers:
                server.start()
                started.append(server)
            results = run_all(servers, binary, options)
        finally:
            for server in started:
                server.stop()
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1))
    print_table(results)
    print(f"\nwritten to {options.json}")
    return 0


def run_all(servers, binary: Path, options: argparse.Namespace) -> dict[str, dict[str, list[dict[str, float]]]]:
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for repetition in range(options.repetitions):
        for size in options.sizes:
            for sessions in options.sessions:
                order = servers if (repetition + sessions) % 2 else servers[::-1]
                for server in order:
                    count = get_message_count(server, sessions, size, options.scale)
                    scenario = f"accept {sessions} x {size // 1024} KB"
                    found = measure_accept(server, binary, sessions, size, count)
                    results.setdefault(scenario, {}).setdefault(server.name, []).append(found)
                    print(f"{scenario:20} {server.name:20} {found['rate']:8.0f}/s  {found['cpu_per_1000']:6.2f} CPU s/1000",
                          file=sys.stderr, flush=True)
    if not options.skip_pop3:
        for server in servers:
            fill_reader(server, binary, int(10_000 * min(options.scale, 1)))
        for repetition in range(options.repetitions):
            for depth in (1, 8):
                for server in servers if repetition % 2 else servers[::-1]:
                    found = measure_pop3(server, binary, depth)
                    results.setdefault(f"pop3 {depth} ahead", {}).setdefault(server.name, []).append(found)
    return results


def print_table(results: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Medians, and the ratio of the first server to the second."""
    print(f"{'scenario':20} {'server':20} {'per s':>9} {'ratio':>7} {'CPU s/1000':>11} {'p50 ms':>8} {'p99 ms':>8}")
    for scenario, servers in results.items():
        medians = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in servers.items()}
        base = medians.get(PostfixDovecot.name, {}).get("rate")
        for name, m in medians.items():
            ratio = f"{m['rate'] / base:6.1f}x" if base else ""
            print(f"{scenario:20} {name:20} {m['rate']:9.0f} {ratio:>7} {m['cpu_per_1000']:11.3f} {m.get('p50_ms', 0):8.2f} {m.get('p99_ms', 0):8.2f}")


if __name__ == "__main__":
    raise SystemExit(main())

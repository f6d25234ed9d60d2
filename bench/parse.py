"""Micro benchmark of what happens to a message at arrival: parse and pack, in µs per message.

    python -m bench.parse [--profile]
"""

from __future__ import annotations

import argparse
import base64
import cProfile
import pstats
import sys
import time
from collections.abc import Callable

from postoffice.message.address import parse_path
from postoffice.message.parsed import pack_parsed
from postoffice.message.structured import parse_message
from postoffice.message.trace_fields import strip_return_path

HEADER = (
    b"Received: from client.example.test ([192.0.2.7]) by relay.example.test\r\n"
    b"          (Post.Office) with ESMTP id 01JDEXAMPLE00 for <user@example.test>;\r\n"
    b"          Tue, 24 Nov 2026 09:41:07 +0900\r\n"
    b"Message-ID: <20261124094107.12345@client.example.test>\r\n"
    b"Date: Tue, 24 Nov 2026 09:41:07 +0900\r\n"
    b"From: Taro Yamada <taro@example.test>\r\n"
    b"To: Hanako Suzuki <hanako@example.test>, office@example.test\r\n"
    b"Subject: The plan for next week's meeting in Osaka\r\n"
    b"MIME-Version: 1.0\r\n"
    b"User-Agent: Example Mail 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 7bit\r\n"
)


def _word(text: str) -> bytes:
    return b"=?ISO-2022-JP?B?" + base64.b64encode(text.encode("iso2022_jp")) + b"?="


JAPANESE = HEADER.replace(b"From: Taro Yamada", b"From: " + _word("山田 太郎")).replace(
    b"The plan for next week's meeting in Osaka",
    _word("来週の大阪での会議の計画") + b"\r\n " + _word("について、ご確認のお願い"),
).replace(b"charset=utf-8", b"charset=ISO-2022-JP")
LINE = b"The quick brown fox jumps over the lazy dog and runs into the woods.\r\n"
JAPANESE_LINE = "来週の大阪での会議の計画について、ご確認をお願いいたします。".encode("iso2022_jp") + b"\r\n"
BASE64_LINE = b"SGVsbG8gV29ybGQhSGVsbG8gV29ybGQhSGVsbG8gV29ybGQhSGVsbG8gV29ybGQhSGVsbG8gV29y\r\n"


def build_text(size: int, header: bytes = HEADER, line: bytes = LINE) -> bytes:
    """A text message of about ``size`` bytes."""
    return header + b"\r\n" + line * max(1, (size - len(header)) // len(line))


def build_multipart(size: int) -> bytes:
    """mixed(alternative(plain, html), attachment)."""
    head = HEADER.replace(b"text/plain; charset=utf-8", b'multipart/mixed; boundary="=_outer_1234"')
    inner = (
        b"--=_inner_1234\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + LINE * 8
        + b"--=_inner_1234\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>" + LINE * 8
        + b"--=_inner_1234--\r\n"
    )
    rest = max(1, (size - len(head) - len(inner)) // len(BASE64_LINE))
    return (
        head + b'\r\n--=_outer_1234\r\nContent-Type: multipart/alternative; boundary="=_inner_1234"\r\n\r\n' + inner
        + b'--=_outer_1234\r\nContent-Type: application/pdf; name="plan.pdf"\r\n'
        b'Content-Disposition: attachment; filename="plan.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + BASE64_LINE * rest + b"--=_outer_1234--\r\n"
    )


def measure(work: Callable[[], object], seconds: float = 0.3) -> float:
    """µs per call: the best of many short runs, for other work on the machine only ever adds."""
    start = time.perf_counter()
    work()
    count = max(1, int(0.002 / (time.perf_counter() - start)))
    best = float("inf")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        for _ in range(count):
            work()
        best = min(best, (time.perf_counter() - start) / count)
    return best * 1e6


CASES: dict[str, bytes] = {
    "text 4 KB": build_text(4096),
    "text 64 KB": build_text(65_536),
    "text 1 MB": build_text(1 << 20),
    "Japanese 4 KB": build_text(4096, JAPANESE, JAPANESE_LINE),
    "Japanese 64 KB": build_text(65_536, JAPANESE, JAPANESE_LINE),
    "multipart 4 KB": build_multipart(4096),
    "multipart 64 KB": build_multipart(65_536),
    "multipart 1 MB": build_multipart(1 << 20),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--profile", action="store_true", help="profile the 4 KB text instead")
    if arguments.parse_args().profile:
        with cProfile.Profile() as profile:
            for _ in range(20_000):
                pack_parsed(parse_message(CASES["text 4 KB"]))
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(20)
        return
    print(f"{'':18}{'parse':>9}{'+ pack':>9}  µs per message")
    for name, data in CASES.items():
        def parse(data: bytes = data) -> object:
            return parse_message(data)

        def both(data: bytes = data) -> object:
            return pack_parsed(parse_message(data))

        print(f"{name:18}{measure(parse):9.1f}{measure(both):9.1f}")
    print(f"{'parse_path':18}{measure(lambda: parse_path(b'<user@example.test> SIZE=4096')):9.2f}")
    print(f"{'strip_return_path':18}{measure(lambda: strip_return_path(CASES['text 4 KB'])):9.2f}")


if __name__ == "__main__":
    main()

"""What one 4 KB message costs in CPU on its way through a session and intake, without sockets and disk.

``python -m bench.session [--messages N] [--profile]`` prints microseconds of CPU per message: protocol, policy, parsing,
routing, trace row and store hand-over, everything on. The target is 110.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from postoffice.testing.smtp_rig import SmtpRig
from postoffice.trace.journal import Journal

TARGET_MICROSECONDS = 110


def build_message(size: int) -> bytes:
    """A plain message of about ``size`` bytes with the header fields that mail programs write."""
    head = (
        b"Received: from laptop.example.org ([192.0.2.9]) by smtp.example.org with ESMTPSA id 8F3A; "
        b"Tue, 24 Nov 2026 09:41:07 +0900\r\n"
        b"Date: Tue, 24 Nov 2026 09:41:07 +0900\r\nFrom: Hanako Yamada <hanako@example.org>\r\n"
        b"To: Taro <taro@example.test>\r\nSubject: =?UTF-8?B?5Lya6K2w44Gu44GK55+l44KJ44Gb?=\r\n"
        b"Message-ID: <20261124004107.8F3A@example.org>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n"
        b"User-Agent: Example Mail 1.0\r\n\r\n")
    line = b"The quick brown fox jumps over the lazy dog and goes home to write a letter.\r\n"
    return head + line * max((size - len(head)) // len(line), 1)


def run(messages: int, size: int, profile: cProfile.Profile | None, *, journal: bool) -> float:
    """Microseconds of CPU per message."""
    data = build_message(size) + b".\r\n"
    spent = 0.0

    async def main() -> None:
        nonlocal spent
        rig = SmtpRig()
        with TemporaryDirectory() as directory:
            writer = None
            if journal:
                writer = Journal(Path(directory) / "trace", lambda: rig.snapshot, time.time)
                rig.use_trace(writer)
            client = rig.connect()
            wire = client.wire
            await client.ehlo()
            envelope = b"MAIL FROM:<hanako@example.org> SIZE=4096\r\nRCPT TO:<taro@example.test>\r\nDATA\r\n"
            start = time.process_time()
            if profile is not None:
                profile.enable()
            for number in range(messages):
                wire.give(envelope)
                wire.give(data)
                await asyncio.sleep(0)
                if number % 50 == 49:
                    if writer is not None:
                        writer.flush()
                    wire.take()
            if profile is not None:
                profile.disable()
            spent = time.process_time() - start
            answers = wire.take()
            assert not answers or answers.endswith(b"\r\n")
            if writer is not None:
                writer.close()

    asyncio.run(main())
    return spent / messages * 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--no-journal", action="store_true", help="without the real trace and log behind it")
    options = parser.parse_args()
    profile = cProfile.Profile() if options.profile else None
    figures = [run(options.messages, options.size, profile, journal=not options.no_journal)
               for _ in range(1 if profile else 5)]
    figures.sort()
    print(f"{figures[len(figures) // 2]:.1f} µs CPU per message of {options.size} bytes "
          f"(best {figures[0]:.1f}, target {TARGET_MICROSECONDS})")
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()

"""A check's finding with its consequence. Pure: no I/O, no clock.

Actions are ordered; the largest wins. A relay verdict is never undone by another check.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Action(enum.IntEnum):
    PASS = 0
    TAG = 1
    HOLD = 2
    QUARANTINE = 3
    DISCARD = 4
    DEFER = 5
    REJECT = 6


class Stage(enum.Enum):
    CONNECT = "connect"
    HELLO = "hello"
    SENDER = "sender"
    RECIPIENT = "recipient"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``code`` and ``enhanced`` and ``text`` are the short reply for the peer (used from DEFER up); ``sentence`` and
    ``ja`` are for the administrator and go to the trace; ``key`` is the settings key that decided."""

    action: Action
    check: str
    code: int = 250
    enhanced: str = ""
    text: str = ""
    sentence: str = ""
    ja: str = ""
    key: str = ""


PASS = Verdict(Action.PASS, "")

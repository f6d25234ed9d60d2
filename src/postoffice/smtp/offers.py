"""What the engine offers a client: extensions, mechanisms and limits as the settings and the connection have them."""

from __future__ import annotations

from typing import NamedTuple

from postoffice.config.registry import Snapshot
from postoffice.settings import smtp_accept as keys
from postoffice.smtp.greeting import get_host_name
from postoffice.smtp.protocol.commands import COMMANDS
from postoffice.smtp.protocol.extensions import KEYWORDS, EngineConfig, Limits

PIECE_BYTES = 64 * 1024         # a body is handed on in pieces above this: what the engine holds is bounded

# Extension -> the key that switches it off, and the verb that is then answered 502.
_SWITCHES = (
    ("SIZE", keys.ALLOW_SIZE, ""),
    ("CHUNKING", keys.ALLOW_BDAT, "BDAT"),
    ("HELP", keys.ALLOW_HELP, "HELP"),
    ("VRFY", keys.ALLOW_VRFY, ""),          # the keyword alone: the answer is then a neutral 252
    ("", keys.ALLOW_EXPN, "EXPN"),
    ("AUTH", keys.DO_AUTH, "AUTH"),
)


class Situation(NamedTuple):
    """What the offer depends on beside the settings. ``tls``: a certificate is there and TLS has not begun;
    ``mechanisms``: those this client may sign in with now."""

    tls: bool
    mechanisms: tuple[str, ...]
    submission: bool


class Offers:
    """Makes engine configurations, each once per snapshot of the settings."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._made: dict[Situation, EngineConfig] = {}

    def get(self, snapshot: Snapshot, situation: Situation) -> EngineConfig:
        """The same object for the same situation: the engine sees at a glance that nothing changed."""
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._made = {}
        config = self._made.get(situation)
        if config is None:
            config = self._made[situation] = build_config(snapshot, situation)
        return config


def build_config(snapshot: Snapshot, situation: Situation) -> EngineConfig:
    """The configuration for one situation."""
    off = [(keyword, verb) for keyword, key, verb in _SWITCHES if not snapshot[key]]
    return EngineConfig(
        host=get_host_name(snapshot),
        extensions=KEYWORDS - {keyword for keyword, _ in off},
        verbs=COMMANDS - {verb for _, verb in off},
        limits=Limits(message_size=snapshot[keys.MESSAGE_SIZE], piece_bytes=PIECE_BYTES),
        mechanisms=situation.mechanisms,
        # RFC 6409 §4.3: a submission port serves nobody who has not signed in.
        require_auth=situation.submission,
        starttls=situation.tls and snapshot[keys.ALLOW_STARTTLS])

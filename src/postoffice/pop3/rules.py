"""POP3-Server's settings as the values a session works by, made once per change of the settings.

Owns what DomainAllowed and DomainNotAllowed mean together. The client's reverse name is not known here, so a
domain name among them matches nobody.
"""

from __future__ import annotations

from collections.abc import Callable

from postoffice.base.streams import Address
from postoffice.config.registry import Snapshot
from postoffice.policy.access import is_admitted
from postoffice.pop3.services import Rules
from postoffice.settings import dispatch, pop3_server
from postoffice.tls.acceptor import ConnectionLimits


class RulesReader:
    """Gives the `Rules` of the present settings; cheap while their generation stands."""

    def __init__(self, current: Callable[[], Snapshot]) -> None:
        self._current = current
        self._snapshot: Snapshot | None = None
        self._rules: Rules

    def __call__(self) -> Rules:
        snapshot = self._current()
        if snapshot is not self._snapshot:
            self._rules = read_rules(snapshot)
            self._snapshot = snapshot
        return self._rules

    def get_limits(self) -> ConnectionLimits:
        """For the acceptors' `tls.acceptor.ConnectionCounts`."""
        snapshot = self._current()
        return ConnectionLimits(
            snapshot[pop3_server.MAX_SESSIONS], snapshot[pop3_server.MAX_SESSIONS_PER_CLIENT])


def read_rules(snapshot: Snapshot) -> Rules:
    """The rules of a snapshot."""
    allowed, denied = snapshot[pop3_server.DOMAIN_ALLOWED], snapshot[pop3_server.DOMAIN_NOT_ALLOWED]

    def admits(client: Address) -> bool:
        return is_admitted(client, None, allowed) and not (denied and is_admitted(client, None, denied))

    return Rules(
        host_name=snapshot[dispatch.HOST_NAME],
        banner=snapshot[pop3_server.BANNER],
        compatible_banner=snapshot[pop3_server.COMPATIBLE_BANNER],
        idle_seconds=snapshot[pop3_server.IDLE_TIMEOUT],
        min_poll_seconds=snapshot[pop3_server.POP_MIN_POLL],
        offer_stls=snapshot[pop3_server.ALLOW_STLS],
        admits=admits,
    )

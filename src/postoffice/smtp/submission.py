"""What a message of a user bears: how its Received field and the trace tell where it came from (RFC 6409).

The other rules of submission have their own places: that nobody is served before signing in is the engine's
(`offers`), that the sender address belongs to the login is a check (`policy.checks.sender`).
"""

from __future__ import annotations

from postoffice.config.registry import Snapshot
from postoffice.message.trace_fields import name_protocol
from postoffice.policy.facts import Facts
from postoffice.queue.intake import Source
from postoffice.settings import smtp_accept


def build_source(facts: Facts, client: str, snapshot: Snapshot, *, utf8: bool) -> Source:
    """How the message came, for its Received field and the trace."""
    signed_in = facts.signed_in
    return Source(
        client, facts.helo, signed_in.login if signed_in is not None else "",
        name_protocol(extended=facts.extended, secure=facts.secure, authenticated=signed_in is not None, utf8=utf8),
        hidden=signed_in is not None and snapshot[smtp_accept.HIDE_CLIENT_ADDRESS])

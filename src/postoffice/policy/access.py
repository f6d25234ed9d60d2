"""From where: networks, addresses and domains as a person writes them, judged for one client.

A domain matches a client's reverse name, and only when that name is known: this server looks no names up before a
sign-in, so without a known name a domain never matches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from postoffice.base.streams import Address
from postoffice.config.kinds import DOMAINS_OR_NETWORKS

Network = IPv4Network | IPv6Network
Rule = Network | str


def is_in(client: Address, networks: Iterable[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    return any(client in network for network in networks)


def is_admitted(client: Address, name: str | None, rules: Sequence[Rule]) -> bool:
    """Whether one of the rules admits the client; no rules admit everybody. ``name``: its reverse name if known."""
    if not rules:
        return True
    word = name.lower().rstrip(".") if name else None
    for rule in rules:
        if isinstance(rule, str):
            if word is not None and (word == rule or word.endswith("." + rule)):
                return True
        elif client in rule:
            return True
    return False


@lru_cache(maxsize=4096)
def parse_access(texts: tuple[str, ...]) -> tuple[Rule, ...]:
    """An account's access list. Raises ValueError for what is neither network nor domain."""
    return DOMAINS_OR_NETWORKS.parse(" ".join(texts))


def get_client_group(client: Address) -> str:
    """What counts as one client: an IPv4 address, an IPv6 /64 (whoever has one address of it has them all)."""
    if isinstance(client, IPv4Address):
        return str(client)
    return str(IPv6Network((int(client) >> 64 << 64, 64)))

"""Which domains and names are this server's own: the part of resolution that settings decide.

Owns the rule, not the accounts. A `Territory` is computed from one snapshot of the settings, so that a changed host
name or domain list moves the reserved accounts at once and no address of the host is ever stored with an account.

Ours are: the local mail domains, the host's own name, and the address literals of this machine (asked of the kernel).
RFC 5321 §4.5.1: postmaster is reachable bare, at every domain and at the literal.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from postoffice.message.address import format_domain_key


@dataclass(frozen=True, slots=True)
class Reserved:
    """One reserved account: ``role`` is its lasting name in the database, ``local`` its local part."""

    role: str
    local: str
    name: str


POSTMASTER = Reserved("postmaster", "Postmaster", "Postmaster Account")

RESERVED: tuple[Reserved, ...] = (
    POSTMASTER,
    Reserved("account-manager", "Account.Manager", "Account Manager"),
    Reserved("configuration-manager", "Configuration.Manager", "Configuration Manager"),
    Reserved("error-handler", "Error.Handler", "Error Handler"),
    Reserved("list-manager", "List.Manager", "List Manager"),
    Reserved("mailer-daemon", "MAILER-DAEMON", "Mailer Daemon"),
)

RESERVED_BY_LOCAL: dict[str, Reserved] = {row.local.lower(): row for row in RESERVED}
RESERVED_BY_ROLE: dict[str, Reserved] = {row.role: row for row in RESERVED}


@dataclass(frozen=True, slots=True)
class Territory:
    """``host`` as written; ``domains`` are comparison keys of the local mail domains and the host."""

    host: str
    domains: frozenset[str]
    allow_detail: bool

    def owns(self, domain: str) -> bool:
        """Whether a domain (its key; "" for a bare name) is ours."""
        return not domain or domain in self.domains or (domain.startswith("[") and _is_own_literal(domain))


def build_territory(host: str, domains: Iterable[str], *, allow_detail: bool) -> Territory:
    """The territory of these settings. A host without a name is its first domain."""
    listed = [domain for domain in domains if domain]
    named = host or (listed[0] if listed else "localhost")
    return Territory(named, frozenset(format_domain_key(domain) for domain in (*listed, named)), allow_detail)


def split_detail(local: str) -> str | None:
    """``user`` of ``user+detail``; None when there is no detail (RFC 5233 §1)."""
    base, plus, _detail = local.partition("+")
    return base if plus and base else None


def _is_own_literal(domain: str) -> bool:
    address = domain[1:-1].removeprefix("ipv6:")
    # Only the kernel knows the machine's addresses of this moment; binding a port of its choice asks it and sends
    # nothing (10 µs).
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return address not in {"0.0.0.0", "::"}

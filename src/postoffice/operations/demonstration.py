"""A demonstration: a server for ``example.test`` on high ports, with two accounts, as the calling user.

Owns what is set up and said; running it is `control.run_foreground`. A second run reuses the set-up, and the passwords
are shown only when they are made.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from postoffice.catalog import build_registry
from postoffice.config.registry import Snapshot
from postoffice.directory.credentials import build_credentials
from postoffice.directory.model import NewAccount
from postoffice.operations import setup
from postoffice.operations.answers import parse_answers
from postoffice.operations.caller import get_user_name
from postoffice.operations.office import Office, is_set_up

DOMAIN = "example.test"
PORTS = {
    "smtp": 2525, "submission": 2587, "smtps": 2465, "pop3": 2110, "pop3s": 2995, "imap": 2143, "imaps": 2993,
    "http": 8080, "https": 8443, "ldap": 2389, "finger": 2079, "password": 2106,
}
ACCOUNTS = (("yamada", "Taro Yamada"), ("suzuki", "Hanako Suzuki"))
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"        # nothing that is mistaken for something else


@dataclass(frozen=True, slots=True)
class MadeAccount:
    """An account just made, with its password, which is stored nowhere."""

    address: str
    password: str


def set_up_demonstration(spool: Path) -> list[MadeAccount]:
    """Set up what is missing; the accounts made now. Raises PostOfficeError."""
    if is_set_up(spool):
        return _make_missing(spool)
    spool.mkdir(parents=True, exist_ok=True)
    document = {
        "hostname": f"mail.{DOMAIN}", "domains": [DOMAIN], "postmaster_password": make_password(),
        "user": get_user_name(os.geteuid()), "ports": PORTS,
        "tls": {"plaintext_login_from": ["127.0.0.0/8", "::1"]}, "listen": {"addresses": ["127.0.0.1", "::1"]
                                                                          if _has_ipv6() else ["127.0.0.1"]},
    }
    setup.set_up(setup.Target(spool, write_configuration=False), parse_answers(document), lambda _line: None)
    return _make_missing(spool)


def _make_missing(spool: Path) -> list[MadeAccount]:
    """Accounts that are not there: all at first, the rest when a first run was interrupted."""
    office = Office(spool)
    try:
        have = {account.address for account in office.directory.list_accounts()}
        return [_make_account(office, local, name) for local, name in ACCOUNTS if f"{local}@{DOMAIN}" not in have]
    finally:
        office.close()


def make_password() -> str:
    """Twelve characters in three groups, about 59 bits: easy to type once."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))


def _make_account(office: Office, local: str, name: str) -> MadeAccount:
    address, password = f"{local}@{DOMAIN}", make_password()
    office.directory.add(NewAccount(name, address, credentials=build_credentials(password, office.settings.current())))
    return MadeAccount(address, password)


def describe_ports(spool: Path) -> list[tuple[str, str]]:
    """(what for, port) of the services that run, as the settings say now."""
    office = Office(spool)
    try:
        snapshot: Snapshot = office.settings.current()
    finally:
        office.close()
    registry = build_registry()
    names = {
        "SMTP-Accept/Config/Socket": "SMTP (STARTTLS)", "SMTP-Accept/Config/SubmissionSocket": "submission (STARTTLS)",
        "SMTP-Accept/Config/SSLSocket": "submission (TLS)", "POP3-Server/Config/Socket": "POP3 (STLS)",
        "POP3-Server/Config/SSLSocket": "POP3 (TLS)",
    }
    return [(name, snapshot.get_text(registry.get(path))) for path, name in names.items()]


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists() and "lo" in Path("/proc/net/if_inet6").read_text()

"""Changing settings safely: all values are judged before any is saved, and the running server obeys before we return.

`dbedit` and `config apply` act directly: what looks dangerous is a warning, what is impossible an error. Owns the
judgement of values against the machine (`check_change`) and against each other (`check_ports_apart`); what a value may
be at all stands in its `Key`, what a change brings with it in `warn_of_change`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from postoffice.base.errors import InputError
from postoffice.config.keys import Applies, Key
from postoffice.config.kinds import PORTS, Address, Port
from postoffice.config.registry import Snapshot
from postoffice.config.saved import Changed, check_value
from postoffice.message.address import parse_address
from postoffice.operations.office import Office
from postoffice.settings import account_manager, dispatch, log, pop3_server, smtp_accept, smtp_router, tls
from postoffice.settings.system_security import PLAINTEXT_LOGIN_FROM

# The keys whose ports are opened; those of services that are not built yet are only stored.
_SERVED: tuple[Key[tuple[Port, ...]], ...] = (
    smtp_accept.SOCKET, smtp_accept.SUBMISSION_SOCKET, smtp_accept.SSL_SOCKET,
    pop3_server.SOCKET, pop3_server.SSL_SOCKET,
)
_ANY = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was changed, and sentences of warning."""

    changed: list[Changed]
    warnings: list[str]


def change_settings(office: Office, changes: Mapping[str, str | None], *, who: str, origin: str) -> Outcome:
    """Judge, save, and make every process obey (None: back to the default).

    Raises InputError or PostOfficeError naming key, value and remedy; nothing is changed then. When a running process
    does not obey, the value is saved and the PostOfficeError names the process."""
    registry = office.settings.registry
    wanted = {registry.get(path): text for path, text in changes.items()}
    tidied = {key: check_value(key, text) for key, text in wanted.items()}
    before = office.settings.current()
    texts = {key: text for key, text in (dict(before.texts) | tidied).items() if text is not None}
    after = Snapshot(registry, texts)
    check_change(office, after, [key for key in tidied if before.get_text(key) != after.get_text(key)])
    done = office.settings.apply({key.path: text for key, text in tidied.items()}, who=who, origin=origin)
    if done:
        office.notify()
    return Outcome(done, warn_of_change(office, before, {registry.get(one.path) for one in done}))


def check_change(office: Office, after: Snapshot, changed: Iterable[Key[Any]]) -> None:
    """Whether this machine can do what the changed keys will say. ``after``: all values as they will be.

    Raises InputError or PostOfficeError. The ports that a running server could open it keeps for the change."""
    keys = list(changed)
    if any(key in _SERVED or key in (dispatch.LISTEN_ADDRESSES, pop3_server.ENABLE) for key in keys):
        check_ports_apart(after, keys)
    for key in keys:
        value, text = after[key], after.get_text(key)
        if key is dispatch.LISTEN_ADDRESSES or key.kind is PORTS:
            addresses = value if key is dispatch.LISTEN_ADDRESSES else [port.address for port in value if port.address]
            _check_local(key.path, addresses)
        if key is dispatch.LISTEN_ADDRESSES or key in _SERVED:
            office.check_ports(key.path, text)
        check = _MACHINE_CHECKS.get(key)
        if check is not None:
            check(key.path, value)


def check_ports_apart(after: Snapshot, changed: Collection[Key[Any]] = ()) -> None:
    """Whether no two services (nor one twice) want the same port of the same address.

    Raises InputError naming both, first the one that is being ``changed``."""
    listen = [str(address) for address in after[dispatch.LISTEN_ADDRESSES]] or list(_ANY)
    served = [key for key in _SERVED if key.module != "POP3-Server" or after[pop3_server.ENABLE]]
    endpoints = [
        (key, port, [str(port.address)] if port.address else listen) for key in served for port in after[key]
    ]
    for (key, port, addresses), (other, same, others) in combinations(endpoints, 2):
        if port.port == same.port and any(_overlap(one, two) for one in addresses for two in others):
            blamed, owner = (key, other) if key in changed and other not in changed else (other, key)
            where = "there twice" if key is other else f"already the port of {owner.path}"
            raise InputError(blamed.path, f"the value [{after.get_text(blamed)}] is not possible: {same} is {where}.",
                             "Give each service a port of its own.")


def _overlap(one: str, two: str) -> bool:
    return (":" in one) == (":" in two) and (one == two or one in _ANY or two in _ANY)


def _check_local(path: str, addresses: Iterable[Address]) -> None:
    for address in addresses:
        with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(address), 0))           # asks the kernel; sends nothing
            except OSError:
                raise InputError(path, f"{address} is not an address of this machine.",
                                 "See them with: ip address") from None


def _check_writable(path: str, directory: Path | None) -> None:
    if directory is None:
        return
    probe = directory / ".post.office-probe"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(path, f"nothing can be written in {directory}: {error.strerror}.",
                         "Create the directory and give it to the spool's owner.") from None


def _check_certificates(path: str, files: tuple[Path, ...]) -> None:
    from postoffice.tls.contexts import load_certificate  # cryptography is slow to load; few commands need it

    for file in files:
        try:
            load_certificate(file)
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(
                path, f"{file} cannot be used: {reason}.",
                "A PEM certificate is needed, with its key in the same file or beside it as NAME.key.") from None


_MACHINE_CHECKS: Mapping[Key[Any], Callable[[str, Any], None]] = {
    log.LOG_DIR: _check_writable,
    tls.CERTIFICATES: _check_certificates,
}


def warn_of_change(office: Office, before: Snapshot, changed: set[Key[Any]]) -> list[str]:
    """Sentences about what a change brings with it that its author may not have meant."""
    after = office.settings.current()
    warnings = []
    if smtp_accept.ALLOW_STARTTLS in changed and not after[smtp_accept.ALLOW_STARTTLS]:
        allowed = PLAINTEXT_LOGIN_FROM.format(after[PLAINTEXT_LOGIN_FROM])
        warnings.append("Without STARTTLS programs can sign in on the SMTP and submission ports only from: "
                        f"{allowed or 'nowhere'}. The TLS port is not concerned.")
    if smtp_accept.DO_AUTH in changed and not after[smtp_accept.DO_AUTH]:
        warnings.append("Nobody can sign in to send mail any more.")
    if PLAINTEXT_LOGIN_FROM in changed and any(network.prefixlen < 8 for network in after[PLAINTEXT_LOGIN_FROM]):
        warnings.append("Passwords may now cross the open network in clear text.")
    if account_manager.PASSWORD in changed and after[account_manager.PASSWORD].search(""):
        warnings.append("This rule admits an empty password.")
    if smtp_router.LOCAL_MAIL_DOMAINS in changed:
        warnings += _warn_of_domains(office, before, after)
    if office.is_running():
        restart = sorted(key.path for key in changed if key.applies is Applies.RESTART)
        warnings += [f"{path} takes effect with: postoffice restart" for path in restart]
    return warnings


def _warn_of_domains(office: Office, before: Snapshot, after: Snapshot) -> list[str]:
    domains: tuple[str, ...] = after[smtp_router.LOCAL_MAIL_DOMAINS]
    gone = {domain for domain in before[smtp_router.LOCAL_MAIL_DOMAINS] if domain not in domains}
    if not gone:
        return []
    users = sum(
        any(parse_address(text, utf8=True).key[1] in gone for text in account.all_addresses)
        for account in office.directory.list_accounts() if office.directory.get_reserved_role(account.id) is None
    )
    names = ", ".join(sorted(gone))
    return [f"{users} account(s) have addresses in {names}, whose mail is refused now."] if users else []

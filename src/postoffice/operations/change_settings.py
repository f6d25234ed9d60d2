"""Changing settings safely: all values are judged before any is saved, and the running server obeys before we return.

`dbedit` and `config apply` act directly: what looks dangerous is a warning, what is impossible an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from postoffice.base.errors import InputError
from postoffice.config.kinds import PORTS
from postoffice.config.saved import Changed, check_value
from postoffice.operations.office import Office
from postoffice.settings import dispatch as dispatch_keys
from postoffice.settings import log as log_keys
from postoffice.settings import smtp_accept, system_security
from postoffice.settings import tls as tls_keys


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was changed, and sentences of warning."""

    changed: list[Changed]
    warnings: list[str]


def change_settings(office: Office, changes: Mapping[str, str | None], *, who: str, origin: str) -> Outcome:
    """Judge, save, and make every process obey (None: back to the default).

    Raises InputError or PostOfficeError naming key, value and remedy; nothing is changed then. When a running process does not
    obey, the value is saved and the PostOfficeError names the process."""
    registry = office.settings.registry
    wanted = {registry.get(path): text for path, text in changes.items()}
    for key, text in wanted.items():
        check_value(key, text)
    for key, text in wanted.items():
        value = key.default if text is None else text
        if key.kind is PORTS:
            office.check_ports(key.path, value)
        elif key is log_keys.LOG_DIR:
            _check_writable(key.path, log_keys.LOG_DIR.parse(value))
        elif key is tls_keys.CERTIFICATES:
            _check_certificates(key.path, tls_keys.CERTIFICATES.parse(value))
    done = office.settings.apply({key.path: text for key, text in wanted.items()}, who=who, origin=origin)
    if done:
        office.notify()
    return Outcome(done, _warn(office, {changed.path for changed in done}))


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
    from postoffice.tls.contexts import load_certificate           # cryptography is slow to load; few commands need it

    for file in files:
        try:
            load_certificate(file)
        except (ValueError, OSError) as error:
            raise InputError(path, f"{file} cannot be used: {error}") from None


def _warn(office: Office, changed: set[str]) -> list[str]:
    """Sentences about what a change brings with it that its author may not have meant."""
    snapshot = office.settings.current()
    warnings = []
    if smtp_accept.ALLOW_STARTTLS.path in changed and not snapshot[smtp_accept.ALLOW_STARTTLS]:
        allowed = system_security.PLAINTEXT_LOGIN_FROM.format(snapshot[system_security.PLAINTEXT_LOGIN_FROM])
        warnings.append("Without STARTTLS programs can sign in on the SMTP and submission ports only from: "
                        f"{allowed or 'nowhere'}. The TLS port is not concerned.")
    if system_security.PLAINTEXT_LOGIN_FROM.path in changed and any(
            network.prefixlen < 8 for network in snapshot[system_security.PLAINTEXT_LOGIN_FROM]):
        warnings.append("Passwords may now cross the open network in clear text.")
    if dispatch_keys.WORKERS.path in changed:
        warnings.append("The number of workers changes with: postoffice restart")
    return warnings

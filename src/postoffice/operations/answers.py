"""The answers a set-up needs: from a TOML file or from questions, checked before anything is changed.

Each answer is either given or None, which leaves things as they are. One row per answer that is simply a setting:
its name in the file, its key. Owns no effect; `setup` carries the answers out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from postoffice.base.errors import InputError
from postoffice.config.keys import Key
from postoffice.operations.caller import read_as_caller
from postoffice.settings import (
    dispatch,
    finger_server,
    imap4_server,
    ldap_server,
    log,
    password_server,
    pop3_server,
    smtp_accept,
    smtp_router,
    system_security,
    www_server,
)

PORT_KEYS: dict[str, Key[Any]] = {
    "smtp": smtp_accept.SOCKET, "submission": smtp_accept.SUBMISSION_SOCKET, "smtps": smtp_accept.SSL_SOCKET,
    "pop3": pop3_server.SOCKET, "pop3s": pop3_server.SSL_SOCKET, "imap": imap4_server.SOCKET,
    "imaps": imap4_server.SSL_SOCKET, "http": www_server.SOCKET, "https": www_server.SSL_SOCKET,
    "ldap": ldap_server.SOCKET, "finger": finger_server.SOCKET, "password": password_server.SOCKET,
}
_SETTINGS: dict[str, Key[Any]] = {
    "hostname": dispatch.HOST_NAME, "domains": smtp_router.LOCAL_MAIL_DOMAINS,
    "directories.log": log.LOG_DIR, "directories.mailbox": dispatch.MAILBOX_DIR,
    "tls.plaintext_login_from": system_security.PLAINTEXT_LOGIN_FROM,
    "listen.addresses": dispatch.LISTEN_ADDRESSES, "relay.allow": smtp_router.RELAY_ALLOW,
    **{f"ports.{name}": key for name, key in PORT_KEYS.items()},
}
_LISTS = {"domains", "tls.plaintext_login_from", "listen.addresses", "relay.allow"}
_OTHERS = {"postmaster_password", "postmaster_password_file", "user", "directories.spool", "tls.certificate", "tls.key"}
_TABLES = {"directories", "ports", "tls", "listen", "relay"}
_REQUIRED = ("hostname", "domains", "postmaster_password")


@dataclass
class Answers:
    """``settings``: key -> text, checked. ``certificate`` and ``key`` are the files' bytes."""

    settings: dict[Key[Any], str] = field(default_factory=dict)
    postmaster_password: str | None = None
    user: str | None = None
    spool: Path | None = None
    certificate: bytes | None = None
    key: bytes | None = None


def read_answers(path: Path) -> Answers:
    """The answers of a TOML file, which is read as the caller. Raises InputError naming the key."""
    data = read_as_caller(path, "--answers")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("--answers", f"{path} is not TOML: {error}.") from None
    return parse_answers(document, path.parent)


def parse_answers(document: Mapping[str, Any], base: Path = Path()) -> Answers:
    """Answers from a document; file names in it are relative to ``base``. Raises InputError naming the key."""
    values = _flatten(document)
    for name in values:
        if name not in _SETTINGS and name not in _OTHERS:
            known = ", ".join(sorted({*_SETTINGS, *_OTHERS}))
            raise InputError(name, "there is no such answer.", f"Known are {known}.")
    if "postmaster_password" in values and "postmaster_password_file" in values:
        raise InputError("postmaster_password_file", "the password is given twice.", "Give one of the two.")
    answers = Answers()
    if "postmaster_password_file" in values:
        file = base / _get_text(values, "postmaster_password_file")
        values["postmaster_password"] = _decode_password(read_as_caller(file, "postmaster_password_file"))
    for name in _REQUIRED:
        if not values.get(name):
            raise InputError(name, "this answer is required.")
    for name, key in _SETTINGS.items():
        if name in values:
            answers.settings[key] = check_setting(name, key, values[name])
    answers.postmaster_password = _get_text(values, "postmaster_password")
    if "user" in values:
        answers.user = _get_text(values, "user")
    if "directories.spool" in values:
        answers.spool = _check_directory("directories.spool", _get_text(values, "directories.spool"))
    if ("tls.certificate" in values) != ("tls.key" in values):
        missing = "tls.key" if "tls.certificate" in values else "tls.certificate"
        raise InputError(missing, "certificate and key belong together.", "Name both files, or neither.")
    if "tls.certificate" in values:
        answers.certificate = read_as_caller(base / _get_text(values, "tls.certificate"), "tls.certificate")
        answers.key = read_as_caller(base / _get_text(values, "tls.key"), "tls.key")
    return answers


def check_setting(name: str, key: Key[Any], value: object) -> str:
    """An answer as the text of its key. Raises InputError naming the answer."""
    if name in _LISTS:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InputError(name, f'{value!r} is no list of texts, like ["one", "two"].')
        for one in value:
            if not one or one.split() != [one]:
                raise InputError(name, f"{one!r} is no item of a list.", "Each item stands in quotes of its own.")
        text = " ".join(value)
    elif name.startswith("ports."):
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise InputError(name, f"{value!r} is no port: a number from 1 to 65535, or 0 for off.")
        text = str(value)
    elif isinstance(value, str):
        text = value.strip()
    else:
        raise InputError(name, f"{value!r} is no text.")
    special = _SPECIAL.get(name)
    if special is not None:
        special(name, text)
    try:
        return key.format(key.parse(text))
    except ValueError as error:
        raise InputError(name, f"{error}.") from None


def check_host_name(name: str, text: str) -> None:
    """A host name is a full name, not an address. Raises InputError."""
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        if "." in text.strip(".") or text.lower() == "localhost":
            return
        raise InputError(name, f"{text!r} is not the full name of a host.",
                         f"Give it with its domain, like {text or 'mail'}.example.jp") from None
    raise InputError(name, f"{text!r} is an address, not the name of a host.", "Give a name, like mail.example.jp")


def _check_absolute(name: str, text: str) -> None:
    _check_directory(name, text)


_SPECIAL: dict[str, Callable[[str, str], None]] = {
    "hostname": check_host_name, "directories.log": _check_absolute, "directories.mailbox": _check_absolute,
}


def _check_directory(name: str, text: str) -> Path:
    if not text.startswith("/"):
        raise InputError(name, f"{text!r} is not an absolute path.", "Begin it with /")
    return Path(text)


def _flatten(document: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name in _TABLES:
            if not isinstance(value, Mapping):
                raise InputError(name, "this is a table.", f"Write it as [{name}]")
            values |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            values[name] = value
    return values


def _get_text(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if not isinstance(value, str):
        raise InputError(name, f"{value!r} is no text.")
    return value


def _decode_password(data: bytes) -> str:
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError("postmaster_password_file", "the file is not UTF-8.") from None

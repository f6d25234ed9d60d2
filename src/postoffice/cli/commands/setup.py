"""`postoffice setup`: the questions of a first start, or their answers from a file."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from postoffice.base.errors import InputError
from postoffice.cli.office import SPOOL
from postoffice.config.keys import Key
from postoffice.config.registry import Snapshot
from postoffice.directory.credentials import check_password
from postoffice.operations import setup
from postoffice.operations.answers import PORT_KEYS, Answers, check_setting, read_answers
from postoffice.operations.caller import as_owner
from postoffice.operations.office import Office, is_set_up
from postoffice.settings import account_manager, dispatch, smtp_router

_ASKED_PORTS = ("smtp", "submission", "smtps", "pop3", "pop3s")


@click.command()
@click.option("--answers", "answers_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Answers in TOML instead of questions; see docs/commands.md.")
@click.pass_context
def command(context: click.Context, answers_file: Path | None) -> None:
    """Set the server up: host name, mail domain, directories, ports, Postmaster's password.

    Run again it changes only what is asked. An answers file has the keys hostname, domains (list), postmaster_password
    or postmaster_password_file, user, and the tables [directories] spool, mailbox, log; [ports] smtp, submission,
    smtps, pop3, pop3s, imap, imaps, http, https, ldap, finger, password (0: off); [tls] certificate, key,
    plaintext_login_from; [listen] addresses; [relay] allow. Host name, domains and password are required.
    """
    option = context.meta.get(SPOOL)
    answers = read_answers(answers_file) if answers_file else Answers()
    target = setup.choose_target(option, answers)
    if answers_file is None:
        target = _ask_target(target)
        _ask(target.spool, answers)
    changes: list[str] = []

    def progress(line: str) -> None:
        changes.append(line)
        click.echo(line)

    setup.set_up(target, answers, progress)
    click.echo(f"{target.spool} is set up. Start the server with: postoffice start" if changes
               else f"{target.spool} is set up already; nothing has changed.")


def _ask_target(target: setup.Target) -> setup.Target:
    if target.named or is_set_up(target.spool):
        return target
    spool = _ask_until("Spool directory", str(target.spool), lambda text: str(_check_absolute(text)))
    return setup.Target(Path(spool), target.write_configuration, named=False)


def _ask(spool: Path, answers: Answers) -> None:
    """The questions, each with the present or a sensible value in brackets; only what differs becomes an answer."""
    snapshot = _read_snapshot(spool)
    host = snapshot.get_text(dispatch.HOST_NAME) or _guess_host_name()
    text = _ask_setting(answers, "hostname", dispatch.HOST_NAME, "Host name", host)
    domains = snapshot.get_text(smtp_router.LOCAL_MAIL_DOMAINS) or text.partition(".")[2] or text
    asked = _ask_until("Mail domains (separated by blanks)", domains,
                       lambda one: check_setting("domains", smtp_router.LOCAL_MAIL_DOMAINS, one.split()))
    answers.settings[smtp_router.LOCAL_MAIL_DOMAINS] = asked
    for name in _ASKED_PORTS:
        key = PORT_KEYS[name]
        _ask_setting(answers, f"ports.{name}", key, f"Port for {name} (0: off)", snapshot.get_text(key))
    answers.postmaster_password = _ask_password(snapshot, first=not is_set_up(spool))


def _ask_setting(answers: Answers, name: str, key: Key[Any], question: str, default: str) -> str:
    text = _ask_until(question, default, lambda one: check_setting(name, key, one))
    answers.settings[key] = text
    return text


def _ask_until(question: str, default: str, check: Callable[[str], str]) -> str:
    """Ask until the answer is possible."""
    while True:
        text: str = click.prompt(question, default=default)
        try:
            return check(text)
        except InputError as error:
            click.echo(str(error), err=True)


def _ask_password(snapshot: Snapshot, *, first: bool) -> str | None:
    while True:
        question = "Password of Postmaster" + ("" if first else " (empty: as it is)")
        password: str = click.prompt(question, default=None if first else "", hide_input=True, show_default=False,
                                     confirmation_prompt="Once more")
        if not password and not first:
            return None
        try:
            return check_password(password, snapshot[account_manager.PASSWORD])
        except InputError as error:
            click.echo(str(error), err=True)


def _read_snapshot(spool: Path) -> Snapshot:
    from postoffice.catalog import build_registry

    if not is_set_up(spool):
        return Snapshot(build_registry(), {})
    with as_owner(spool):
        office = Office(spool)
        try:
            return office.settings.current()
        finally:
            office.close()


def _guess_host_name() -> str:
    name = socket.gethostname()
    return name if "." in name else socket.getfqdn()


def _check_absolute(text: str) -> Path:
    if not text.startswith("/"):
        raise InputError("spool", f"{text!r} is not an absolute path.", "Begin it with /")
    return Path(text)



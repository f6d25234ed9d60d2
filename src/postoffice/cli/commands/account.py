"""`postoffice account`: who has mail here."""

from __future__ import annotations

import json
import sys
from typing import Any, BinaryIO

import click

from postoffice.base.errors import InputError
from postoffice.cli.office import pass_office
from postoffice.directory.model import Account, AccountClass
from postoffice.operations import accounts
from postoffice.operations.office import Office

_SHOWN_PROBLEMS = 50

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
password_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input, one line;"
                               " otherwise the terminal is asked twice.")


@click.group(name="account")
def command() -> None:
    """Accounts: an ADDRESS is any address of the account, or its POP3 login name."""


@command.command()
@click.argument("address")
@click.option("--name", required=True, help="The real name.")
@password_option
@click.option("--login", default="", help="POP3 login name; otherwise the part before the @, where it is free.")
@click.option("--address", "addresses", multiple=True, metavar="ADDRESS", help="An additional address; repeatable.")
@click.option("--limit", default="", help="Mailbox limit: 500M, 2G, unlimited, default.")
@click.option("--access", default="", help="From where mail may be read: networks, addresses, domains.")
@click.option("--postmaster", is_flag=True, help="Postmaster privilege.")
@json_option
@pass_office
def add(office: Office, address: str, name: str, password_stdin: bool, login: str, addresses: tuple[str, ...],
        limit: str, access: str, postmaster: bool, as_json: bool) -> None:
    """Make an account."""
    password = read_password(password_stdin)
    account = accounts.add_account(office, accounts.Request(
        address=address, name=name, login=login, addresses=addresses, limit=limit, access=access,
        postmaster=postmaster, password=password))
    if as_json:
        _print_json(accounts.describe(account))
    else:
        click.echo(f"{account.address} added. POP3 login name: {account.login}")


@command.command(name="list")
@click.argument("text", default="")
@click.option("--class", "wanted", type=click.Choice([one.value for one in AccountClass]), help="Only this class.")
@json_option
@pass_office
def list_(office: Office, text: str, wanted: str | None, as_json: bool) -> None:
    """All accounts, or those whose name, login or addresses hold TEXT."""
    word = text.lower()
    found = [one for one in accounts.list_accounts(office)
             if (wanted is None or one.account_class.value == wanted)
             and any(word in field.lower() for field in (one.name, one.login, *one.all_addresses))]
    if as_json:
        _print_json([accounts.describe(one) for one in found])
        return
    width = max((len(one.address) for one in found), default=0)
    for one in found:
        state = "" if one.enabled else "  stopped"
        click.echo(f"{one.address:{width}}  {one.account_class.value:14}  {one.login}  {one.name}{state}")


@command.command()
@click.argument("address")
@json_option
@pass_office
def show(office: Office, address: str, as_json: bool) -> None:
    """Everything about one account but its mail and its password."""
    account = accounts.get_account(office, address)
    if as_json:
        _print_json(accounts.describe(account))
    else:
        _print_account(account)


@command.command(name="set")
@click.argument("address")
@click.option("--name", help="The real name.")
@click.option("--login", help="The POP3 login name.")
@click.option("--main", metavar="ADDRESS", help="The main address; the old one stays as an additional one.")
@click.option("--add-address", "added", multiple=True, metavar="ADDRESS", help="An additional address; repeatable.")
@click.option("--remove-address", "removed", multiple=True, metavar="ADDRESS", help="Take an address away; repeatable.")
@click.option("--limit", help="Mailbox limit: 500M, 2G, unlimited, default.")
@click.option("--access", help="From where mail may be read: networks, addresses, domains; empty: everywhere.")
@click.option("--postmaster/--no-postmaster", default=None, help="Postmaster privilege.")
@click.option("--enable/--stop", "enabled", default=None, help="A stopped account gets no mail and no sign-in.")
@json_option
@pass_office
def set_(office: Office, /, address: str, main: str | None, as_json: bool, **given: Any) -> None:
    """Change an account; what is not named stays."""
    account = accounts.change_account(office, address, accounts.Change(address=main, **given))
    if as_json:
        _print_json(accounts.describe(account))
    else:
        _print_account(account)


@command.command()
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_office
def remove(office: Office, address: str, yes: bool, as_json: bool) -> None:
    """Remove an account. Its sessions end, its addresses are free at once."""
    account = accounts.get_account(office, address)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove {account.name} <{account.address}> and all mail in the mailbox?", abort=True)
    account = accounts.remove_account(office, address)
    if as_json:
        _print_json(accounts.describe(account))
    else:
        click.echo(f"{account.address} removed.")


@command.command()
@click.argument("address")
@password_option
@pass_office
def password(office: Office, address: str, password_stdin: bool) -> None:
    """Give an account a new password; sessions under the old one end."""
    accounts.get_account(office, address)       # nobody is asked twice for an account that is not there
    account = accounts.set_password(office, address, read_password(password_stdin))
    click.echo(f"Password of {account.address} changed.")


@command.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Judge every row, change nothing.")
@json_option
@pass_office
def import_(office: Office, file: BinaryIO, dry_run: bool, as_json: bool) -> None:
    """Make the accounts of a CSV file, all of them or none.

    The first line names the columns: address, name, login, addresses (separated by ;), limit, access, postmaster,
    enabled, password, or instead of it argon2 and scram (ready hashes)."""
    show_progress = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if show_progress:
            click.echo(f"\r{done} of {total} ", nl=False, err=True)

    report = accounts.import_accounts(office, file.read(), dry_run=dry_run, progress=progress)
    if show_progress:
        click.echo("\r\033[K", nl=False, err=True)
    if as_json:
        _print_json({"accounts": report.rows, "dry_run": dry_run, "problems": [
            {"line": one.line, "column": one.column, "message": one.message} for one in report.problems]})
    else:
        for problem in report.problems[:_SHOWN_PROBLEMS]:
            click.echo(str(problem), err=True)
        if len(report.problems) > _SHOWN_PROBLEMS:
            click.echo(f"... and {len(report.problems) - _SHOWN_PROBLEMS} more", err=True)
        if not report.problems:
            click.echo(f"{report.rows} account(s) {'would be made' if dry_run else 'made'}.")
    if report.problems:
        click.echo(f"{len(report.problems)} row(s) are wrong; no account was made.", err=True)
        raise SystemExit(1)


@command.command()
@click.option("--without-passwords", is_flag=True, help="Leave the password hashes out.")
@json_option
@pass_office
def export(office: Office, without_passwords: bool, as_json: bool) -> None:
    """Print the accounts as CSV (UTF-8) for `account import`, password hashes included.

    The reserved accounts, Postmaster among them, belong to each server and are left out; --json shows no hashes."""
    if as_json:
        _print_json([accounts.describe(one) for one in accounts.list_accounts(office)
                     if office.directory.get_reserved_role(one.id) is None])
    else:
        click.echo(accounts.export_accounts(office, with_passwords=not without_passwords).encode("utf-8"), nl=False)


def read_password(from_stdin: bool) -> str:
    """The password a command needs. Raises InputError when there is neither --password-stdin nor a terminal."""
    if from_stdin:
        line = sys.stdin.readline()
        return line.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise InputError("password", "There is no terminal to ask for the password.", "Use --password-stdin.")
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt="Once more")
    return answer


def _print_account(account: Account) -> None:
    limit = {None: "default", 0: "unlimited"}.get(account.mailbox_limit, f"{account.mailbox_limit} bytes")
    rows = [
        ("address", account.address), *(("also", text) for text in account.addresses), ("name", account.name),
        ("login", account.login), ("class", account.account_class.value),
        ("state", "enabled" if account.enabled else "stopped"),
        ("delivery", " ".join(sorted(one.value for one in account.deliveries))), ("limit", limit),
        ("access", " ".join(account.access) or "everywhere"),
        ("postmaster", "yes" if account.postmaster else "no"), ("password", "set" if account.has_password else "none"),
    ]
    for name, text in rows:
        click.echo(f"{name:10}  {text}")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))

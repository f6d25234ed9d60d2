"""`postoffice postmaster`: who reads what is sent to Postmaster."""

from __future__ import annotations

import json

import click

from postoffice.cli.office import pass_office
from postoffice.operations import accounts, postmaster
from postoffice.operations.office import Office

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(name="postmaster")
def command() -> None:
    """Mail for Postmaster."""


@command.group()
def forward() -> None:
    """Designated postmasters: accounts that get Postmaster's mail, instead of its own mailbox, while any is named."""


@forward.command()
@click.argument("address")
@json_option
@pass_office
def add(office: Office, address: str, as_json: bool) -> None:
    """Deliver Postmaster's mail to this account, too."""
    account = postmaster.add_designated(office, address)
    if as_json:
        click.echo(json.dumps(accounts.describe(account), ensure_ascii=False))
    else:
        click.echo(f"Mail for Postmaster goes to {account.address}.")


@forward.command(name="list")
@json_option
@pass_office
def list_(office: Office, as_json: bool) -> None:
    """The designated postmasters."""
    found = postmaster.list_designated(office)
    if as_json:
        click.echo(json.dumps([account.address for account in found], ensure_ascii=False))
    else:
        for account in found:
            click.echo(account.address)


@forward.command()
@click.argument("address")
@json_option
@pass_office
def remove(office: Office, address: str, as_json: bool) -> None:
    """Deliver Postmaster's mail to this account no more."""
    account = postmaster.remove_designated(office, address)
    if as_json:
        click.echo(json.dumps(accounts.describe(account), ensure_ascii=False))
    else:
        click.echo(f"Mail for Postmaster goes to {account.address} no more.")

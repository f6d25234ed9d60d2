"""`postoffice bans`: whose sign-ins are stopped for a while."""

from __future__ import annotations

import json

import click

from postoffice.cli.office import pass_office
from postoffice.operations import bans
from postoffice.operations.caller import get_caller_name
from postoffice.operations.office import Office
from postoffice.operations.tracing import format_time

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(name="bans")
def command() -> None:
    """Bans after many wrong passwords (System-Security/Config/Ban...)."""


@command.command(name="list")
@json_option
@pass_office
def list_(office: Office, as_json: bool) -> None:
    """The bans in force: client, account (* is all), until when, why."""
    found = bans.list_bans(office)
    if as_json:
        click.echo(json.dumps([bans.describe(ban) for ban in found], ensure_ascii=False))
        return
    for ban in found:
        click.echo(f"{ban.client}  {ban.login}  until {format_time(ban.until)}  {ban.reason}")


@command.command()
@click.argument("client")
@click.argument("account", default="")
@json_option
@pass_office
def lift(office: Office, client: str, account: str, as_json: bool) -> None:
    """End the bans of CLIENT (an address or a /64) and forget its failures, or only those for ACCOUNT."""
    lifted = bans.lift_bans(office, client, account or None, who=get_caller_name())
    if as_json:
        click.echo(json.dumps([bans.describe(ban) for ban in lifted], ensure_ascii=False))
        return
    for ban in lifted:
        click.echo(f"{ban.client}  {ban.login}  lifted")
    if not lifted:
        click.echo(f"{client} was not banned.")

"""`postoffice domain`: which mail domains are ours."""

from __future__ import annotations

import json

import click

from postoffice.cli.office import pass_office
from postoffice.operations import domains
from postoffice.operations.caller import get_caller_name
from postoffice.operations.office import Office

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(name="domain")
def command() -> None:
    """Local mail domains (SMTP-Router/Config/LocalMailDomains)."""


@command.command()
@click.argument("domain")
@json_option
@pass_office
def add(office: Office, domain: str, as_json: bool) -> None:
    """Take mail for DOMAIN from now on."""
    _tell(domains.add_domain(office, domain, who=get_caller_name(), origin="domain add"), "added", as_json)


@command.command(name="list")
@json_option
@pass_office
def list_(office: Office, as_json: bool) -> None:
    """The local mail domains."""
    found = domains.list_domains(office)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for domain in found:
            click.echo(domain)


@command.command()
@click.argument("domain")
@json_option
@pass_office
def remove(office: Office, domain: str, as_json: bool) -> None:
    """Take no more mail for DOMAIN. Refused while accounts have addresses in it."""
    _tell(domains.remove_domain(office, domain, who=get_caller_name(), origin="domain remove"), "removed", as_json)


def _tell(domain: str, what: str, as_json: bool) -> None:
    click.echo(json.dumps({what: domain}) if as_json else f"{domain} {what}.")

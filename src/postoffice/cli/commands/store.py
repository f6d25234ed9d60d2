"""`postoffice store`: is the mail all there?"""

from __future__ import annotations

import json

import click

from postoffice.cli.office import pass_office
from postoffice.operations import verify_store
from postoffice.operations.office import Office


@click.group(name="store")
def command() -> None:
    """The files in which mail lies."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@pass_office
def verify(office: Office, as_json: bool) -> None:
    """Compare the index with every message on the disk. Exits with 1 when there is a difference.

    Reads all mail once and changes nothing; the server may run meanwhile."""
    directory = verify_store.find_mailbox_directory(office)
    differences = verify_store.verify_store(office)
    if as_json:
        click.echo(json.dumps({"directory": str(directory), "differences": differences}, ensure_ascii=False))
    else:
        for difference in differences:
            click.echo(difference)
        click.echo(f"{directory}: {len(differences) or 'no'} difference{'' if len(differences) == 1 else 's'}")
    if differences:
        raise SystemExit(1)

"""`dbedit`: one setting, as in the original: -s sets, -f finds, -l lists, -d deletes (back to the default)."""

from __future__ import annotations

import click

from postoffice.cli.office import pass_office
from postoffice.operations.caller import get_caller_name
from postoffice.operations.change_settings import change_settings
from postoffice.operations.office import Office


@click.command(name="dbedit")
@click.option("-s", "setting", nargs=2, metavar="KEY VALUE", help="Set a key.")
@click.option("-f", "find", metavar="KEY", help="Find a key and print its value.")
@click.option("-l", "listing", is_flag=True, help="List all keys, or those that begin with PREFIX.")
@click.option("-d", "delete", metavar="KEY", help="Delete a value: the default holds again.")
@click.argument("prefix", required=False, default="")
@pass_office
def command(office: Office, setting: tuple[str, str] | None, find: str | None, listing: bool, delete: str | None,
            prefix: str) -> None:
    """Read and change settings. $PostOffice names the spool directory. A running server obeys before dbedit returns."""
    asked = [setting is not None, find is not None, listing, delete is not None]
    if sum(asked) != 1 or (prefix and not listing):
        raise click.UsageError("Use one of: -s KEY VALUE | -f KEY | -l [PREFIX] | -d KEY")
    registry = office.settings.registry
    if setting is not None:
        _change(office, {registry.get(setting[0]).path: setting[1]})
    elif delete is not None:
        _change(office, {registry.get(delete).path: None})
    else:
        snapshot = office.settings.current()
        for key in [registry.get(find)] if find is not None else registry.list_below(prefix):
            shown = "****" if key.secret and snapshot.get_text(key) else snapshot.get_text(key)
            click.echo(f"{key.path}: [{shown}]")


def _change(office: Office, changes: dict[str, str | None]) -> None:
    outcome = change_settings(office, changes, who=get_caller_name(), origin="dbedit")
    for warning in outcome.warnings:
        click.echo(f"dbedit: warning: {warning}", err=True)

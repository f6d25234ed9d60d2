"""`dbedit`: one setting, as in the original: -s sets, -f finds, -l lists, -d deletes (back to the default)."""

from __future__ import annotations

import json

import click

from postoffice.base.errors import InputError
from postoffice.cli.office import pass_office
from postoffice.operations.caller import get_caller_name
from postoffice.operations.change_settings import change_settings
from postoffice.operations.office import Office


@click.command(name="dbedit")
@click.option("-s", "setting", nargs=2, metavar="KEY VALUE", help="Set a key.")
@click.option("-f", "find", metavar="KEY", help="Find a key and print its value.")
@click.option("-l", "listing", is_flag=True, help="List all keys, or those that begin with PREFIX.")
@click.option("-d", "delete", metavar="KEY", help="Delete a value: the default holds again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: key to value.")
@click.argument("prefix", required=False, default="")
@pass_office
def command(office: Office, setting: tuple[str, str] | None, find: str | None, listing: bool, delete: str | None,
            as_json: bool, prefix: str) -> None:
    """Read and change settings. $PostOffice names the spool directory. A running server obeys before dbedit returns."""
    asked = [setting is not None, find is not None, listing, delete is not None]
    if sum(asked) != 1 or (prefix and not listing):
        raise click.UsageError("Use one of: -s KEY VALUE | -f KEY | -l [PREFIX] | -d KEY")
    registry = office.settings.registry
    if listing:
        keys = registry.list_below(prefix)
        if not keys:
            raise InputError(prefix, "no key begins so.", "List all keys with: dbedit -l")
    else:
        keys = [registry.get(setting[0] if setting is not None else delete or find or "")]
    if setting is not None or delete is not None:
        _change(office, {keys[0].path: setting[1] if setting is not None else None})
    snapshot = office.settings.current()
    shown = {key.path: "****" if key.secret and snapshot.get_text(key) else snapshot.get_text(key) for key in keys}
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        for path, text in shown.items():
            click.echo(f"{path}: [{text}]")


def _change(office: Office, changes: dict[str, str | None]) -> None:
    outcome = change_settings(office, changes, who=get_caller_name(), origin="dbedit")
    for warning in outcome.warnings:
        click.echo(f"dbedit: warning: {warning}", err=True)

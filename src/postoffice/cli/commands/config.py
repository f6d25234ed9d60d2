"""`postoffice config`: all settings as one file, their differences and their history."""

from __future__ import annotations

import json
from typing import BinaryIO

import click

from postoffice.cli.office import pass_office
from postoffice.config.files import compare, export_settings, list_values, read_settings
from postoffice.config.regfile import export_registry_file, read_registry_file
from postoffice.operations.caller import get_caller_name
from postoffice.operations.change_settings import Outcome, change_settings
from postoffice.operations.office import Office
from postoffice.operations.tracing import format_time

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.group(name="config")
def command() -> None:
    """Settings as a file."""


@command.command()
@click.option("--all", "everything", is_flag=True, help="Also the settings that have their default.")
@click.option("--reg", "as_registry", is_flag=True, help="As a Windows registry file (.reg, UTF-16).")
@json_option
@pass_office
def export(office: Office, everything: bool, as_registry: bool, as_json: bool) -> None:
    """Print the settings as TOML. Secrets are left out."""
    registry, snapshot = office.settings.registry, office.settings.current()
    values = list_values(registry, snapshot, everything=everything)
    if as_json:
        click.echo(json.dumps(values, ensure_ascii=False))
    elif as_registry:
        click.echo(export_registry_file(values).encode("utf-16"), nl=False)
    else:
        click.echo(export_settings(registry, snapshot, everything=everything), nl=False)


@command.command()
@click.argument("file", type=click.File("rb"))
@json_option
@pass_office
def diff(office: Office, file: BinaryIO, as_json: bool) -> None:
    """What `config apply FILE` would change. Exit code 1 when something differs."""
    found = compare(office.settings.current(), read_settings(office.settings.registry, file.read()))
    if as_json:
        click.echo(json.dumps([{"key": key.path, "now": now, "file": text} for key, now, text in found],
                              ensure_ascii=False))
    else:
        for key, now, text in found:
            click.echo(f"{key.path}: [{now}] -> [{text}]")
    if found:
        raise SystemExit(1)


@command.command()
@click.argument("file", type=click.File("rb"))
@json_option
@pass_office
def apply(office: Office, file: BinaryIO, as_json: bool) -> None:
    """Set every key of FILE, all or none. Keys that FILE does not name stay as they are."""
    found = compare(office.settings.current(), read_settings(office.settings.registry, file.read()))
    # What FILE gives its default goes back to it, rather than becoming a saved value of the same text.
    wanted = {key.path: None if text == key.default else text for key, _now, text in found}
    _tell(office, change_settings(office, wanted, who=get_caller_name(), origin="config apply"), as_json)


@command.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
@json_option
@pass_office
def import_(office: Office, file: BinaryIO, dry_run: bool, as_json: bool) -> None:
    """Take over the settings of the original from an export of its Windows registry (.reg).

    What this server cannot use - keys it does not have, directories of the other machine - is named and passed over."""
    found = read_registry_file(office.settings.registry, file.read())
    for path, reason in found.passed_over.items():
        click.echo(f"passed over: {path}: {reason}", err=True)
    wanted = {key.path: text for key, _now, text in compare(office.settings.current(), found.values)}
    if dry_run:
        for path, text in wanted.items():
            click.echo(f"{path}: [{text}]")
        return
    _tell(office, change_settings(office, wanted, who=get_caller_name(), origin="config import"), as_json)


@command.command()
@click.argument("prefix", default="")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@json_option
@pass_office
def history(office: Office, prefix: str, limit: int, as_json: bool) -> None:
    """The latest changes of settings, newest first: number, when, who, from where, what."""
    for one in office.settings.list_history(limit, prefix):
        if as_json:
            click.echo(json.dumps({"id": one.id, "time": format_time(one.seconds), "who": one.who, "origin": one.origin,
                                   "key": one.path, "before": one.before, "after": one.after}, ensure_ascii=False))
        else:
            before, after = ("default" if text is None else f"[{text}]" for text in (one.before, one.after))
            when = format_time(one.seconds)
            click.echo(f"{one.id:5}  {when}  {one.who}  {one.origin}  {one.path}: {before} -> {after}")


@command.command()
@click.argument("change", type=int)
@json_option
@pass_office
def undo(office: Office, change: int, as_json: bool) -> None:
    """Take back one change of the history, by its number."""
    path, before = office.settings.get_undo(change)
    _tell(office, change_settings(office, {path: before}, who=get_caller_name(), origin=f"undo of {change}"), as_json)


def _tell(office: Office, outcome: Outcome, as_json: bool) -> None:
    """What has been changed, on stdout; warnings on stderr."""
    registry, snapshot = office.settings.registry, office.settings.current()
    keys = [registry.get(changed.path) for changed in outcome.changed]
    shown = {key.path: "****" if key.secret else snapshot.get_text(key) for key in keys}
    if as_json:
        click.echo(json.dumps(shown, ensure_ascii=False))
    else:
        for path, text in shown.items():
            click.echo(f"{path}: [{text}]")
    for warning in outcome.warnings:
        click.echo(f"warning: {warning}", err=True)

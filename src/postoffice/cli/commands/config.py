"""`postoffice config`: all settings as one file, their differences and their history."""

from __future__ import annotations

import json
from typing import TextIO

import click

from postoffice.cli.office import pass_office
from postoffice.config.files import compare, export_settings, read_settings
from postoffice.operations.caller import get_caller_name
from postoffice.operations.change_settings import change_settings
from postoffice.operations.office import Office
from postoffice.operations.tracing import format_time


@click.group(name="config")
def command() -> None:
    """Settings as a file."""


@command.command()
@click.option("--all", "everything", is_flag=True, help="Also the settings that have their default.")
@pass_office
def export(office: Office, everything: bool) -> None:
    """Print the settings as TOML."""
    click.echo(export_settings(office.settings.registry, office.settings.current(), everything=everything), nl=False)


@command.command()
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--json", "as_json", is_flag=True)
@pass_office
def diff(office: Office, file: TextIO, as_json: bool) -> None:
    """What `config apply FILE` would change. Exit code 1 when something differs."""
    found = compare(office.settings.current(), read_settings(office.settings.registry, file.read()))
    if as_json:
        click.echo(json.dumps([{"key": key.path, "now": now, "file": text} for key, now, text in found]))
    else:
        for key, now, text in found:
            click.echo(f"{key.path}: [{now}] -> [{text}]")
    if found:
        raise SystemExit(1)


@command.command()
@click.argument("file", type=click.File(encoding="utf-8"))
@pass_office
def apply(office: Office, file: TextIO) -> None:
    """Set every key of FILE, all or none. Keys that FILE does not name stay as they are."""
    found = compare(office.settings.current(), read_settings(office.settings.registry, file.read()))
    outcome = change_settings(office, {key.path: text for key, _now, text in found}, who=get_caller_name(), origin="config apply")
    for changed in outcome.changed:
        click.echo(f"{changed.path}: [{changed.after}]")
    for warning in outcome.warnings:
        click.echo(f"warning: {warning}", err=True)


@command.command()
@click.argument("prefix", default="")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True)
@pass_office
def history(office: Office, prefix: str, limit: int, as_json: bool) -> None:
    """The latest changes of settings, newest first: number, when, who, what."""
    for one in office.settings.list_history(limit, prefix):
        if as_json:
            click.echo(json.dumps({"id": one.id, "time": format_time(one.seconds), "who": one.who, "origin": one.origin,
                                   "key": one.path, "before": one.before, "after": one.after}, ensure_ascii=False))
        else:
            before, after = ("default" if text is None else f"[{text}]" for text in (one.before, one.after))
            click.echo(f"{one.id:5}  {format_time(one.seconds)}  {one.who}  {one.path}: {before} -> {after}")


@command.command()
@click.argument("change", type=int)
@pass_office
def undo(office: Office, change: int) -> None:
    """Take back one change of the history."""
    path, before = office.settings.get_undo(change)
    outcome = change_settings(office, {path: before}, who=get_caller_name(), origin=f"undo of {change}")
    for changed in outcome.changed:
        click.echo(f"{changed.path}: [{office.settings.current().get_text(office.settings.registry.get(path))}]")

"""`postoffice start`, `stop`, `restart` and `status`."""

from __future__ import annotations

import json
from typing import Any

import click

from postoffice.cli.office import SPOOL, pass_office
from postoffice.operations import control
from postoffice.operations.caller import as_owner
from postoffice.operations.environment import describe_environment
from postoffice.operations.office import Office, find_spool


@click.command()
@click.option("--foreground", is_flag=True, help="Stay in the terminal, or under a service manager.")
@click.option("--workers", type=click.IntRange(0, 64),
              help="Serve processes, instead of Dispatch/Config/Workers; 0: one for all.")
@click.pass_context
def start(context: click.Context, foreground: bool, workers: int | None) -> None:
    """Start the server; returns once every port listens."""
    spool = find_spool(context.meta.get(SPOOL))
    control.check_start(spool, workers)
    with as_owner(spool):
        office = Office(spool)
        try:
            control.check_office_directories(office)
        finally:
            office.close()
    if foreground:
        control.run_foreground(spool, workers)
    click.echo(f"The server runs (pid {control.start(spool, workers)}).")


@click.command()
@pass_office
def stop(office: Office) -> None:
    """Stop the server: idle connections are told, what is under way is finished, at most 30 seconds."""
    control.stop(office.spool)
    click.echo("The server has stopped.")


@click.command()
@pass_office
def restart(office: Office) -> None:
    """Let every process end gracefully and start anew. The ports stay open: clients wait, none is refused."""
    control.restart(office.spool)
    click.echo("The server has restarted.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.option("--environment", is_flag=True, help="Also host name, domains, directories, version, system.")
@pass_office
def status(office: Office, as_json: bool, environment: bool) -> None:
    """Which processes run, which ports are open, mail in and out, the last error."""
    found = control.get_status(office.spool)
    if environment:
        found |= {"environment": describe_environment(office.spool, office.settings.current())}
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    _show(found)
    if environment:
        _show_environment(found["environment"])


def _show(found: dict[str, Any]) -> None:
    click.echo(f"The server is {found['state']}.")
    for process in found["processes"]:
        trouble = "" if process.get("answers", True) else "  DOES NOT ANSWER"
        error = f"  last error: {process['last_error']}" if process["last_error"] else ""
        click.echo(f"  {process['name']:<12} pid {process['pid']:<8} {process['state']} since {process['since']}"
                   f"{_count(process['restarts'], 'restart')}{trouble}{error}")
    for place in found["held_back"]:
        click.echo(f"  {place['name']:<12} HELD BACK after {place['deaths_in_a_row']} deaths, starts again in "
                   f"{place['starts_again_in_seconds']} s  last error: {place['last_error']}")
    for port in found["ports"]:
        click.echo(f"  {port['module']:<12} {port['service']:<11} {port['address']} port {port['port']}"
                   f" since {port['since']}")
    for key, reason in found.get("port_failures", {}).items():
        click.echo(f"  {key}: {reason}")
    if found["processes"]:
        click.echo(f"  messages in {found['messages_in']}, out {found['messages_out']}; "
                   f"connections {found['connections']}")


def _count(number: int, word: str) -> str:
    return f"  {number} {word}{'s' if number != 1 else ''}" if number else ""


def _show_environment(environment: dict[str, Any]) -> None:
    for name, value in environment.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            for path, disk in value.items():
                click.echo(f"{label}: {path}: {disk['type']} on {disk['device']}, {disk['free_bytes'] >> 20} of "
                           f"{disk['bytes'] >> 20} MiB free")
        else:
            click.echo(f"{label}: {' '.join(value) if isinstance(value, list) else value}")

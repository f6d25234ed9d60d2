"""`postoffice logs`: where the plain logs lie, and what they say right now."""

from __future__ import annotations

import json
import time

import click

from postoffice.cli.office import pass_office
from postoffice.operations import logs
from postoffice.operations.office import Office


@click.group(name="logs")
def command() -> None:
    """The plain-text logs."""


@command.command()
@click.option("--json", "as_json", is_flag=True)
@pass_office
def path(office: Office, as_json: bool) -> None:
    """Print the log directory, and with --json every file in it with its size."""
    directory = logs.get_log_directory(office.spool, office.settings.current())
    if as_json:
        click.echo(json.dumps({"directory": str(directory),
                               "current": str(logs.get_current_log(directory, time.time())),
                               "files": logs.list_log_files(directory)}))
    else:
        click.echo(str(directory))


@command.command()
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(0, 1_000_000))
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until interrupted.")
@pass_office
def tail(office: Office, lines: int, follow: bool) -> None:
    """The last lines of today's log."""
    current = logs.get_current_log(logs.get_log_directory(office.spool, office.settings.current()), time.time())
    last, offset = logs.read_tail(current, lines)
    for line in last:
        click.echo(line)
    while follow:
        time.sleep(0.3)
        newest = logs.get_current_log(logs.get_log_directory(office.spool, office.settings.current()), time.time())
        if newest != current:
            current, offset = newest, 0
        for line, end in logs.read_from(current, offset):
            click.echo(line)
            offset = end

"""`postoffice demo`: what `make run` runs, a demonstration server in the foreground."""

from __future__ import annotations

import os
from pathlib import Path

import click

from postoffice.cli.office import SPOOL
from postoffice.operations import control, demonstration
from postoffice.operations.office import SPOOL_VARIABLE


@click.command(hidden=True)
@click.option("--workers", type=click.IntRange(0, 64))
@click.option("--no-run", is_flag=True, help="Only set up.")
@click.pass_context
def command(context: click.Context, workers: int | None, no_run: bool) -> None:
    """Set up a server for example.test on high ports with two accounts, and run it in the terminal."""
    spool = Path(context.meta.get(SPOOL) or os.environ.get(SPOOL_VARIABLE) or "var").absolute()
    click.echo(f"Post.Office demonstration in {spool}")
    made = demonstration.set_up_demonstration(spool)
    for account in made:
        click.echo(f"  account {account.address:<24} password {account.password}")
    if not made:
        click.echo("  set up before; new passwords: postoffice account password ADDRESS --spool " + str(spool))
    for name, port in demonstration.describe_ports(spool):
        click.echo(f"  {name:<24} 127.0.0.1 port {port}")
    click.echo(f"  certificate for clients  {spool / 'tls' / 'server.pem'}")
    if no_run:
        return
    click.echo("Ctrl-C stops the server.")
    control.check_start(spool, workers)
    control.run_foreground(spool, workers)

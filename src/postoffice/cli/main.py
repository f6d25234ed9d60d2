"""Entry points of the commands `postoffice` and `dbedit`.

Commands are rows of `catalog.COMMANDS` and loaded when used. An expected failure is one sentence on stderr and exit
code 1; an unexpected one is a bug and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from postoffice import __version__
from postoffice.base.errors import PostOfficeError
from postoffice.cli.office import spool_option


class LazyGroup(click.Group):
    """A group whose commands are imported when asked for. ``rows``: name -> "module:attribute"."""

    def __init__(self, *args: Any, rows: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows = rows

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = self._rows.get(cmd_name)
        return load_command(row, cmd_name) if row else None


def load_command(row: str, name: str) -> click.Command:
    """The command a row of the catalogue names; takes --spool after its name, too."""
    module, _colon, attribute = row.partition(":")
    command: click.Command = getattr(import_module(module), attribute or "command")
    command.name = name
    if not any(isinstance(p, click.Option) and "--spool" in p.opts for p in command.params):
        command = spool_option(command)         # type: ignore[assignment]   # click decorates commands as well
    return command


def build_postoffice() -> click.Group:
    """The command `postoffice` with all its commands."""
    from postoffice.catalog import COMMANDS

    group = LazyGroup("postoffice", rows=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]},
                      help="Post.Office: one mail server. Each command explains itself with --help.",
                      callback=lambda: None)
    group = spool_option(group)                 # type: ignore[assignment]
    return click.version_option(__version__, prog_name="Post.Office")(group)


def build_dbedit() -> click.Command:
    """The command `dbedit`."""
    return load_command("postoffice.cli.commands.dbedit:command", "dbedit")


def main() -> None:
    """Entry point of `postoffice`."""
    _run(build_postoffice(), "postoffice")


def dbedit() -> None:
    """Entry point of `dbedit`."""
    _run(build_dbedit(), "dbedit")


def _run(command: click.Command, name: str) -> None:
    try:
        code = command.main(prog_name=name, standalone_mode=False)
    except PostOfficeError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)                             # the reader of our output went away
    sys.exit(code if isinstance(code, int) else 0)

"""How commands get the office: `pass_office` opens the spool named by --spool, $PostOffice or /etc/post.office.conf."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from postoffice.operations.office import Office, find_spool, open_office

P = ParamSpec("P")
R = TypeVar("R")

SPOOL = "postoffice.spool"              # where the root command leaves --spool in the context
_OFFICE = "postoffice.office"


def get_office(context: click.Context) -> Office:
    """The office of this invocation, opened (and its owner become) at first use."""
    office: Office | None = context.meta.get(_OFFICE)
    if office is None:
        office = context.meta[_OFFICE] = open_office(find_spool(context.meta.get(SPOOL)))
    return office


def pass_office(function: Callable[Concatenate[Office, P], R]) -> Callable[P, R]:
    """Give a command the office as its first argument. Files opened by click's own types are read before, as the
    caller; what a command reads later by name goes through `operations.caller.read_as_caller`."""
    def wrapper(*args: Any, **kwargs: Any) -> R:
        return function(get_office(click.get_current_context()), *args, **kwargs)

    return update_wrapper(wrapper, function)


def spool_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--spool`` as commands take it too, after their name."""
    def keep(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            context.meta[SPOOL] = value

    return click.option("--spool", metavar="DIR", expose_value=False, callback=keep, is_eager=True,
                        help="The spool directory; otherwise $PostOffice or /etc/post.office.conf names it.")(function)

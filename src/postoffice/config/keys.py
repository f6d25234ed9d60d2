"""A setting as a value: `Key`. Pure: no I/O, no clock.

One row declares everything about a setting; `registry` collects rows, `saved` keeps values, `files` and `manual`
render them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
K = TypeVar("K", covariant=True)


class Kind(Protocol[K]):
    """A kind of value: how its text reads, how it is written, what is allowed in words."""

    @property
    def name(self) -> str:
        """A short name for the manual ("yes or no")."""

    def parse(self, text: str, /) -> K:
        """Raises ValueError with a sentence that says what is allowed."""

    def format(self, value: Any, /) -> str: ...


class Applies(enum.Enum):
    """When a change takes effect."""

    LIVE = "live"               # at once
    RESTART = "restart"         # the operating system forbids more
    PLAN = "plan"               # data has to move with it: not simply set


class Scope(enum.Enum):
    SERVER = "server"
    DOMAIN = "domain"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, eq=False)
class Key(Generic[T]):
    """One setting. ``path`` is ``Module/Section/Name`` as Post.Office spells it; ``default`` is text of its kind.

    ``check`` may refuse a value that its kind admits (ValueError with a sentence). ``operation`` names the command
    that changes a PLAN key. ``departure`` says why our default is not the original's."""

    path: str
    kind: Kind[T]
    default: str
    doc: str
    ja: str
    check: Callable[[T], None] | None = None
    scope: Scope = Scope.SERVER
    applies: Applies = Applies.LIVE
    secret: bool = False
    departure: str = ""
    operation: str = ""

    @property
    def module(self) -> str:
        return self.path.split("/", 1)[0]

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[1]

    def parse(self, text: str) -> T:
        """The typed value of a text. Raises ValueError with a sentence that says what is allowed."""
        if not _is_unicode(text):
            raise ValueError("the text is not valid UTF-8")
        value = self.kind.parse(text)
        if self.check is not None:
            self.check(value)
        return value

    def format(self, value: T) -> str:
        return self.kind.format(value)

    def tidy(self, text: str) -> str:
        """The text as it is kept: the canonical spelling of its value ("50M" of a size in bytes is "52428800").

        Raises ValueError as `parse` does."""
        return self.format(self.parse(text))


def _is_unicode(text: str) -> bool:
    """A command line that is not UTF-8 arrives with lone surrogates, which no database and no file takes."""
    return not any("\ud800" <= char <= "\udfff" for char in text)

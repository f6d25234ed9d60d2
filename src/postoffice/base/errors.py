"""Errors an administrator may read, apart from bugs.

Everything that is not one of these is a bug: it is logged with its traceback and the peer gets a temporary reply.
"""

from __future__ import annotations


class PostOfficeError(Exception):
    """An expected failure with one sentence for the administrator and, where there is one, the remedy.

    ``str()`` gives both. A command prints it and exits 1, changing nothing.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class InputError(PostOfficeError):
    """A value given by a person is wrong. ``field`` names the key, option, column or answer it belongs to."""

    def __init__(self, field: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{field}: {message}", remedy)
        self.field = field


class TemporaryError(PostOfficeError):
    """The work could not be done now and may be tried again (disk full, lock busy, index unreadable)."""


class UsageError(Exception):
    """Our own code called an engine or service in a way its contract forbids: a bug of ours, never the peer's."""

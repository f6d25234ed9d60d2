"""Look-ahead: where the next messages of a folder lie, for clients that fetch one after the other.

A look-up costs about ten times what reading a small message costs, nearly all of it per statement; so a client that
goes through a folder is given the places of the next ones with one. What is known ahead is forgotten with every commit
of this process and after a moment in any case: another process may have removed a message. A place that has become
wrong meanwhile is noticed by its segment being gone, never by wrong bytes: segments do not change.
"""

from __future__ import annotations

from collections.abc import Callable

from postoffice.store.index import Location, ReadIndex

AHEAD = 64
HOLD_SECONDS = 0.05


class Lookahead:
    """Of one store; used on one thread. ``get_commit`` gives the number of this process's last commit."""

    __slots__ = ("_commit", "_folder", "_get_commit", "_known", "_last", "_monotonic", "_until")

    def __init__(self, get_commit: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._get_commit = get_commit
        self._monotonic = monotonic
        self._known: dict[int, Location] = {}
        self._folder = -1
        self._last = 0                          # the UID asked for before
        self._commit = -1
        self._until = 0.0

    def find(self, index: ReadIndex, folder: int, uid: int) -> Location | None:
        """Where a placement lies; None when it is gone."""
        onward = folder == self._folder and uid > self._last
        if onward and self._get_commit() == self._commit and self._monotonic() < self._until:
            found = self._known.pop(uid, None)
            if found is not None:
                self._last = uid
                return found
        self._folder, self._last = folder, uid
        if not onward:
            self._known = {}
            return index.find_location(folder, uid)
        self._commit = self._get_commit()       # before the rows: a commit in between makes them doubtful
        self._until = self._monotonic() + HOLD_SECONDS
        self._known = index.list_locations(folder, uid, AHEAD)
        return self._known.pop(uid, None)

    def forget(self) -> None:
        """The next question is asked of the index."""
        self._until = 0.0

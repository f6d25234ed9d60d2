"""One check as a row: its name, its stage, what it needs, and how the present settings make a judge of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from postoffice.config.registry import Snapshot
from postoffice.policy.facts import Facts, Sources
from postoffice.policy.verdict import Stage, Verdict

Judge = Callable[[Facts], Verdict]


@dataclass(frozen=True, slots=True)
class Check:
    """``build`` makes the judge for one generation of the settings; None: with these settings the check has nothing to
    say, and then it costs nothing. ``needs`` names facts (`facts.KNOWN_FROM`); ``after`` names checks whose finding
    this one relies on."""

    name: str
    stage: Stage
    needs: frozenset[str]
    build: Callable[[Snapshot, Sources], Judge | None]
    after: frozenset[str] = field(default=frozenset())

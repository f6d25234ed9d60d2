"""One settings switch per event: whether its line stands in the plain log. The trace itself always has the event.

The keys derive from the rows of `event_types`; the original's defaults hold (a module's log is on for what an
administrator looks for first), connections that brought nothing are off.
"""

from __future__ import annotations

from postoffice.config.keys import Key
from postoffice.config.kinds import YES_NO
from postoffice.trace.event_types import EVENT_TYPES
from postoffice.trace.events import EventType

_OFF = {"SMTP-Accept/Log/Connected", "SMTP-Accept/Log/Closed", "POP3-Server/Log/Connected"}


def _build_switch(row: EventType) -> Key[bool]:
    return Key(
        path=row.switch,
        kind=YES_NO,
        default="no" if row.switch in _OFF else "yes",
        doc=f"Write the event {row.name} to the plain log. {row.doc}",
        ja=f"イベント {row.name} をログファイルに記録します。",
        departure="" if row.module == "SMTP-Accept" or row.switch in _OFF else (
            "As shipped, the original logged only what was received and sent by SMTP."),
    )


SWITCHES: dict[EventType, Key[bool]] = {row: _build_switch(row) for row in EVENT_TYPES}
KEYS: tuple[Key[bool], ...] = tuple(SWITCHES.values())

"""Store: the files in which mail lies."""

from __future__ import annotations

from postoffice.config.keys import Applies, Key
from postoffice.config.kinds import Bytes

SEGMENT_SIZE = Key(
    path="Store/Config/SegmentSize",
    kind=Bytes(1048576, 1 << 40),
    default="67108864",
    doc="At this size a new segment file is begun.",
    ja="この大きさで新しいセグメントファイルを始めます。",
    applies=Applies.RESTART,
)

KEYS = (SEGMENT_SIZE,)

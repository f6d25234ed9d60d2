"""Message ids: unique whatever the clock does, and a text form that sorts and comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postoffice.base.ids import MessageIds, format_id, get_id_seconds, parse_id


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_the_text_sorts_as_the_number_and_comes_back(one: int, other: int) -> None:
    assert parse_id(format_id(one)) == parse_id(format_id(one).lower()) == one
    assert len(format_id(one)) == 13
    assert (format_id(one) < format_id(other)) == (one < other)


def test_a_clock_set_back_repeats_nothing() -> None:
    ids = MessageIds(3)
    made = [ids.next(seconds) for seconds in (1000.0, 1000.0, 990.0, 1000.5, 5.0)]
    assert made == sorted(set(made))
    assert MessageIds(3, made[-1]).next(0.0) > made[-1]
    assert get_id_seconds(made[0]) == 1000.0


def test_slots_never_meet() -> None:
    assert {MessageIds(slot).next(7.0) for slot in range(256)} == {(7_000_000 << 8) + slot for slot in range(256)}
    with pytest.raises(ValueError, match="slot"):
        MessageIds(256)


@pytest.mark.parametrize("text", ["", "0" * 12, "0" * 14, "0" * 12 + "U", "0" * 12 + "é"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="id"):
        parse_id(text)

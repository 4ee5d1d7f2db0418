"""Which events leave, and when a failed call is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.events import Kind
from server.domain.webhook import (
    HELD_FROM,
    LONGEST_HOLD_S,
    PAUSES_S,
    TYPE_OF,
    TYPES,
    hold_after,
    pause_after,
)

LUCK = st.floats(0, 1)


def test_what_leaves_and_what_stays() -> None:
    assert set(TYPE_OF.values()) <= set(TYPES)
    assert set(TYPES) - set(TYPE_OF.values()) == {"push.failed"}
    inside = {kind.value for kind in Kind} - TYPE_OF.keys()
    assert Kind.NOTE.value in inside
    assert inside == {"note", "conversation.merged", "receipt", "transaction.updated", "rating.requested"}


def test_the_schedule_covers_three_days() -> None:
    pauses = [pause_after(attempts, 0.0) for attempts in range(1, len(PAUSES_S) + 1)]
    assert pauses == [float(pause) for pause in PAUSES_S]
    assert list(PAUSES_S) == sorted(PAUSES_S)
    assert 0.98 * 72 * 3600 < sum(PAUSES_S) <= 72 * 3600
    assert pause_after(len(PAUSES_S) + 5, 0.0) == PAUSES_S[-1]


@given(st.integers(1, len(PAUSES_S)), LUCK)
def test_jitter_takes_away_up_to_a_quarter(attempts: int, luck: float) -> None:
    assert 0.75 * PAUSES_S[attempts - 1] <= pause_after(attempts, luck) <= PAUSES_S[attempts - 1]


@given(st.integers(0, 10_000), LUCK)
def test_an_endpoint_is_never_held_for_long(failures: int, luck: float) -> None:
    hold = hold_after(failures, luck)
    assert (hold is None) is (failures < HELD_FROM)
    assert hold is None or 0 < hold <= LONGEST_HOLD_S


@pytest.mark.parametrize(("failures", "hold"), [(4, None), (5, 1), (6, 2), (7, 4), (10, 30), (500, 30)])
def test_holds_grow(failures: int, hold: float | None) -> None:
    assert hold_after(failures, 0.0) == hold

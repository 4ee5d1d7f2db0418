"""Token buckets on a clock that the test moves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import RateLimited
from server.services import rates
from server.services.rates import Rates
from tests.support.clock import FakeClock


def test_a_burst_and_then_one_at_a_time() -> None:
    clock = FakeClock()
    limit = Rates(clock, 3, 30.0, "messages")
    for _ in range(3):
        limit.take("ada")
    with pytest.raises(RateLimited, match="Too many messages") as refused:
        limit.take("ada")
    assert refused.value.retry_after == pytest.approx(10.0)
    clock.move(9.5)
    with pytest.raises(RateLimited) as refused:
        limit.take("ada")
    assert refused.value.retry_after == pytest.approx(0.5)
    clock.move(0.5)
    limit.take("ada")
    with pytest.raises(RateLimited):
        limit.take("ada")


def test_everybody_has_a_bucket_of_their_own() -> None:
    limit = Rates(FakeClock(), 1, 60.0, "messages")
    limit.take("ada")
    limit.take("ben")
    with pytest.raises(RateLimited):
        limit.take("ada")


def test_a_bucket_does_not_overflow() -> None:
    clock = FakeClock()
    limit = Rates(clock, 2, 2.0, "messages")
    clock.move(3600)
    limit.take("ada")
    clock.move(3600)
    limit.take("ada", 2)
    with pytest.raises(RateLimited):
        limit.take("ada")


def test_more_than_a_bucket_passes_when_it_is_full_and_is_paid_off_afterwards() -> None:
    clock = FakeClock()
    limit = Rates(clock, 10, 10.0, "transactions")
    limit.take("app", 25)
    with pytest.raises(RateLimited) as refused:
        limit.take("app", 25)
    assert refused.value.retry_after == pytest.approx(25.0)
    clock.move(25)
    limit.take("app", 25)


def test_none_switches_it_off() -> None:
    limit = Rates(FakeClock(), None, 1.0, "messages")
    for _ in range(10_000):
        limit.take("ada")


def test_the_wall_clock_has_no_say() -> None:
    clock = FakeClock()
    limit = Rates(clock, 1, 60.0, "messages")
    limit.take("ada")
    clock.step_wall(timedelta(days=1))
    with pytest.raises(RateLimited):
        limit.take("ada")


def test_full_buckets_are_forgotten_and_empty_ones_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_KEYS", 10)
    clock = FakeClock()
    limit = Rates(clock, 2, 10.0, "messages")
    for number in range(9):
        limit.take(f"early {number}")
    clock.move(10)
    limit.take("late", 2)
    limit.take("another")
    assert len(limit._buckets) == 2
    with pytest.raises(RateLimited):
        limit.take("late")


def test_memory_is_bounded_even_if_nobody_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_KEYS", 100)
    limit = Rates(FakeClock(), 2, 10.0, "messages")
    for number in range(1000):
        limit.take(f"key {number}")
        assert len(limit._buckets) <= 100
    limit.take("key 999")
    with pytest.raises(RateLimited):
        limit.take("key 999")


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4)), max_size=40))
def test_never_more_than_a_burst_and_what_has_flowed_in(steps: list[tuple[float, int]]) -> None:
    clock = FakeClock()
    limit = Rates(clock, 4, 8.0, "messages")
    start, taken = clock.monotonic(), 0
    for pause, tokens in steps:
        clock.move(pause)
        try:
            limit.take("ada", tokens)
        except RateLimited:
            continue
        taken += tokens
        assert taken <= 4 + (clock.monotonic() - start) * 4 / 8 + 1e-6

"""The clocks of a device."""

import pytest

from sdk_protocol.pacing import Clocks, backoff
from tests.sdk_protocol.samples import AT, WALL


def test_backoff_doubles_from_half_a_second_to_thirty() -> None:
    assert [backoff(attempt) for attempt in (0, 1, 2, 5, 6, 7, 10_000)] == [0.5, 1.0, 2.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("at", "left"),
    [
        ("2026-03-01T13:00:00Z", 3540.0),
        ("2026-03-01T13:00:00", 3540.0),
        ("2026-03-01T12:01:40+00:00", 50.0),
    ],
)
def test_a_token_is_renewed_a_minute_before_its_end_but_not_before_half_its_life(at: str, left: float) -> None:
    clocks = Clocks(now=50.0, wall=WALL)
    clocks.expires(at, 50.0)
    assert clocks.refresh_at == pytest.approx(50.0 + left)


@pytest.mark.parametrize("at", [AT, "2026-03-01T11:00:00Z"])
def test_a_clock_that_is_ahead_of_the_token_does_not_ask_for_another_without_end(at: str) -> None:
    clocks = Clocks(now=50.0, wall=WALL)
    clocks.expires(at, 50.0)
    assert clocks.refresh_at is None


def test_an_unreadable_date_is_left_to_the_server() -> None:
    clocks = Clocks(now=50.0, wall=WALL)
    clocks.expires("soon", 50.0)
    assert clocks.next() is None


def test_the_earliest_is_next() -> None:
    clocks = Clocks()
    clocks.ping_interval = 25.0
    clocks.heard(10.0, pinging=True)
    clocks.retry(20.0)
    clocks.retry(15.0)
    assert (clocks.ping_at, clocks.retry_at, clocks.next()) == (35.0, 20.0, 20.0)
    clocks.heard(10.0, pinging=False)
    assert clocks.ping_at is None

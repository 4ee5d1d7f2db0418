"""Rides of the demo: made up, but like any app's transactions."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec

from server.demo.rides import CUSTOMERS, OTHERS, STEPS, new_ride, next_step, past_ride
from server.domain.transaction import Amount
from server.services.context import check_transaction

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_a_ride_goes_through_every_step_and_ends() -> None:
    ride = new_ride(random.Random(1), 7, NOW)
    seen = [ride]
    while (following := next_step(seen[-1])) is not None:
        seen.append(following)
    assert [each.status for each in seen] == STEPS
    assert [each.version for each in seen] == [1, 2, 3, 4, 5]
    assert len({(each.id, each.title, each.amount) for each in seen}) == 1


def test_a_ride_that_ended_otherwise_does_not_go_on() -> None:
    for status in ("cancelled", "no show", "completed"):
        assert next_step(msgspec.structs.replace(new_ride(random.Random(1), 7, NOW), status=status)) is None


def test_past_rides_are_what_an_app_may_state() -> None:
    rng = random.Random(2)
    for number in range(200):
        ride = past_ride(rng, number, NOW, number / 10)
        check_transaction(ride)
        assert ride.occurred_at == (NOW - timedelta(days=number / 10)).replace(microsecond=0)
        assert ride.amount == msgspec.convert(msgspec.to_builtins(ride.amount), Amount)
        assert ride.attributes["pickup"] != ride.attributes["dropoff"]
        if ride.status == "no show":
            assert ride.amount is not None
            assert ride.amount.value == "0.00"


def test_customers_are_different_people() -> None:
    assert len({name for name, *_ in CUSTOMERS + OTHERS}) == len(CUSTOMERS) + len(OTHERS)

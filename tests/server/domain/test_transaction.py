"""What an app's server may state, and how it is called in one line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from server.domain.transaction import Amount, Name, Snapshot, Transaction, TransactionId, Url, Version


@pytest.mark.parametrize(
    ("fields", "headline"),
    [
        ({}, "ride-1"),
        ({"kind": "ride"}, "ride"),
        ({"kind": "ride", "title": "Harbour → Airport"}, "Harbour → Airport"),
        ({"title": "Harbour → Airport", "status": "completed"}, "Harbour → Airport · completed"),
        ({"status": "completed"}, "ride-1 · completed"),
    ],
)
def test_the_headline_is_the_best_name_there_is(fields: dict[str, Any], headline: str) -> None:
    assert Transaction(id="ride-1", version=1, **fields).headline == headline


@pytest.mark.parametrize("value", ["12.50", "-3", "0", "999999999999999.999999"])
def test_money_is_a_decimal_string(value: str) -> None:
    assert msgspec.convert({"value": value, "currency": "EUR"}, Amount) == Amount(value, "EUR")


@pytest.mark.parametrize(
    "amount",
    [
        {"value": 12.5, "currency": "EUR"},
        {"value": "12,50", "currency": "EUR"},
        {"value": "1e3", "currency": "EUR"},
        {"value": ".5", "currency": "EUR"},
        {"value": "1" * 16, "currency": "EUR"},
        {"value": "12.50", "currency": "euro"},
        {"value": "12.50"},
        {"value": "12.50", "currency": "EUR", "tax": "1"},
    ],
)
def test_what_is_no_money_is_refused(amount: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(amount, Amount)


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (TransactionId, ["r", "x" * 200], ["", "x" * 201, 5]),
        (Version, [0, 2**63 - 1], [-1, 2**63, 1.5, None, "1"]),
        (Name, ["", "x" * 100], ["x" * 101]),
        (Url, ["https://example.com/a?b"], ["javascript:alert(1)", "/relative", f"https://{'x' * 2048}"]),
    ],
)
def test_the_limits_of_a_field(shape: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert msgspec.convert(value, shape) == value
    for value in bad:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, shape)


def test_it_says_only_what_was_said() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    ride = Transaction(id="ride-1", version=1, kind="ride")
    assert msgspec.to_builtins(ride) == {"id": "ride-1", "version": 1, "kind": "ride"}
    assert msgspec.to_builtins(Snapshot(recent=[], frozen_at=at)) == {
        "recent": [],
        "frozen_at": "2030-01-01T00:00:00Z",
    }

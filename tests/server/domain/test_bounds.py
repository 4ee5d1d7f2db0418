"""What apps make up themselves stays within what PostgreSQL and every reader can hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from server.domain.bounds import MAX_DEPTH, MAX_OPEN_BYTES, check_open, check_time
from server.domain.errors import BadRequest, TooLarge


def nested(depth: int, inside: Any = 1) -> dict[str, Any]:
    value: Any = inside
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return {"top": value}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": None, "b": True, "c": 1.5, "d": -(2**63), "e": 2**63, "f": "\\u0000", "g": [1, {"h": []}]},
        nested(MAX_DEPTH - 1),
        {"a": "x" * (MAX_OPEN_BYTES - 8)},
    ],
)
def test_what_fits_is_left_as_it_is(value: dict[str, Any]) -> None:
    check_open(value, "attributes")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": "x\x00"}, r"U\+0000"),
        ({"a\x00": 1}, r"U\+0000"),
        ({"a": [{"b": "\x00"}]}, r"U\+0000"),
        ({"a": float("nan")}, "finite"),
        ({"a": [float("-inf")]}, "finite"),
        ({"a": 2**70}, "64 bits"),
        ({"a": [-(2**70)]}, "64 bits"),
        (nested(MAX_DEPTH), "nested too deeply"),
        (nested(2000), "nested too deeply"),
    ],
)
def test_what_nobody_could_hold_is_refused(value: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        check_open(value, "properties")
    assert refused.value.field == "properties"


def test_an_object_may_take_32_kib_as_json() -> None:
    with pytest.raises(TooLarge, match="larger than 32 KiB") as refused:
        check_open({"a": "x" * (MAX_OPEN_BYTES - 7)}, "attributes")
    assert refused.value.field == "attributes"
    with pytest.raises(TooLarge):
        check_open({"a": "€" * (MAX_OPEN_BYTES // 3)}, "attributes")


def test_a_time_has_an_offset_and_four_digits_of_a_year() -> None:
    check_time(None, "at")
    check_time(datetime(2030, 1, 1, tzinfo=UTC), "at")
    check_time(datetime(1000, 1, 1, tzinfo=timezone(timedelta(hours=14))), "at")
    for wrong in (
        datetime(2030, 1, 1),  # noqa: DTZ001  # the case itself
        datetime(999, 12, 31, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
    ):
        with pytest.raises(BadRequest, match="between the years 1000 and 9998") as refused:
            check_time(wrong, "at")
        assert refused.value.field == "at"

"""What a schema cannot say of values that apps make up themselves: nothing that PostgreSQL or a reader cannot hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from datetime import datetime

MAX_OPEN_BYTES = 32 * 1024
MAX_DEPTH = 20
MAX_INTEGER = 2**64
YEARS = range(1000, 9999)
"""Inside of what PostgreSQL, Python and RFC 3339 can all hold in any time zone."""


def check_open(value: dict[str, Any], field: str) -> None:
    """An object of the app's own making: no U+0000, finite numbers, not too deep, at most 32 KiB as JSON."""
    _check(value, field, 0)
    if len(msgspec.json.encode(value)) > MAX_OPEN_BYTES:
        raise TooLarge(f"`{field}` is larger than {MAX_OPEN_BYTES // 1024} KiB.", field=field)


def check_time(at: datetime | None, field: str) -> None:
    """A time with an offset, in a year with four digits."""
    if at is not None and (at.tzinfo is None or at.year not in YEARS):
        raise BadRequest(
            f"`{field}` must be a time with an offset, between the years {YEARS.start} and {YEARS.stop - 1}.",
            field=field,
        )


def _check(value: Any, field: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadRequest(f"`{field}` is nested too deeply.", field=field)
    if isinstance(value, str) and "\x00" in value:
        raise BadRequest("Text must not contain the character U+0000.", field=field)
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest("Numbers must be finite.", field=field)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise BadRequest("Whole numbers must fit into 64 bits; send larger ones as text.", field=field)
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(key, field, depth + 1)
            _check(inner, field, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, field, depth + 1)

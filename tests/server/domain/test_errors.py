"""Every refusal has a word of protocol.md, and says whether to try again."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from server.domain import errors
from server.domain.events import SYSTEM, Event, Kind

CODES: dict[type[errors.DomainError], tuple[str, bool]] = {
    errors.BadRequest: ("bad_request", False),
    errors.TooLarge: ("too_large", False),
    errors.Unauthorized: ("unauthorized", False),
    errors.Forbidden: ("forbidden", False),
    errors.NotFound: ("not_found", False),
    errors.OutOfOrder: ("out_of_order", True),
    errors.IdempotencyConflict: ("idempotency_conflict", False),
    errors.Conflict: ("conflict", False),
    errors.StaleHello: ("conflict", True),
    errors.RateLimited: ("rate_limited", True),
    errors.Unavailable: ("unavailable", True),
    errors.AnotherHistory: ("unavailable", True),
}


def test_the_codes_are_those_of_the_protocol() -> None:
    assert {kind: (kind.code, kind.retry) for kind in CODES} == CODES


def test_no_refusal_is_left_out_of_the_table() -> None:
    declared = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DomainError) and kind is not errors.DomainError
    }
    assert declared == set(CODES)


@pytest.mark.parametrize("kind", [kind for kind in CODES if kind not in (errors.RateLimited, errors.StaleHello)])
def test_a_refusal_says_what_and_where(kind: type[errors.DomainError]) -> None:
    if issubclass(kind, errors.Unavailable):
        assert kind("later").field is None
        return
    refusal = kind("what to do", field="body.text")
    assert (str(refusal), refusal.message, refusal.field) == ("what to do", "what to do", "body.text")


def test_who_must_wait_is_told_how_long() -> None:
    assert errors.RateLimited("slow down", retry_after=2.5).retry_after == 2.5
    assert errors.Unavailable("later").retry_after > 0


def test_a_conflict_carries_what_was_written_meanwhile() -> None:
    event = Event(
        UUID(int=1), UUID(int=2), UUID(int=3), 4, 5, Kind.MESSAGE, SYSTEM, None, b"{}", datetime(2030, 1, 1, tzinfo=UTC)
    )
    assert errors.Conflict("read first", events=[event]).events == (event,)
    assert errors.Conflict("read first").events == ()


def test_a_stale_hello_says_which_one_would_be_newer() -> None:
    stale = errors.StaleHello(3, 7)
    assert (stale.newest, stale.field, stale.events) == (7, "attempt", ())
    assert "hello 3" in stale.message
    assert "hello 7" in stale.message

"""Cursors come back as they went out; anything else is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import BadRequest
from server.domain.paging import from_cursor, to_cursor


class Key(msgspec.Struct, array_like=True, frozen=True):
    at: datetime
    last: UUID


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_comes_back_as_it_went_out(at: datetime, last: UUID) -> None:
    cursor = to_cursor((at, last))
    assert from_cursor(cursor, Key) == Key(at, last)
    assert not set(cursor) & set("+/=&?# ")


@given(st.text())
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        from_cursor(text, Key)
    assert refused.value.field == "cursor"


@pytest.mark.parametrize("key", [5, "text", ["2030-01-01T00:00:00Z"], {"at": 1}, None])
def test_a_cursor_of_another_list_is_refused(key: object) -> None:
    with pytest.raises(BadRequest):
        from_cursor(to_cursor(key), Key)

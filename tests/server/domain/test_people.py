"""External ids and the merging of properties."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import BadRequest
from server.domain.people import MAX_PROPERTIES, EndUser, check_external_id, merge_properties
from tests.server.domain.test_conversation import AT

values = st.none() | st.integers(-5, 5) | st.text("ab") | st.lists(st.integers(0, 3))
properties = st.dictionaries(st.sampled_from("abcdef"), values)


@pytest.mark.parametrize("external_id", ["a", "user 7", "Ünïcode-€", "x" * 255])
def test_an_apps_own_id_is_kept_as_it_is(external_id: str) -> None:
    assert check_external_id(external_id) == external_id


@pytest.mark.parametrize("external_id", ["", "x" * 256, "a\x00", "a\nb", "\x7f", "\ud800", "a\u200b"])
def test_what_cannot_be_an_id_is_refused(external_id: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_external_id(external_id, field="user")
    assert refused.value.field == "user"


@given(properties, properties)
def test_given_over_known_and_null_removes(known: dict[str, Any], new: dict[str, Any]) -> None:
    known = {key: value for key, value in known.items() if value is not None}
    merged = merge_properties(known, new)
    for key in set(known) | set(new):
        wanted = new.get(key) if key in new else known[key]
        assert merged.get(key) == wanted
        assert (key in merged) == (wanted is not None)
    assert merge_properties(merged, new) == merged


def test_there_may_be_two_hundred_properties() -> None:
    full: dict[str, Any] = {f"p{number}": number for number in range(MAX_PROPERTIES)}
    assert merge_properties(full, {}) == full
    assert len(merge_properties(full, {"p0": None, "new": 1})) == MAX_PROPERTIES
    with pytest.raises(BadRequest) as refused:
        merge_properties(full, {"new": 1})
    assert refused.value.field == "properties"


def test_what_a_user_writes_is_signed_with_id_and_name() -> None:
    user = EndUser(app_id=UUID(int=1), user_id=UUID(int=2), external_id="ada", name="Ada", created_at=AT, updated_at=AT)
    assert user.author.key == ("user", str(UUID(int=2)))
    assert user.author.name == "Ada"

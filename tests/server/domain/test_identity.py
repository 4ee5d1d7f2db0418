"""Claims of a user's token (protocol.md, "Identity"); signatures are the business of `services.identity`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import Unauthorized
from server.domain.identity import MAX_LIFETIME, SKEW, Expired, check_claims

APP = UUID(int=1)
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def at(delta: timedelta) -> float:
    return (NOW + delta).timestamp()


def claims(**changes: Any) -> dict[str, Any]:
    made = {"sub": "ada", "aud": str(APP), "iat": at(timedelta()), "exp": at(timedelta(hours=1))} | changes
    return {name: value for name, value in made.items() if value is not ...}


def test_a_good_token_names_its_user() -> None:
    checked = check_claims(claims(name="Ada", email="ada@example.com", locale="en"), APP, NOW)
    assert (checked.app_id, checked.external_id, checked.name) == (APP, "ada", "Ada")
    assert (checked.email, checked.locale) == ("ada@example.com", "en")
    assert checked.expires_at == NOW + timedelta(hours=1)
    assert check_claims(claims(aud=[str(APP)]), APP, NOW).external_id == "ada"
    assert check_claims(claims(sub="x" * 255), APP, NOW).external_id == "x" * 255


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"aud": str(UUID(int=2))}, "aud"),
        ({"aud": ...}, "aud"),
        ({"aud": [str(APP), "other"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": {"a": 1}}, "aud"),
        ({"sub": ...}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 5}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sub": "a\nb"}, "sub"),
        ({"sub": "a\x00b"}, "sub"),
        ({"sub": "\ud800"}, "sub"),
        ({"iat": ...}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": "now"}, "iat"),
        ({"iat": -1}, "iat"),
        ({"iat": float("nan")}, "iat"),
        ({"exp": ...}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": 2**33}, "exp"),
        ({"nbf": "soon"}, "nbf"),
    ],
)
def test_a_refusal_names_the_claim(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Unauthorized, match=f"`{named}`") as refused:
        check_claims(claims(**changes), APP, NOW)
    assert not isinstance(refused.value, Expired)
    assert refused.value.field == "token"


def test_a_token_is_good_until_the_second_it_expires() -> None:
    check_claims(claims(exp=at(timedelta(seconds=1))), APP, NOW)
    for late in (timedelta(), timedelta(seconds=-1)):
        with pytest.raises(Expired):
            check_claims(claims(exp=at(late), iat=at(timedelta(hours=-1))), APP, NOW)


def test_a_clock_that_is_ahead_of_ours_is_forgiven_a_minute() -> None:
    for name in ("iat", "nbf"):
        check_claims(claims(**{name: at(SKEW)}), APP, NOW)
        with pytest.raises(Unauthorized, match="not valid yet"):
            check_claims(claims(**{name: at(SKEW + timedelta(seconds=1))}), APP, NOW)


def test_a_token_lives_for_a_day_at_most() -> None:
    check_claims(claims(exp=at(MAX_LIFETIME)), APP, NOW)
    with pytest.raises(Unauthorized, match="24 hours"):
        check_claims(claims(exp=at(MAX_LIFETIME + timedelta(seconds=1))), APP, NOW)
    with pytest.raises(Unauthorized, match="24 hours"):
        check_claims(claims(iat=0), APP, NOW)


@pytest.mark.parametrize("value", [None, "", 5, ["Ada"], "a\x00b", "\ud800", "Ada \udfff"])
def test_optional_facts_that_cannot_be_used_lock_nobody_out(value: object) -> None:
    checked = check_claims(claims(name=value, email=value, locale=value), APP, NOW)
    assert (checked.name, checked.email, checked.locale) == (None, None, None)


def test_a_long_name_is_cut() -> None:
    assert check_claims(claims(name="x" * 500), APP, NOW).name == "x" * 200


@given(
    st.dictionaries(
        st.sampled_from(["sub", "aud", "iat", "exp", "nbf", "name", "email", "locale"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.just(str(APP)),
    )
)
def test_whatever_the_claims_are_they_are_taken_or_refused(given_claims: dict[str, Any]) -> None:
    try:
        checked = check_claims(claims() | given_claims, APP, NOW)
    except Unauthorized:
        return
    assert checked.expires_at > NOW
    assert checked.external_id
    for fact in (checked.name, checked.email, checked.locale):
        (fact or "").encode()

"""`admin_api.auth`: reading headers. What they let one do is in test_sessions and test_requests."""

from __future__ import annotations

import pytest

from admin_api.auth import bearer_of, cookie_of, csrf_token_of, session_of, set_cookie
from server.domain.errors import Unauthorized

SECRET = "dbc_" + "a" * 43


@pytest.mark.parametrize(
    "given", ["Bearer dba_abc-_1", "bearer dba_abc-_1", "BEARER   dba_abc-_1", " Bearer dba_abc-_1 "]
)
def test_bearer(given: str) -> None:
    assert bearer_of([given]) == "dba_abc-_1"


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Basic abc", "dba_abc", "Bearer a b", "Bearer ü", "Bearer a,b"]
)
def test_no_bearer(given: str) -> None:
    with pytest.raises(Unauthorized):
        bearer_of([given])


def test_one_bearer_only() -> None:
    assert bearer_of([]) is None
    with pytest.raises(Unauthorized):
        bearer_of(["Bearer a", "Bearer a"])


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [
        ([f"deskbell_session={SECRET}"], SECRET),
        ([f"a=b; deskbell_session={SECRET}; c=d"], SECRET),
        ([f'deskbell_session="{SECRET}"'], SECRET),
        (["a=b", f"deskbell_session={SECRET}"], SECRET),
        ([], None),
        (["deskbell_session="], None),
        (["deskbell_session=dba_abc"], None),
        ([f"xdeskbell_session={SECRET}"], None),
        ([f"deskbell_session={SECRET}; deskbell_session=dbc_other"], None),
        ([f"deskbell_session={SECRET}", "deskbell_session=dbc_other"], None),
    ],
)
def test_session_cookie(cookies: list[str], expected: str | None) -> None:
    assert session_of(cookies) == expected


def test_csrf_token_tells_nothing_of_the_secret() -> None:
    token = csrf_token_of(SECRET)
    assert len(token) == 64
    assert token != csrf_token_of(SECRET + "b")
    assert SECRET not in token


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ([("host", "desk.test")], True),
        ([("host", "desk.test"), ("origin", "https://desk.test")], True),
        ([("host", "Desk.test:8080"), ("origin", "http://desk.test:8080")], True),
        ([("host", "desk.test"), ("origin", "https://evil.example")], False),
        ([("host", "desk.test"), ("origin", "https://desk.test.evil.example")], False),
        ([("host", "desk.test"), ("origin", "https://desk.test:444")], False),
        ([("host", "desk.test"), ("origin", "null")], False),
        ([("host", "desk.test"), ("origin", "file://desk.test")], False),
        ([("host", "desk.test"), ("origin", "http://[")], False),
        ([("origin", "https://desk.test")], False),
        ([("host", ""), ("origin", "https://")], False),
        ([("host", "desk.test"), ("origin", "https://desk.test"), ("origin", "https://desk.test")], False),
    ],
)
def test_a_handshake_from_another_origin_has_no_cookie(headers: list[tuple[str, str]], accepted: bool) -> None:
    found = cookie_of([("cookie", f"deskbell_session={SECRET}"), *headers])
    assert found == ((SECRET, csrf_token_of(SECRET)) if accepted else None)


def test_a_host_that_is_none_gets_a_secure_cookie() -> None:
    for host in ("", "["):
        assert set_cookie(SECRET, 60, scheme="http", host=host).endswith("; Secure")


def test_a_handshake_without_a_cookie() -> None:
    assert cookie_of([("host", "desk.test")]) is None
    assert cookie_of([]) is None

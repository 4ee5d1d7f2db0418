from __future__ import annotations

from typing import Any

import pytest

from push.sender import Address, Notification


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tag": ""}, "tag"),
        ({"tag": "x" * 65}, "tag"),
        ({"tag": "a\nb"}, "tag"),
        ({"tag": "é"}, "tag"),
        ({"badge": -1}, "badge"),
        ({"badge": 2**31}, "badge"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": 28 * 86400 + 1}, "ttl"),
        ({"locale": "x" * 36}, "locale"),
        ({"data": {"a": 1}}, "data"),
        ({"data": {"a": "x" * 1024}}, "data"),
        ({"data": {"a": "\ud83d"}}, "data"),
    ],
)
def test_what_no_provider_takes_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}"):
        Notification(**{"title": "Anna", "body": "Hello", "tag": "c-1"} | fields)


def test_the_value_of_an_address_stays_out_of_logs() -> None:
    assert "secret-token" not in repr(Address("fcm", "token", "secret-token", "ios"))

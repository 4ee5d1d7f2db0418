"""The receiver of docs/webhooks.md, as it is printed there, accepts what we send and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from server.clock import SystemClock
from server.config_values import Secret
from server.outgoing.signing import new_secret, signature_headers
from server.services.webhook_body import ping

if TYPE_CHECKING:
    from datetime import datetime

PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"


@pytest.fixture
def secret() -> str:
    return new_secret()


@pytest.fixture
def receiver(secret: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
    return names


async def post(receiver: dict[str, Any], body: bytes, headers: dict[str, str]) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(receiver["app"]), base_url="http://kestrel") as client:
        return (await client.post("/deskbell", content=body, headers=headers)).status_code


def call(secret: str, at: datetime) -> tuple[bytes, dict[str, str]]:
    event_id = uuid4()
    body = ping(event_id, uuid4(), at)
    return body, signature_headers(str(event_id), at, body, [Secret(secret)])


async def test_what_is_signed_is_taken_once(receiver: dict[str, Any], secret: str) -> None:
    body, headers = call(secret, SystemClock().now())
    assert [await post(receiver, body, headers) for _ in range(2)] == [204, 204]
    assert receiver["known"] == {headers["webhook-id"]}


async def test_anything_else_is_not(receiver: dict[str, Any], secret: str) -> None:
    now = SystemClock().now()
    body, headers = call(secret, now)
    forged = call(new_secret(), now)
    old = call(secret, now.replace(year=now.year - 1))
    for wrong_body, wrong_headers in ((body + b" ", headers), (body, {}), forged, old):
        assert await post(receiver, wrong_body, wrong_headers) == 401
    assert receiver["known"] == set()

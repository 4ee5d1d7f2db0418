"""What holds for every request (http.md, "Common")."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import pytest

from admin_api.app import ApiLimits
from admin_api.envelope import Envelope
from admin_api.operations import Door
from admin_api.routes import OPERATIONS
from server.config import RateLimit
from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from admin_api.operations import Operation
    from tests.admin_api.conftest import Site, Tenant

PROBLEM = "application/problem+json"
JSON = {"content-type": "application/json"}
GUARDED = [operation for operation in OPERATIONS if operation.door is not Door.PUBLIC]


def path_of(operation: Operation) -> str:
    return (
        operation.path.replace("{external_id}", "blanca")
        .replace("{id}", "r1")
        .replace("{conversation}", "0198c5b0-11aa-7f00-8c11-5a6b7c8d9e01")
    )


@pytest.mark.parametrize("operation", GUARDED, ids=lambda operation: operation.id)
async def test_no_door_opens_without_its_own_key(
    site: Site, kestrel: Tenant, server: httpx.AsyncClient, desk: httpx.AsyncClient, operation: Operation
) -> None:
    wrong = desk if operation.door is Door.APP_SERVER else server
    prefix = "dbs_" if operation.door is Door.APP_SERVER else "dba_"
    for client in (site.client(), wrong, site.client(prefix + "x" * 43)):
        answer = await client.request(operation.method, path_of(operation), json=operation.body_example)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["code"] == "unauthorized"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_bodies_say_that_they_are_json(server: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await server.put("/v1/users/blanca", content=b"{}", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (415, PROBLEM)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_ways_to_say_json(server: httpx.AsyncClient, content_type: str) -> None:
    answer = await server.put("/v1/users/blanca", content=b"{}", headers={"content-type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}{}",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"properties": {"a": NaN}}',
        b'{"properties": {"a": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}}",
        b'{"properties": {"a": ' + b"9" * 9000 + b"}}",
    ],
    ids=range(10),
)
async def test_what_is_no_json_is_refused(server: httpx.AsyncClient, body: bytes) -> None:
    answer = await server.put("/v1/users/blanca", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text


async def test_an_optional_body_may_be_left_out(server: httpx.AsyncClient) -> None:
    path = "/v1/users/blanca/tokens"
    assert (await server.post(path, headers=JSON)).status_code == 200
    assert (await server.post(path, headers={"content-type": "text/plain"})).status_code == 200
    assert (await server.post(path, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415


async def test_large_bodies_are_refused_as_soon_as_they_are(site: Site, server: httpx.AsyncClient) -> None:
    limits = site.node.config.limits
    assert limits.batch_bytes > limits.body_bytes
    announced = await server.put("/v1/users/blanca", content=b" " * (limits.body_bytes + 1), headers=JSON)
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 65_536
            yield b" " * 65_536

    chunked = await server.put("/v1/users/blanca", content=chunks(), headers=JSON)
    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.headers["connection"] == "close"
    assert limits.body_bytes < sent <= limits.body_bytes + 65_536
    batch = {"transactions": [], "filler": " " * limits.body_bytes}
    assert (await server.post("/v1/transactions:batch", json=batch)).status_code == 400
    batch["filler"] = " " * limits.batch_bytes
    assert (await server.post("/v1/transactions:batch", json=batch)).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/users/blanca", {"PUT", "GET", "DELETE", "HEAD"}),
        ("GET", "/v1/transactions:batch", {"POST"}),
        ("DELETE", "/v1/transactions:batch", {"POST"}),
        ("GET", "/admin/v1/session", {"POST", "DELETE"}),
        ("OPTIONS", "/livez", {"GET", "HEAD"}),
        ("POST", "/desk", {"GET", "HEAD"}),
        ("POST", "/v1/chat", {"GET", "HEAD"}),
        ("BREW", "/livez", {"GET", "HEAD"}),
    ],
)
async def test_other_methods(server: httpx.AsyncClient, method: str, path: str, allowed: set[str]) -> None:
    answer = await server.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/", "/v1/users/blanca/", "/admin/v1/conversations/"])
async def test_nothing_is_nothing(server: httpx.AsyncClient, path: str) -> None:
    answer = await server.get(path)
    assert (answer.status_code, answer.headers["content-type"], answer.json()["code"]) == (404, PROBLEM, "not_found")


async def test_head_is_get_without_the_body(site: Site) -> None:
    answer = await site.client().head("/livez")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/v1/users/blanca", "/livez", "/nope", "/desk", "/%ff"])
async def test_every_answer_has_a_request_id(server: httpx.AsyncClient, path: str) -> None:
    own = await server.get(path, headers={"X-Request-Id": "abc-123"})
    assert own.headers["x-request-id"] == "abc-123"
    made = {(await server.get(path)).headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    for insane in ("a b", "x" * 129, "<script>", ""):
        answer = await server.get(path, headers={"X-Request-Id": insane})
        assert answer.headers["x-request-id"] != insane
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_answers_are_not_stored(server: httpx.AsyncClient) -> None:
    for answer in (await server.put("/v1/users/blanca", json={}), await server.get("/nope")):
        assert answer.headers["cache-control"] == "no-store"


async def test_rates_of_a_key_and_of_an_agent(site: Site, kestrel: Tenant, other: Tenant) -> None:
    limits = ApiLimits(server_key=RateLimit(2, 60), agent=RateLimit(2, 60))
    app = site.application(limits=limits)
    for token, stranger, path in (
        (kestrel.server_key, other.server_key, "/v1/users/nobody"),
        (kestrel.token, other.token, "/admin/v1/me"),
    ):
        client = site.client(token, app=app)
        statuses = [(await client.get(path)).status_code for _ in range(3)]
        assert statuses[:2] != [429, 429]
        assert statuses[2] == 429
        assert (await site.client(stranger, app=app).get(path)).status_code != 429
    unlimited = site.client(kestrel.token, app=site.application(limits=ApiLimits(agent=None)))
    assert (await unlimited.get("/admin/v1/me")).status_code == 200


class Broken:
    """A service that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def by_server_key(self, server_key: str) -> Any:
        raise self._error


def broken(error: Exception) -> Any:
    return Broken(error)


async def test_a_crash_tells_nothing(site: Site, kestrel: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    services = dataclasses.replace(site.node.services, apps=broken(RuntimeError("the password is hunter2")))
    client = site.client(kestrel.server_key, app=site.application(services=services))
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/v1/users/blanca", headers={"X-Request-Id": "find-me"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.json()["request_id"] == "find-me"
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


async def test_unavailable_says_when(site: Site, kestrel: Tenant) -> None:
    services = dataclasses.replace(site.node.services, apps=broken(Unavailable("Not now.", retry_after=2.2)))
    answer = await site.client(kestrel.server_key, app=site.application(services=services)).get("/v1/users/blanca")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, "3", "unavailable")


async def test_requests_are_counted_by_template(site: Site, server: httpx.AsyncClient) -> None:
    await server.get("/v1/users/someone-in-particular")
    await server.request("BREW", "/v1/users/someone-in-particular")
    await server.get("/not/a/route")
    page = (await site.client().get("/metrics")).text
    for line in (
        'deskbell_http_requests_total{method="GET",route="/v1/users/{external_id}",status="404"}',
        'deskbell_http_requests_total{method="other",route="/v1/users/{external_id}",status="405"}',
        'deskbell_http_requests_total{method="GET",route="unmatched",status="404"}',
    ):
        assert line in page
    assert "someone-in-particular" not in page


async def test_a_client_that_leaves_is_no_crash(site: Site, kestrel: Tenant) -> None:
    sent: list[Any] = []
    events = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/v1/users/blanca",
        "query_string": b"",
        "headers": [
            (b"authorization", f"Bearer {kestrel.server_key}".encode()),
            (b"content-type", b"application/json"),
        ],
    }

    async def receive() -> Any:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message)

    await site.app(scope, receive, send)
    assert sent == []
    page = (await site.client().get("/metrics")).text
    assert 'method="PUT",route="/v1/users/{external_id}",status="499"' in page


async def test_an_answer_that_breaks_off_is_cut(site: Site) -> None:
    """Once the answer has begun only the connection's end can say that it is not whole."""
    sent: list[Any] = []

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broken in the middle")

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        sent.append(message)

    envelope = Envelope(half, site.doors())
    scope = {"type": "http", "method": "GET", "path": "/livez", "query_string": b"", "headers": []}
    with pytest.raises(RuntimeError, match="in the middle"):
        await envelope(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]

"""`/v1/users`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from admin_api.app import ApiLimits
from server.config import RateLimit

if TYPE_CHECKING:
    import httpx

    from tests.admin_api.conftest import Site, Tenant


async def test_put_makes_merges_and_removes(server: httpx.AsyncClient) -> None:
    made = await server.put("/v1/users/blanca", json={"name": "Blanca", "properties": {"tier": "gold", "age": 7}})
    assert made.status_code == 200, made.text
    assert made.json()["properties"] == {"tier": "gold", "age": 7}
    assert made.json()["email"] is None
    changed = await server.put(
        "/v1/users/blanca",
        json={"name": None, "email": "b@example.org", "phone": "+49 1", "locale": "de", "properties": {"tier": None}},
    )
    assert {**changed.json(), "updated_at": ""} == {
        "id": made.json()["id"],
        "external_id": "blanca",
        "name": None,
        "email": "b@example.org",
        "phone": "+49 1",
        "locale": "de",
        "properties": {"age": 7},
        "created_at": made.json()["created_at"],
        "updated_at": "",
    }
    read = await server.get("/v1/users/blanca")
    assert read.json() == changed.json()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"nmae": "typo"}, "nmae"),
        ({"name": 3}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"properties": {"a": [{"b": "\x00"}]}}, "properties.a[0].b"),
        ({"properties": {"\x00": 1}}, "properties"),
        ({"properties": {"a": 2**70}}, "properties"),
        ({"properties": []}, "properties"),
        ({"properties": {str(number): 1 for number in range(201)}}, "properties"),
    ],
)
async def test_put_names_the_field_that_is_wrong(server: httpx.AsyncClient, body: Any, field: str) -> None:
    answer = await server.put("/v1/users/blanca", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["field"], problem["status"]) == ("bad_request", field, 400)
    assert problem["title"] == "Bad Request"
    assert problem["request_id"] == answer.headers["x-request-id"]


async def test_properties_are_bounded(server: httpx.AsyncClient) -> None:
    large = await server.put("/v1/users/blanca", json={"properties": {"a": "x" * 33_000}})
    assert (large.status_code, large.json()["code"], large.json()["field"]) == (413, "too_large", "properties")
    deep: Any = 1
    for _ in range(30):
        deep = {"a": deep}
    nested = await server.put("/v1/users/blanca", json={"properties": deep})
    assert (nested.status_code, nested.json()["field"]) == (400, "properties")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/users/" + "x" * 256, 400),
        ("/v1/users/a%00b", 400),
        ("/v1/users/a%0Ab", 400),
        ("/v1/users/%ff", 400),
        ("/v1/users/", 404),
        ("/v1/users/nobody", 404),
    ],
)
async def test_ids_that_are_none(server: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await server.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["org%2Fblanca", "%C3%BCber", "a%20b", "a%3Fb", "a+b", "a%2Bb", "%25"])
async def test_any_printable_id_stands_in_a_path(server: httpx.AsyncClient, name: str) -> None:
    put = await server.put(f"/v1/users/{name}", json={})
    assert put.status_code == 200, put.text
    read = await server.get(f"/v1/users/{name}")
    assert read.json()["external_id"] == put.json()["external_id"]
    if name == "org%2Fblanca":
        assert put.json()["external_id"] == "org/blanca"


async def test_two_spellings_of_a_path_are_one(server: httpx.AsyncClient) -> None:
    await server.put("/v1/users/blanca", json={"name": "Blanca"})
    answer = await server.get("/v1/users/%62lanca")
    assert answer.json()["name"] == "Blanca"


async def test_erasing_leaves_nothing(site: Site, kestrel: Tenant, server: httpx.AsyncClient) -> None:
    conversation = await site.open(kestrel, "blanca")
    erased = await server.delete("/v1/users/blanca")
    assert (erased.status_code, erased.content) == (204, b"")
    assert (await server.get("/v1/users/blanca")).status_code == 404
    assert (await server.delete("/v1/users/blanca")).status_code == 404
    gone = await site.client(kestrel.token).get(f"/admin/v1/conversations/{conversation}")
    assert gone.status_code == 404


async def test_export_is_what_the_user_may_see(
    site: Site, kestrel: Tenant, server: httpx.AsyncClient, desk: httpx.AsyncClient
) -> None:
    await server.put("/v1/users/blanca/transactions/r1", json={"version": 1})
    await server.put("/v1/users/blanca/transactions/r2", json={"version": 1})
    conversation = await site.open(kestrel, "blanca", "My umbrella")
    note = {"body": {"kind": "text", "text": "between us"}}
    await desk.post(f"/admin/v1/conversations/{conversation}/notes", json=note)
    export = await server.get("/v1/users/blanca/export")
    assert export.status_code == 200, export.text
    assert export.json()["user"]["external_id"] == "blanca"
    assert [event["usn"] for event in export.json()["events"]] == [1, 2]
    assert export.json()["events"][1]["body"] == {"kind": "text", "text": "My umbrella"}
    assert {each["id"] for each in export.json()["transactions"]} == {"r1", "r2"}
    assert "between us" not in export.text
    assert (await server.get("/v1/users/nobody/export")).status_code == 404


async def test_tokens_are_good_for_the_socket(site: Site, kestrel: Tenant, server: httpx.AsyncClient) -> None:
    identity = site.node.services.identity
    plain = await server.post("/v1/users/new one/tokens")
    assert plain.status_code == 200, plain.text
    claims = await identity.verify(plain.json()["token"])
    assert (claims.app_id, claims.external_id) == (kestrel.app, "new one")
    short = await server.post("/v1/users/blanca/tokens", json={"lifetime_s": 60})
    lifetime = (await identity.verify(short.json()["token"])).expires_at - site.node.clock.now()
    assert timedelta(seconds=50) < lifetime <= timedelta(seconds=60)
    assert short.json()["expires_at"].endswith(".000Z")


@pytest.mark.parametrize("lifetime", [0, 86_401, "60", None])
async def test_tokens_live_a_day_at_most(server: httpx.AsyncClient, lifetime: Any) -> None:
    answer = await server.post("/v1/users/blanca/tokens", json={"lifetime_s": lifetime})
    assert (answer.status_code, answer.json()["field"]) == (400, "lifetime_s")


async def test_tokens_need_a_key_that_we_hold(site: Site, kestrel: Tenant, server: httpx.AsyncClient) -> None:
    await site.node.database.pool.execute("delete from app_key where app_id = $1", kestrel.app)
    answer = await server.post("/v1/users/blanca/tokens")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_tokens_are_limited_for_each_user(site: Site, kestrel: Tenant) -> None:
    client = site.client(kestrel.server_key, app=site.application(limits=ApiLimits(user=RateLimit(2, 60))))
    answers = [await client.post(f"/v1/users/{name}/tokens") for name in ("blanca", "blanca", "blanca", "zoe")]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert answers[2].json()["retry_after"] == int(answers[2].headers["retry-after"])
    assert answers[2].json()["code"] == "rate_limited"


async def test_another_app_has_users_of_its_own(site: Site, other: Tenant, server: httpx.AsyncClient) -> None:
    await server.put("/v1/users/blanca", json={"name": "Blanca"})
    stranger = site.client(other.server_key)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/export"), ("GET", "/transactions")):
        answer = await stranger.request(method, f"/v1/users/blanca{path}")
        assert answer.status_code == 404, (method, path, answer.text)
    mine = await stranger.put("/v1/users/blanca", json={"name": "Another"})
    assert mine.json()["name"] == "Another"
    assert (await server.get("/v1/users/blanca")).json()["name"] == "Blanca"


async def test_tokens_can_be_revoked(site: Site, kestrel: Tenant, server: httpx.AsyncClient) -> None:
    await server.put("/v1/users/zoe", json={"name": "Zoe"})
    revoked = await server.delete("/v1/users/zoe/tokens")
    unknown = await server.delete("/v1/users/nobody/tokens")
    assert (revoked.status_code, unknown.status_code) == (204, 404)
    user = await site.node.services.people.find(kestrel.app, "zoe")
    assert user.auth_gen == 1
    assert user.tokens_from is not None

"""`POST /v1/users/{external_id}/messages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import pytest_asyncio

from admin_api.app import ApiLimits
from server.config import RateLimit

if TYPE_CHECKING:
    import httpx

    from tests.admin_api.conftest import Site, Tenant

PATH = "/v1/users/blanca/messages"
TEXT = {"kind": "text", "text": "Is this umbrella yours?"}


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def _known(server: httpx.AsyncClient) -> None:
    await server.put("/v1/users/blanca", json={"name": "Blanca"})


async def test_it_opens_a_conversation(server: httpx.AsyncClient, desk: httpx.AsyncClient, kestrel: Tenant) -> None:
    await server.put("/v1/users/blanca/transactions/r1", json={"version": 1, "title": "A ride"})
    answer = await server.post(PATH, json={"body": TEXT, "topic": "lost_item", "transaction": "r1"})
    assert answer.status_code == 201, answer.text
    event = answer.json()["event"]
    assert event["author"] == {"type": "bot", "id": str(kestrel.app), "name": "Kestrel"}
    assert (event["seq"], event["kind"], event["body"]) == (2, "message", TEXT)
    detail = (await desk.get(f"/admin/v1/conversations/{answer.json()['conversation']}")).json()
    assert (detail["conversation"]["topic"], detail["conversation"]["headline"]) == ("lost_item", "A ride")
    assert detail["context"]["transaction"]["id"] == "r1"
    again = await server.post(PATH, json={"body": TEXT})
    assert again.json()["conversation"] != answer.json()["conversation"]


async def test_it_continues_a_conversation(site: Site, kestrel: Tenant, server: httpx.AsyncClient) -> None:
    conversation = await site.open(kestrel, "blanca")
    answer = await server.post(
        PATH, json={"body": TEXT, "conversation": str(conversation), "author_name": "Lost&Found"}
    )
    assert (answer.status_code, answer.json()["conversation"]) == (201, str(conversation))
    assert answer.json()["event"]["seq"] == 3
    assert answer.json()["event"]["author"]["name"] == "Lost&Found"


async def test_it_opens_under_the_callers_own_id(server: httpx.AsyncClient) -> None:
    own = str(uuid4())
    answer = await server.post(PATH, json={"body": TEXT, "conversation": own})
    assert (answer.status_code, answer.json()["conversation"], answer.json()["event"]["seq"]) == (201, own, 2)


@pytest.mark.parametrize("how", ["id", "Idempotency-Key"])
async def test_a_repeat_is_the_same(server: httpx.AsyncClient, how: str) -> None:
    name = str(uuid4())
    wish: dict[str, Any] = {"body": TEXT, "topic": "lost_item"}
    headers = {}
    if how == "id":
        wish["id"] = name
    else:
        headers[how] = name
    first = await server.post(PATH, json=wish, headers=headers)
    second = await server.post(PATH, json=wish, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    for change in ({"body": TEXT | {"text": "Something else"}}, {"topic": "other"}, {"author_name": "Another"}):
        clash = await server.post(PATH, json=wish | change, headers=headers)
        assert (clash.status_code, clash.json()["code"]) == (409, "idempotency_conflict"), change


async def test_a_repeat_into_a_known_conversation(site: Site, kestrel: Tenant, server: httpx.AsyncClient) -> None:
    conversation = await site.open(kestrel, "blanca", topic="theirs")
    wish = {"body": TEXT, "conversation": str(conversation), "topic": "ours"}
    key = {"Idempotency-Key": "k1"}
    first = await server.post(PATH, json=wish, headers=key)
    second = await server.post(PATH, json=wish, headers=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["event"] == second.json()["event"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
async def test_keys_are_checked(server: httpx.AsyncClient, key: str) -> None:
    answer = await server.post(PATH, json={"body": TEXT}, headers=[(b"idempotency-key", key.encode())])
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "body"),
        ({"body": {"kind": "text"}}, "body.text"),
        ({"body": {"kind": "text", "text": "  "}}, "body.text"),
        ({"body": {"kind": "text", "text": "a", "size": 1}}, "body.size"),
        ({"body": {"kind": "text", "text": "a\x00"}}, "body.text"),
        ({"body": {"kind": "poem", "text": "a"}}, "body.kind"),
        ({"body": "text"}, "body"),
        ({"body": {"kind": "card", "title": "a", "buttons": [{"id": "1", "label": "b", "x": 1}]}}, "body.buttons[0].x"),
        (
            {"body": {"kind": "choices", "text": "a", "options": [{"id": "1", "label": "b", "x": 1}]}},
            "body.options[0].x",
        ),
        ({"body": TEXT, "id": "1"}, "id"),
        ({"body": TEXT, "conversation": "1"}, "conversation"),
        ({"body": TEXT, "topic": ""}, "topic"),
        ({"body": TEXT, "author_name": "x" * 201}, "author_name"),
        ({"body": TEXT, "usr": 1}, "usr"),
    ],
)
async def test_a_wrong_field_is_named(server: httpx.AsyncClient, wish: dict[str, Any], field: str) -> None:
    answer = await server.post(PATH, json=wish)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text


async def test_text_has_a_limit(server: httpx.AsyncClient) -> None:
    answer = await server.post(PATH, json={"body": {"kind": "text", "text": "é" * 8200}})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (413, "too_large", "body.text")


async def test_cards_and_coupons_go_too(server: httpx.AsyncClient) -> None:
    for body in (
        {"kind": "card", "title": "Found", "buttons": [{"id": "yes", "label": "Mine", "reply": "Mine!"}]},
        {"kind": "choices", "text": "Which?", "options": [{"id": "a", "label": "A"}]},
        {"kind": "coupon", "code": "SORRY5", "description": "5 off", "amount": "5.00", "currency": "EUR"},
    ):
        answer = await server.post(PATH, json={"body": body})
        assert (answer.status_code, answer.json()["event"]["body"]) == (201, body)


async def test_nobody_and_nobodys(site: Site, kestrel: Tenant, other: Tenant, server: httpx.AsyncClient) -> None:
    unknown = await server.post("/v1/users/nobody/messages", json={"body": TEXT})
    assert (unknown.status_code, unknown.json()["field"]) == (404, "external_id")
    theirs = await site.open(other, "zoe")
    neighbours = await site.open(kestrel, "neighbour")
    for conversation in (theirs, neighbours):
        answer = await server.post(PATH, json={"body": TEXT, "conversation": str(conversation)})
        assert (answer.status_code, answer.json()["field"]) == (404, "conversation")


async def test_one_user_is_not_flooded(site: Site, kestrel: Tenant) -> None:
    client = site.client(kestrel.server_key, app=site.application(limits=ApiLimits(user=RateLimit(1, 60))))
    assert (await client.post(PATH, json={"body": TEXT})).status_code == 201
    assert (await client.post(PATH, json={"body": TEXT})).status_code == 429

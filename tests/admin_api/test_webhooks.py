"""`/v1/webhooks`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from msgspec import json as msgspec_json
from standardwebhooks import Webhook as Verifier

from server.clock import SystemClock
from server.config_values import Secret
from server.domain.webhook import MAX_ENDPOINTS, TYPES
from server.outgoing.interface import Answered, Unreachable
from server.outgoing.signing import signature_headers
from tests.support.outgoing import ScriptedOutgoing

if TYPE_CHECKING:
    import httpx

    from server.outgoing.interface import Outcome
    from tests.admin_api.conftest import Site, Tenant

WISH = {"url": "https://api.kestrel.example/deskbell", "events": ["message.created"], "description": "backend"}
NOBODY = "/v1/webhooks/0198c5b0-44dd-7f00-8c11-5a6b7c8d9e04"


@pytest.fixture
def outgoing(site: Site, monkeypatch: pytest.MonkeyPatch) -> ScriptedOutgoing:
    """Stands where real calls would be made."""
    scripted = ScriptedOutgoing()
    monkeypatch.setattr(site.node.services.webhooks, "_outgoing", scripted)
    monkeypatch.setattr(site.node.webhook_outbox._delivery, "_outgoing", scripted)
    return scripted


async def made(server: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await server.post("/v1/webhooks", json=WISH | more)
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


async def work(site: Site, webhook: dict[str, Any]) -> None:
    """What a worker does, for one endpoint."""
    delivery = site.node.webhook_outbox._delivery
    while lanes := await delivery.claim(50, busy={}, per_endpoint=50, endpoint=UUID(webhook["id"])):
        for lane in lanes:
            await delivery.deliver(lane)


async def test_make_read_change_and_remove(server: httpx.AsyncClient) -> None:
    webhook = await made(server)
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert webhook | WISH == webhook
    assert (webhook["enabled"], webhook["state"], webhook["reason"]) == (True, "active", None)
    path = f"/v1/webhooks/{webhook['id']}"
    assert (await server.get(path)).json() == webhook
    assert (await server.get("/v1/webhooks")).json() == {"items": [webhook], "next_cursor": None}

    changed = (await server.patch(path, json={"events": ["rating.given", "conversation.opened"]})).json()
    assert changed["events"] == ["conversation.opened", "rating.given"]
    assert (changed["url"], changed["description"]) == (WISH["url"], "backend")
    off = (await server.patch(path, json={"enabled": False, "description": None})).json()
    assert (off["enabled"], off["state"], off["description"]) == (False, "disabled", None)
    same = (await server.patch(path, json={})).json()
    assert same | {"updated_at": None} == off | {"updated_at": None}

    assert (await server.delete(path)).status_code == 204
    for answer in (await server.get(path), await server.delete(path), await server.patch(path, json={})):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await server.get("/v1/webhooks")).json()["items"] == []


async def test_the_secret_is_told_once_and_kept_encrypted(site: Site, server: httpx.AsyncClient) -> None:
    webhook = await made(server)
    path = f"/v1/webhooks/{webhook['id']}"
    for answer in (await server.get(path), await server.get("/v1/webhooks"), await server.patch(path, json={})):
        assert "whsec_" not in answer.text
    (sealed,) = await site.node.database.pool.fetch(
        "select sealed from webhook_secret where endpoint_id = $1", UUID(webhook["id"])
    )
    assert webhook["secret"].encode() not in sealed["sealed"]
    assert site.node.services.webhooks._vault.open(sealed["sealed"]).decode() == webhook["secret"]


async def test_a_repeat_with_the_same_key_is_the_same_webhook(server: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": f"k-{uuid4()}"}
    first = await server.post("/v1/webhooks", json=WISH, headers=key)
    again = await server.post("/v1/webhooks", json=WISH, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = await server.post("/v1/webhooks", json=WISH | {"url": "https://other.example/"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert len((await server.get("/v1/webhooks")).json()["items"]) == 1
    await server.delete(f"/v1/webhooks/{first.json()['id']}")
    gone = await server.post("/v1/webhooks", json=WISH, headers=key)
    assert (gone.status_code, gone.json()["code"]) == (409, "idempotency_conflict")
    assert "deleted" in gone.json()["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": None}, "url"),
        ({"url": ""}, "url"),
        ({"url": "http://api.kestrel.example/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "https://2130706433/"}, "url"),
        ({"url": "https://me:secret@api.kestrel.example/"}, "url"),
        ({"url": "https://api.kestrel.example/#x"}, "url"),
        ({"url": "https://api.kestrel.example/" + "a" * 2000}, "url"),
        ({"url": "ftp://api.kestrel.example/"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["note"]}, "events"),
        ({"events": ["ping"]}, "events"),
        ({"events": "message.created"}, "events"),
        ({"events": list(TYPES) * 2}, "events"),
        ({"description": "d" * 201}, "description"),
        ({"description": "\x00"}, "description"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_what_will_not_do_is_named(server: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    webhook = await made(server)
    answers = [
        await server.post("/v1/webhooks", json=WISH | change),
        await server.patch(f"/v1/webhooks/{webhook['id']}", json=change),
    ]
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert answer.json()["field"].split("[")[0] == field
    assert len((await server.get("/v1/webhooks")).json()["items"]) == 1


async def test_an_app_has_at_most_ten(server: httpx.AsyncClient) -> None:
    for number in range(MAX_ENDPOINTS):
        await made(server, url=f"https://api.kestrel.example/{number}")
    answer = await server.post("/v1/webhooks", json=WISH)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    listed = (await server.get("/v1/webhooks?limit=4")).json()
    urls = [each["url"] for each in listed["items"]]
    while listed["next_cursor"]:
        listed = (await server.get("/v1/webhooks", params={"limit": 4, "cursor": listed["next_cursor"]})).json()
        urls += [each["url"] for each in listed["items"]]
    assert urls == [f"https://api.kestrel.example/{number}" for number in range(MAX_ENDPOINTS)]
    first = (await server.get("/v1/webhooks?limit=1")).json()["items"][0]
    await server.delete(f"/v1/webhooks/{first['id']}")
    await made(server)


async def test_a_new_one_hears_of_what_comes_after_the_answer(
    site: Site, server: httpx.AsyncClient, kestrel: Tenant, outgoing: ScriptedOutgoing
) -> None:
    conversation = await site.open(kestrel, "blanca", "before")
    webhook = await made(server)
    await site.write(kestrel, "blanca", conversation, "after")
    await work(site, webhook)
    (call,) = outgoing.calls
    body = msgspec_json.decode(call.body)
    assert body["data"]["event"]["body"]["text"] == "after"
    headers = signature_headers(call.id, SystemClock().now(), call.body, call.secrets)
    assert Verifier(webhook["secret"]).verify(call.body, headers) == body


async def test_it_answers_only_when_no_older_batch_is_under_way(site: Site, kestrel: Tenant) -> None:
    """A batch that began before may not know of it; whatever is committed after the answer does."""
    server = site.client(kestrel.server_key)
    async with site.node.database.transaction() as tx:
        await tx.value("find_history")
        task = asyncio.ensure_future(server.post("/v1/webhooks", json=WISH))
        done, _ = await asyncio.wait([task], timeout=0.3)
        assert not done
    assert (await task).status_code == 201


async def test_rotating_the_secret(
    site: Site, server: httpx.AsyncClient, kestrel: Tenant, outgoing: ScriptedOutgoing
) -> None:
    webhook = await made(server)
    rotated = (await server.post(f"/v1/webhooks/{webhook['id']}:rotate-secret")).json()
    assert rotated["secret"] != webhook["secret"]
    conversation = await site.open(kestrel, "blanca")
    await work(site, webhook)
    (call,) = outgoing.calls
    assert call.secrets == (Secret(rotated["secret"]), Secret(webhook["secret"]))
    for _ in range(6):
        rotated = (await server.post(f"/v1/webhooks/{webhook['id']}:rotate-secret")).json()
    await site.write(kestrel, "blanca", conversation, "again")
    await work(site, webhook)
    assert len(outgoing.calls[1].secrets) == 5
    assert outgoing.calls[1].secrets[0] == Secret(rotated["secret"])


@pytest.mark.parametrize(
    ("outcome", "ok", "status", "error"),
    [
        (Answered(status=204), True, 204, None),
        (Answered(status=500, body=b"stack trace"), False, 500, "it answered 500"),
        (Unreachable(reason="its certificate is not valid", sent=False), False, None, "its certificate is not valid"),
    ],
)
async def test_a_test_says_what_became_of_it(
    server: httpx.AsyncClient, outgoing: ScriptedOutgoing, outcome: Outcome, ok: bool, status: int | None, error: str
) -> None:
    webhook = await made(server)
    outgoing.answers = [outcome]
    answer = await server.post(f"/v1/webhooks/{webhook['id']}:test")
    assert answer.status_code == 200
    told = answer.json()
    assert told == {"id": told["id"], "ok": ok, "status": status, "error": error}
    (call,) = outgoing.calls
    body = msgspec_json.decode(call.body)
    assert body == {
        "id": told["id"],
        "type": "ping",
        "created_at": body["created_at"],
        "app": body["app"],
        "data": {},
    }
    assert (call.id, call.url) == (told["id"], WISH["url"])
    assert (await server.get(f"/v1/webhooks/{webhook['id']}/deliveries")).json()["items"] == []


async def test_deliveries_are_listed_and_replayed(
    site: Site, server: httpx.AsyncClient, kestrel: Tenant, outgoing: ScriptedOutgoing
) -> None:
    webhook = await made(server)
    path = f"/v1/webhooks/{webhook['id']}/deliveries"
    first, second = await site.open(kestrel, "blanca", "one"), await site.open(kestrel, "blanca", "two")
    outgoing.judge = lambda call: Answered(status=500) if b'"two"' in call.body else None
    await work(site, webhook)
    await site.write(kestrel, "blanca", second, "three")

    items = (await server.get(path)).json()["items"]
    assert [(each["conversation"], each["state"], each["attempts"]) for each in items] == [
        (str(second), "pending", 0),
        (str(second), "pending", 1),
        (str(first), "delivered", 1),
    ]
    assert [(each["status"], each["error"]) for each in items] == [
        (None, None),
        (500, "it answered 500"),
        (204, None),
    ]
    assert [each["next_attempt_at"] is None for each in items] == [True, False, True]
    assert items[2]["seq"] == 2
    assert (await server.get(f"/v1/webhooks/{webhook['id']}")).json()["state"] == "failing"

    for state, expected in (("pending", items[:2]), ("delivered", items[2:]), ("dead", [])):
        assert (await server.get(path, params={"state": state})).json()["items"] == expected
    assert (await server.get(path, params={"state": "lost"})).json()["field"] == "state"
    paged, cursor = [], None
    while True:
        answer = (await server.get(path, params={"limit": 1} | ({"cursor": cursor} if cursor else {}))).json()
        paged += answer["items"]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert paged == items

    replayed = await server.post(f"{path}/{items[2]['id']}:replay")
    assert (replayed.status_code, replayed.json()["state"]) == (202, "pending")
    await server.post(f"{path}/{items[1]['id']}:replay")
    outgoing.judge = None
    outgoing.calls.clear()
    await work(site, webhook)
    assert sorted(call.id for call in outgoing.calls) == sorted(each["id"] for each in items)
    assert (await server.get(f"/v1/webhooks/{webhook['id']}")).json()["state"] == "active"
    assert (await server.post(f"{path}/{uuid4()}:replay")).json()["field"] == "delivery"


async def test_apps_do_not_see_each_other(site: Site, server: httpx.AsyncClient, other: Tenant) -> None:
    webhook = await made(server)
    stranger = site.client(other.server_key)
    path = f"/v1/webhooks/{webhook['id']}"
    assert (await stranger.get("/v1/webhooks")).json()["items"] == []
    for method, where, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", ":test", None),
        ("POST", ":rotate-secret", None),
        ("GET", "/deliveries", None),
        ("POST", f"/deliveries/{uuid4()}:replay", None),
    ):
        foreign = await stranger.request(method, path + where, json=body)
        nothing = await stranger.request(method, NOBODY + where, json=body)
        assert foreign.status_code == nothing.status_code == 404
        assert foreign.json()["detail"] == nothing.json()["detail"]
    assert (await server.get(path)).json()["enabled"]


async def test_changes_and_tests_are_rate_limited(site: Site, kestrel: Tenant, outgoing: ScriptedOutgoing) -> None:
    server = site.client(kestrel.server_key, app=site.application())
    webhook = await made(server)
    statuses = [(await server.post(f"/v1/webhooks/{webhook['id']}:test")).status_code for _ in range(13)]
    assert statuses[:11] == [200] * 11
    assert 429 in statuses
    assert len(outgoing.calls) == statuses.count(200)

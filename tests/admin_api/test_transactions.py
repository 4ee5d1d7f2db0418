"""`/v1/users/{external_id}/transactions` and `/v1/transactions:batch`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from admin_api.transactions import TransactionFacts
from server.domain.transaction import Transaction

if TYPE_CHECKING:
    import httpx

    from tests.admin_api.conftest import Site, Tenant

RIDE = {
    "version": 2,
    "kind": "ride",
    "status": "completed",
    "title": "To the harbour ⛴",
    "amount": {"value": "12.50", "currency": "EUR"},
    "occurred_at": "2026-03-01T09:30:00+01:00",
    "url": "https://example.org/r1",
    "image_url": "https://example.org/r1.png",
    "attributes": {"driver": {"name": "Ada"}, "stops": [1, 2.5]},
}


def test_facts_are_a_transaction_without_its_id() -> None:
    assert {"id", *TransactionFacts.__struct_fields__} == set(Transaction.__struct_fields__)


async def test_versions_only_go_forward(server: httpx.AsyncClient) -> None:
    path = "/v1/users/blanca/transactions/r1"
    for version, applied in ((2, True), (2, False), (1, False), (3, True)):
        answer = await server.put(path, json=RIDE | {"version": version})
        assert (answer.status_code, answer.json()) == (200, {"applied": applied})
    listed = (await server.get("/v1/users/blanca/transactions")).json()
    shown = RIDE | {"id": "r1", "version": 3, "occurred_at": "2026-03-01T08:30:00.000Z"}
    assert listed == {"items": [shown], "next_cursor": None}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": None}, "version"),
        ({"version": -1}, "version"),
        ({"version": 2**63}, "version"),
        ({"version": "2"}, "version"),
        ({"amount": {"value": 12.5, "currency": "EUR"}}, "amount.value"),
        ({"amount": {"value": "12.50", "currency": "euro"}}, "amount.currency"),
        ({"amount": {"value": "1", "currency": "EUR", "tax": 1}}, "amount.tax"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": "2026-03-01T09:30:00"}, "occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "occurred_at"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"attributes": {"a": "\x00"}}, "attributes.a"),
        ({"id": "r1"}, "id"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(server: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    answer = await server.put("/v1/users/blanca/transactions/r1", json=RIDE | change)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
    assert (await server.get("/v1/users/blanca")).status_code == 404, "a refused transaction makes no user"


async def test_version_is_required(server: httpx.AsyncClient) -> None:
    answer = await server.put("/v1/users/blanca/transactions/r1", json={"kind": "ride"})
    assert (answer.status_code, answer.json()["field"]) == (400, "version")
    assert "missing required field `version`" in answer.json()["detail"]


async def test_ids_are_bounded(server: httpx.AsyncClient) -> None:
    answer = await server.put("/v1/users/blanca/transactions/" + "x" * 201, json=RIDE)
    assert (answer.status_code, answer.json()["field"]) == (400, "id")


async def test_each_of_a_batch_is_answered_by_itself(server: httpx.AsyncClient) -> None:
    good = RIDE | {"external_id": "blanca", "id": "r1"}
    batch = [
        good,
        good | {"version": 1},
        good | {"id": "r2", "amount": {"value": "x", "currency": "EUR"}},
        good | {"external_id": "", "id": "r3"},
        good | {"external_id": "a\nb", "id": "r4"},
        good | {"id": "r5", "title": "\x00"},
        {"id": "r6", "version": 1},
        "not even an object",
        good | {"external_id": "zoe", "id": "r7"},
        good | {"id": "r8", "attributes": {"a": "x" * 40_000}},
    ]
    answer = await server.post("/v1/transactions:batch", json={"transactions": batch})
    assert answer.status_code == 200, answer.text
    results = answer.json()["transactions"]
    assert [result.get("applied") for result in results] == [True, False, *[None] * 6, True, None]
    assert [result["error"].get("field") for result in results if "error" in result] == [
        "amount.value",
        "external_id",
        "external_id",
        "title",
        "external_id",
        None,
        "attributes",
    ]
    assert [(result["external_id"], result["id"]) for result in results[5:9]] == [
        ("blanca", "r5"),
        (None, "r6"),
        (None, None),
        ("zoe", "r7"),
    ]
    assert results[9]["error"]["code"] == "too_large"
    assert [each["id"] for each in (await server.get("/v1/users/zoe/transactions")).json()["items"]] == ["r7"]


async def test_a_batch_survives_bytes_that_are_no_text(server: httpx.AsyncClient) -> None:
    """A lone surrogate in one item costs at most that item."""
    good = json.dumps({"external_id": "blanca", "id": "r1", "version": 1})
    for bad in (
        r'{"external_id": "blanca", "id": "\ud800", "version": 1}',
        r'{"external_id": "b", "id": "i", "x": "\ud800 "}',
    ):
        body = f'{{"transactions": [{good}, {bad}]}}'
        answer = await server.post("/v1/transactions:batch", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            assert answer.json()["transactions"][1]["error"]["code"] == "bad_request"


async def test_a_batch_has_a_limit(server: httpx.AsyncClient) -> None:
    item = {"external_id": "blanca", "id": "r1", "version": 1}
    full = await server.post("/v1/transactions:batch", json={"transactions": [item] * 1000})
    assert full.status_code == 200
    assert [result["applied"] for result in full.json()["transactions"]] == [True] + [False] * 999
    answer = await server.post("/v1/transactions:batch", json={"transactions": [item] * 1001})
    assert (answer.status_code, answer.json()["field"]) == (400, "transactions")


async def test_pages_stay_whole_while_transactions_come_and_change(server: httpx.AsyncClient) -> None:
    path = "/v1/users/blanca/transactions"
    for number in range(1, 8):
        ride = {"version": 1, "occurred_at": f"2026-03-0{(number + 1) // 2}T08:00:00Z"}
        await server.put(f"{path}/r{number}", json=ride)
    seen: list[str] = []
    cursor = None
    for step in range(10):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = await server.get(path, params=query)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) <= 2
        seen += [item["id"] for item in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break
        await server.put(f"{path}/new{step}", json={"version": 1, "occurred_at": "2026-04-01T08:00:00Z"})
        await server.put(f"{path}/{seen[0]}", json={"version": step + 2, "occurred_at": "2026-04-02T08:00:00Z"})
    assert seen == ["r7", "r6", "r5", "r4", "r3", "r2", "r1"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=!!", "cursor"),
        ("cursor=W10", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("sort=up", "sort"),
        ("cursor=WyIyMDI2LTAzLTAxVDA4OjAwOjAwIiwiciJd", "cursor"),  # a time without an offset
        ("cursor=WyIwMDAxLTAxLTAxVDA4OjAwOjAwWiIsInIiXQ", "cursor"),  # the year 1
        ("cursor=WyIyMDI2LTAzLTAxVDA4OjAwOjAwWiIsIlx1MDAwMCJd", "cursor"),  # U+0000 for an id
    ],
)
async def test_wrong_queries_are_named(server: httpx.AsyncClient, query: str, field: str) -> None:
    await server.put("/v1/users/blanca", json={})
    answer = await server.get(f"/v1/users/blanca/transactions?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text


async def test_a_change_is_an_event_of_the_conversation(
    site: Site, kestrel: Tenant, server: httpx.AsyncClient, desk: httpx.AsyncClient
) -> None:
    await server.put("/v1/users/blanca/transactions/r1", json=RIDE)
    conversation = await site.open(kestrel, "blanca", ride="r1")
    await server.put("/v1/users/blanca/transactions/r1", json=RIDE | {"version": 3, "status": "refunded"})
    detail = (await desk.get(f"/admin/v1/conversations/{conversation}")).json()
    assert detail["context"]["transaction"]["status"] == "completed"
    assert detail["transactions"][0]["status"] == "refunded"
    assert detail["conversation"]["headline"] == "To the harbour ⛴ · refunded"
    events = (await desk.get(f"/admin/v1/conversations/{conversation}/events")).json()["items"]
    assert events[-1]["kind"] == "transaction.updated"
    assert events[-1]["author"] == {"type": "system"}

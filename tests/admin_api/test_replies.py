"""`/admin/v1/conversations/{conversation}/…`, written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    import httpx

    from tests.admin_api.conftest import Site, Tenant

TEXT = {"kind": "text", "text": "We found it."}


@pytest_asyncio.fixture(loop_scope="session")
async def conversation(site: Site, kestrel: Tenant) -> UUID:
    return await site.open(kestrel, "blanca")


@pytest.fixture
def path(conversation: UUID) -> str:
    return f"/admin/v1/conversations/{conversation}"


async def test_a_message(desk: httpx.AsyncClient, path: str, kestrel: Tenant) -> None:
    message = {"id": str(uuid4()), "body": TEXT, "expected_seq": 2}
    answer = await desk.post(f"{path}/messages", json=message)
    assert answer.status_code == 201, answer.text
    event = answer.json()
    assert (event["seq"], event["kind"], event["id"], event["body"]) == (3, "message", message["id"], TEXT)
    assert event["author"] == {"type": "agent", "id": str(kestrel.agent), "name": "Agent of Kestrel"}
    again = await desk.post(f"{path}/messages", json=message)
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (201, event, "true")
    clash = await desk.post(f"{path}/messages", json=message | {"body": TEXT | {"text": "other"}})
    assert (clash.status_code, clash.json()["code"], clash.json()["field"]) == (409, "idempotency_conflict", "id")


async def test_a_key_is_as_good_as_an_id(desk: httpx.AsyncClient, path: str) -> None:
    key = {"Idempotency-Key": "once"}
    first = await desk.post(f"{path}/messages", json={"body": TEXT}, headers=key)
    second = await desk.post(f"{path}/messages", json={"body": TEXT}, headers=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    clash = await desk.post(f"{path}/messages", json={"body": TEXT | {"text": "other"}}, headers=key)
    assert (clash.status_code, clash.json()["code"]) == (409, "idempotency_conflict")
    note = await desk.post(f"{path}/notes", json={"body": TEXT}, headers=key)
    assert (note.status_code, note.json()["kind"]) == (201, "note"), "the key is each verb's own"
    bare = await desk.post(f"{path}/messages", json={"body": TEXT})
    assert (bare.status_code, bare.json()["seq"]) == (201, 5), "without either, each is a new one"


async def test_a_note_never_passes_for_a_message(desk: httpx.AsyncClient, path: str) -> None:
    message = {"id": str(uuid4()), "body": TEXT}
    note = await desk.post(f"{path}/notes", json=message)
    assert (note.status_code, note.json()["kind"]) == (201, "note")
    assert (await desk.post(f"{path}/notes", json=message)).headers["Idempotent-Replayed"] == "true"
    clash = await desk.post(f"{path}/messages", json=message)
    assert (clash.status_code, clash.json()["code"]) == (409, "idempotency_conflict")


async def test_a_stale_answer_is_not_sent(
    site: Site, kestrel: Tenant, conversation: UUID, desk: httpx.AsyncClient, path: str
) -> None:
    await site.write(kestrel, "blanca", conversation, "Never mind, I have it")
    answer = await desk.post(f"{path}/messages", json={"body": TEXT, "expected_seq": 2})
    assert answer.status_code == 409
    problem = answer.json()
    assert (problem["code"], problem["field"]) == ("conflict", "expected_seq")
    assert [(event["seq"], event["body"]["text"]) for event in problem["events"]] == [(3, "Never mind, I have it")]
    assert len((await desk.get(f"{path}/events")).json()["items"]) == 3
    assert (await desk.post(f"{path}/messages", json={"body": TEXT, "expected_seq": 3})).status_code == 201


async def test_status(desk: httpx.AsyncClient, path: str) -> None:
    for status in ("pending", "resolved", "open"):
        answer = await desk.post(f"{path}/status", json={"status": status})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    until = {"status": "snoozed", "snoozed_until": "2036-01-01T00:00:00+01:00"}
    assert (await desk.post(f"{path}/status", json=until)).json()["snoozed_until"] == "2035-12-31T23:00:00.000Z"
    for body, field in (
        ({}, "status"),
        ({"status": "closed"}, "status"),
        ({"status": "snoozed"}, "snoozed_until"),
        ({"status": "snoozed", "snoozed_until": "2020-01-01T00:00:00Z"}, "snoozed_until"),
        ({"status": "snoozed", "snoozed_until": "2036-01-01T00:00:00"}, "snoozed_until"),
        ({"status": "snoozed", "snoozed_until": "9999-12-31T23:59:59-10:00"}, "snoozed_until"),
        ({"status": "open", "snoozed_until": "2036-01-01T00:00:00Z"}, "snoozed_until"),
    ):
        wrong = await desk.post(f"{path}/status", json=body)
        assert (wrong.status_code, wrong.json()["field"]) == (400, field), body


async def test_assignment(desk: httpx.AsyncClient, path: str, kestrel: Tenant, other: Tenant) -> None:
    mine = await desk.post(f"{path}/assignment", json={"agent": "me"})
    assert mine.json()["assignee"] == {"id": str(kestrel.agent), "name": "Agent of Kestrel"}
    back = await desk.post(f"{path}/assignment", json={"agent": None})
    assert (back.status_code, "assignee" in back.json()) == (200, False)
    named = await desk.post(f"{path}/assignment", json={"agent": str(kestrel.agent)})
    assert named.json()["assignee"]["id"] == str(kestrel.agent)
    for stranger in (str(other.agent), str(uuid4()), "somebody"):
        answer = await desk.post(f"{path}/assignment", json={"agent": stranger})
        assert (answer.status_code, answer.json()["field"]) == (404, "agent")
    missing = await desk.post(f"{path}/assignment", json={})
    assert (missing.status_code, missing.json()["field"]) == (400, "agent")


async def test_tags(desk: httpx.AsyncClient, path: str) -> None:
    answer = await desk.post(f"{path}/tags", json={"tags": [" VIP ", "vip", "lost"]})
    assert answer.json()["tags"] == ["vip", "lost"]
    assert (await desk.post(f"{path}/tags", json={"tags": []})).json()["tags"] == []
    for tags in ([""], ["  "], ["x" * 51], [str(number) for number in range(51)], "vip", ["\x00"]):
        wrong = await desk.post(f"{path}/tags", json={"tags": tags})
        assert (wrong.status_code, wrong.json()["field"].partition("[")[0]) == (400, "tags"), tags


async def test_read(desk: httpx.AsyncClient, path: str) -> None:
    before = (await desk.get(path)).json()["conversation"]
    assert (before["agent_read_seq"], before["unread"]) == (0, 1)
    for seq, expected in ((2, 2), (1, 2), (10_000, 3)):
        answer = await desk.post(f"{path}/read", json={"seq": seq})
        assert (answer.status_code, answer.json()["agent_read_seq"], answer.json()["unread"]) == (200, expected, 0)
    for body in ({}, {"seq": -1}, {"seq": "2"}, {"seq": 2**53}):
        assert (await desk.post(f"{path}/read", json=body)).json()["field"] == "seq"


WRITES: dict[str, Any] = {
    "messages": {"body": TEXT},
    "notes": {"body": TEXT},
    "status": {"status": "resolved"},
    "assignment": {"agent": "me"},
    "tags": {"tags": ["a"]},
    "read": {"seq": 1},
}


@pytest.mark.parametrize("noun", WRITES)
async def test_only_its_own_agents_may(
    site: Site, other: Tenant, desk: httpx.AsyncClient, conversation: UUID, path: str, noun: str
) -> None:
    before = (await desk.get(path)).json()
    stranger = site.client(other.token)
    theirs = await stranger.post(f"{path}/{noun}", json=WRITES[noun])
    nobodys = await stranger.post(f"/admin/v1/conversations/{uuid4()}/{noun}", json=WRITES[noun])
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}
    assert (await desk.get(path)).json() == before
    unknown = await desk.post(f"{path}/{noun}", json=WRITES[noun] | {"colour": 1})
    assert (unknown.status_code, unknown.json()["field"]) == (400, "colour")

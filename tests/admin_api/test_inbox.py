"""`/admin/v1/conversations`, read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest

from server.gateway.translate import event_frame, summary_record, transaction_record
from server.storage.conversations import InboxQuery

if TYPE_CHECKING:
    import httpx

    from tests.admin_api.conftest import Site, Tenant

INBOX = "/admin/v1/conversations"
TEXT = {"kind": "text", "text": "Answer"}


def wire(record: Any) -> Any:
    """As the socket would send it, without the frame's tag."""
    return {name: value for name, value in msgspec.json.decode(msgspec.json.encode(record)).items() if name != "t"}


async def ids(client: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"{INBOX}{query}")
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_rest_and_socket_say_the_same(
    site: Site, kestrel: Tenant, server: httpx.AsyncClient, desk: httpx.AsyncClient
) -> None:
    ride = {
        "version": 1,
        "title": "A ride",
        "amount": {"value": "1.5", "currency": "EUR"},
        "occurred_at": "2026-03-01T08:00:00.1234Z",
        "attributes": {"a": [1, None]},
    }
    await server.put("/v1/users/blanca", json={"name": "Blanca"})
    await server.put("/v1/users/blanca/transactions/r1", json=ride)
    full = await site.open(kestrel, "blanca", topic="lost", ride="r1")
    path = f"{INBOX}/{full}"
    await desk.post(f"{path}/assignment", json={"agent": "me"})
    await desk.post(f"{path}/tags", json={"tags": ["a"]})
    await desk.post(f"{path}/messages", json={"body": TEXT})
    await desk.post(f"{path}/notes", json={"body": TEXT})
    await desk.post(f"{path}/status", json={"status": "snoozed", "snoozed_until": "2036-01-01T00:00:00Z"})
    await server.put("/v1/users/blanca/transactions/r1", json=ride | {"version": 2})
    await site.open(kestrel, "zoe")
    agent = await site.node.services.agents.by_token(kestrel.token)
    conversations = site.node.services.conversations
    listed = await conversations.list_inbox(agent, InboxQuery(apps=[kestrel.app]))
    answered = (await desk.get(INBOX)).json()["items"]
    assert len(answered) == 2
    assert answered == [wire(summary_record(each, desk=True)) for each in listed]
    for each in listed:
        one = each.conversation.conversation_id
        thread = await conversations.events(agent, one, 0, 200)
        assert (await desk.get(f"{INBOX}/{one}/events")).json()["items"] == [
            wire(event_frame(event, desk=True)) for event in thread
        ]
    known = await site.node.services.context.list_transactions(kestrel.app, "blanca", 10)
    assert (await desk.get(path)).json()["transactions"] == [wire(transaction_record(each)) for _, each in known]


async def test_detail_has_everything_around(
    site: Site, kestrel: Tenant, server: httpx.AsyncClient, desk: httpx.AsyncClient
) -> None:
    await server.put("/v1/users/blanca", json={"name": "Blanca", "properties": {"tier": "gold"}})
    for number in (1, 2, 3):
        ride = {"version": 1, "occurred_at": f"2026-03-0{number}T08:00:00Z"}
        await server.put(f"/v1/users/blanca/transactions/r{number}", json=ride)
    other = await site.open(kestrel, "blanca", "Earlier")
    mine = await site.open(kestrel, "blanca", ride="r2")
    answer = await desk.get(f"{INBOX}/{mine}")
    assert answer.status_code == 200, answer.text
    detail = answer.json()
    assert detail.keys() == {"conversation", "user", "context", "transactions", "others"}
    assert detail["conversation"]["id"] == str(mine)
    assert detail["user"]["properties"] == {"tier": "gold"}
    assert detail["context"]["transaction"]["id"] == "r2"
    assert [each["id"] for each in detail["context"]["recent"]] == ["r3", "r2", "r1"]
    assert [each["id"] for each in detail["transactions"]] == ["r3", "r2", "r1"]
    assert [each["id"] for each in detail["others"]] == [str(other)]


async def test_filters(site: Site, kestrel: Tenant, server: httpx.AsyncClient, desk: httpx.AsyncClient) -> None:
    await server.put("/v1/users/blanca", json={"name": "Blanca Box"})
    one = str(await site.open(kestrel, "blanca", "My umbrella", topic="lost"))
    two = str(await site.open(kestrel, "zoe", "Refund please", topic="money"))
    await desk.post(f"{INBOX}/{one}/assignment", json={"agent": "me"})
    await desk.post(f"{INBOX}/{one}/tags", json={"tags": ["Vip"]})
    await desk.post(f"{INBOX}/{two}/status", json={"status": "resolved"})
    for query, expected in {
        "": [two, one],
        f"?app={kestrel.app}": [two, one],
        "?sort=updated": [two, one],
        "?status=open": [one],
        "?status=resolved": [two],
        "?assignee=me": [one],
        f"?assignee={kestrel.agent}": [one],
        "?assignee=none": [two],
        f"?assignee={uuid4()}": [],
        "?topic=money": [two],
        "?tag=VIP": [one],
        "?q=umbrella": [one],
        "?q=BLANCA": [one],
        "?q=100%25": [],
        "?status=open&assignee=none": [],
    }.items():
        assert await ids(desk, query) == expected, query
    await site.write(kestrel, "blanca", UUID(one), "Hello?")
    assert await ids(desk, "?sort=updated") == [one, two]
    assert await ids(desk, "?sort=opened") == [two, one]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("app=1", 400, "app"),
        ("status=closed", 400, "status"),
        ("status=", 400, "status"),
        ("assignee=you", 400, "assignee"),
        ("q=", 400, "q"),
        ("q=%00", 400, "q"),
        ("q=%ff", 400, None),
        ("stauts=open", 400, "stauts"),
        ("sort=name", 400, "sort"),
        ("limit=500", 400, "limit"),
        ("cursor=abc", 400, "cursor"),
        ("status=open&status=open", 400, "status"),
        ("&".join(f"a{number}=1" for number in range(60)), 400, None),
        ("app=00000000-0000-4000-8000-00000000000a", 404, "app"),
    ],
)
async def test_wrong_queries_are_named(desk: httpx.AsyncClient, query: str, status: int, field: str | None) -> None:
    answer = await desk.get(f"{INBOX}?{query}")
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text


async def test_pages_show_each_exactly_once_while_rows_change(
    site: Site, kestrel: Tenant, desk: httpx.AsyncClient
) -> None:
    made = [await site.open(kestrel, f"user{number}") for number in range(7)]
    seen: list[str] = []
    cursor = None
    for step in range(10):
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await desk.get(INBOX, params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await site.open(kestrel, f"late{step}")
        await site.write(kestrel, "user0", made[0], f"again {step}")
        await site.write(kestrel, "user6", made[6], f"again {step}")
    assert seen == [str(each) for each in reversed(made)]


async def test_pages_by_update(site: Site, kestrel: Tenant, desk: httpx.AsyncClient) -> None:
    made = [str(await site.open(kestrel, f"user{number}")) for number in range(3)]
    first = (await desk.get(f"{INBOX}?sort=updated&limit=2")).json()
    rest = (await desk.get(f"{INBOX}?sort=updated&limit=2&cursor={first['next_cursor']}")).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
    swapped = await desk.get(f"{INBOX}?cursor={first['next_cursor']}")
    assert (swapped.status_code, swapped.json()["field"]) == (400, "cursor")


async def test_the_thread_in_pages(site: Site, kestrel: Tenant, desk: httpx.AsyncClient) -> None:
    conversation = await site.open(kestrel, "blanca")
    for number in range(4):
        await site.write(kestrel, "blanca", conversation, f"line {number}")
    path = f"{INBOX}/{conversation}/events"
    first = (await desk.get(f"{path}?limit=2&after=1")).json()
    assert [event["seq"] for event in first["items"]] == [2, 3]
    second = (await desk.get(f"{path}?limit=10&cursor={first['next_cursor']}")).json()
    assert ([event["seq"] for event in second["items"]], second["next_cursor"]) == ([4, 5, 6], None)
    both = await desk.get(f"{path}?after=1&cursor={first['next_cursor']}")
    assert (both.status_code, both.json()["field"]) == (400, "cursor")
    for query, field in (
        ("after=-1", "after"),
        ("after=x", "after"),
        (f"after={2**60}", "after"),
        ("before=1", "before"),
    ):
        answer = await desk.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_what_is_not_ours_does_not_exist(site: Site, kestrel: Tenant, other: Tenant) -> None:
    conversation = await site.open(kestrel, "blanca")
    stranger = site.client(other.token)
    for suffix in ("", "/events", "/deliveries"):
        theirs = await stranger.get(f"{INBOX}/{conversation}{suffix}")
        nobodys = await stranger.get(f"{INBOX}/{uuid4()}{suffix}")
        no_id = await stranger.get(f"{INBOX}/abc{suffix}")
        answers = [answer.json() | {"request_id": ""} for answer in (theirs, nobodys, no_id)]
        assert answers[0] == answers[1] == answers[2]
        assert answers[0]["status"] == 404
    assert await ids(stranger) == []
    assert (await stranger.get(f"{INBOX}?app={kestrel.app}")).status_code == 404
    assert (await stranger.get(f"/admin/v1/agents?app={kestrel.app}")).status_code == 404


async def test_members_of_an_app(desk: httpx.AsyncClient, kestrel: Tenant) -> None:
    answer = await desk.get(f"/admin/v1/agents?app={kestrel.app}")
    member = {"id": str(kestrel.agent), "name": "Agent of Kestrel", "role": "agent"}
    assert answer.json() == {"items": [member], "next_cursor": None}
    missing = await desk.get("/admin/v1/agents")
    assert (missing.status_code, missing.json()["field"]) == (400, "app")


async def test_pushes_are_told(site: Site, kestrel: Tenant, desk: httpx.AsyncClient) -> None:
    conversation = await site.open(kestrel, "blanca")
    place = await site.place(kestrel, "blanca", conversation)
    assert (await desk.get(f"{INBOX}/{conversation}/deliveries")).json() == {"items": [], "next_cursor": None}
    states = {"queued": (5, 0, False, None), "accepted": (5, 5, False, "accepted"), "not_needed": (5, 5, False, "read")}
    states["rejected"] = (5, 0, True, "rejected: bad payload")
    for want, sent, dead, outcome in states.values():
        await site.node.database.pool.execute(
            "insert into push_state (app_id, user_id, device_id, conversation_id, epoch, want_seq, sent_seq, wanted_at,"
            " due_at, dead, outcome, outcome_at)"
            " values ($1, $2, gen_random_uuid(), $3, 1, $4, $5, now(), now(), $6, $7, now())",
            place.app_id,
            place.user_id,
            conversation,
            want,
            sent,
            dead,
            outcome,
        )
    items = (await desk.get(f"{INBOX}/{conversation}/deliveries")).json()["items"]
    assert {item["state"]: item["outcome"] for item in items} == {name: state[3] for name, state in states.items()}

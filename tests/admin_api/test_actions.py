"""`/v1/actions` and `/admin/v1`, actions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest

from server.domain.agents import Agent, Role
from server.domain.ids import AGENT_TOKEN_PREFIX, new_id, new_secret, secret_hash
from server.outgoing.interface import Answered, Unreachable
from server.storage import agents
from tests.support.outgoing import ScriptedOutgoing

if TYPE_CHECKING:
    import httpx

    from tests.admin_api.conftest import Site, Tenant

WISH: dict[str, Any] = {
    "name": "refund",
    "title": "Refund",
    "url": "https://api.kestrel.example/refund",
    "kinds": ["ride"],
    "parameters": {
        "type": "object",
        "properties": {"amount": {"type": "string"}},
        "required": ["amount"],
        "additionalProperties": False,
    },
}
RIDE: dict[str, Any] = {
    "version": 3,
    "kind": "ride",
    "status": "completed",
    "amount": {"value": "12.50", "currency": "EUR"},
}
PRESS: dict[str, Any] = {"action": "refund", "transaction": "ride-17", "parameters": {"amount": "5.00"}}
NOBODY = "0198c5b0-44dd-7f00-8c11-5a6b7c8d9e04"


@pytest.fixture
def outgoing(site: Site, monkeypatch: pytest.MonkeyPatch) -> ScriptedOutgoing:
    """Stands where real calls would be made."""
    scripted = ScriptedOutgoing()
    monkeypatch.setattr(site.node.action_worker._calls, "_outgoing", scripted)
    return scripted


async def made(server: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await server.post("/v1/actions", json=WISH | more)
    assert answer.status_code == 201, answer.text
    definition: dict[str, Any] = answer.json()
    return definition


async def opened(site: Site, tenant: Tenant, server: httpx.AsyncClient) -> str:
    """A conversation about ride-17, and where its actions are."""
    await server.put("/v1/users/blanca/transactions/ride-17", json=RIDE)
    conversation = await site.open(tenant, "blanca", ride="ride-17")
    return f"/admin/v1/conversations/{conversation}/actions"


async def colleague(site: Site, tenant: Tenant, role: Role = Role.AGENT) -> httpx.AsyncClient:
    now, token = site.node.clock.now(), new_secret(AGENT_TOKEN_PREFIX)
    agent = Agent(agent_id=new_id(now), email=f"{uuid4().hex[:12]}@example.org", name="Sam")
    async with site.node.database.transaction() as session:
        await agents.upsert(session, agent, None, now)
        await agents.put_membership(session, tenant.app, agent.agent_id, role, now)
        await agents.insert_token(session, secret_hash(token), agent.agent_id, "token", now, None)
    return site.client(token)


async def work(site: Site) -> None:
    calls = site.node.action_worker._calls
    while found := await calls.claim(50):
        for claimed in found:
            await calls.ask(claimed)


async def test_make_read_change_and_remove(server: httpx.AsyncClient, desk: httpx.AsyncClient, kestrel: Tenant) -> None:
    definition = await made(server)
    secret = definition.pop("secret")
    assert secret.startswith("whsec_")
    assert definition | WISH == definition
    defaults = ("amount_limit", "over_limit", "approval", "allow_parallel", "enabled")
    assert [definition[name] for name in defaults] == [None, "refuse", "none", False, True]
    path = f"/v1/actions/{definition['id']}"
    assert (await server.get(path)).json() == definition
    assert (await server.get("/v1/actions")).json() == {"items": [definition], "next_cursor": None}
    offered = (await desk.get(f"/admin/v1/action-definitions?app={kestrel.app}")).json()["items"]
    assert offered == [
        {name: definition[name] for name in definition if name not in ("url", "created_at", "updated_at")}
    ]

    limit = {"value": "20.00", "currency": "EUR"}
    changed = (await server.patch(path, json={"amount_limit": limit, "kinds": []})).json()
    assert (changed["amount_limit"], changed["kinds"], changed["title"]) == (limit, [], "Refund")
    assert (await server.patch(path, json={"amount_limit": None})).json()["amount_limit"] is None
    rotated = (await server.post(f"{path}:rotate-secret")).json()["secret"]
    assert rotated.startswith("whsec_")
    assert rotated != secret

    assert (await server.post("/v1/actions", json=WISH)).json()["code"] == "conflict"
    assert (await server.delete(path)).status_code == 204
    for answer in (await server.get(path), await server.delete(path), await server.patch(path, json={})):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    again = await made(server)
    assert again["id"] != definition["id"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "Refund it"}, "name"),
        ({"name": ""}, "name"),
        ({"title": " "}, "title"),
        ({"url": "http://api.kestrel.example/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"kinds": [""]}, "kinds[0]"),
        ({"parameters": {"type": "object", "$ref": "#"}}, "parameters.$ref"),
        ({"amount_limit": {"value": 5, "currency": "EUR"}}, "amount_limit.value"),
        ({"amount_limit": {"value": "-5", "currency": "EUR"}}, "amount_limit.value"),
        ({"over_limit": "ignore"}, "over_limit"),
        ({"approval": "all"}, "approval"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_wrong_definitions_name_the_field(server: httpx.AsyncClient, wrong: dict[str, Any], field: str) -> None:
    answer = await server.post("/v1/actions", json=WISH | wrong)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_a_key_makes_one_definition(server: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await server.post("/v1/actions", json=WISH, headers=key)
    again = await server.post("/v1/actions", json=WISH, headers=key)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await server.post("/v1/actions", json=WISH | {"title": "Other"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_press_and_see_what_became_of_it(
    site: Site, server: httpx.AsyncClient, desk: httpx.AsyncClient, kestrel: Tenant, outgoing: ScriptedOutgoing
) -> None:
    await made(server)
    path = await opened(site, kestrel, server)
    headers = {"Idempotency-Key": "press-1"}
    answers = await asyncio.gather(*[desk.post(path, json=PRESS | {"version": 3}, headers=headers) for _ in range(3)])
    assert [answer.status_code for answer in answers] == [201] * 3
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 2
    action = answers[0].json()
    assert (action["state"], action["parameters"], action["transaction"]["version"]) == (
        "pending",
        {"amount": "5.00"},
        3,
    )
    assert action["requested_by"] == {"id": str(kestrel.agent), "name": "Agent of Kestrel"}

    outgoing.answers = [
        Unreachable(reason="no answer within 30 s", sent=True),
        Answered(status=200, body=msgspec.json.encode({"state": "done", "message": "You get €5 back."})),
    ]
    await work(site)
    one = f"/admin/v1/actions/{action['id']}"
    lost = (await desk.get(one)).json()
    assert (lost["state"], lost["error"]) == ("unknown", "no answer within 30 s")
    assert lost["next_attempt_at"] is not None
    listed = (await desk.get(f"/admin/v1/actions?app={kestrel.app}&state=unknown")).json()
    assert [each["id"] for each in listed["items"]] == [action["id"]]
    assert (await desk.post(f"{one}:retry")).status_code == 200
    await work(site)
    done = (await desk.get(one)).json()
    assert (done["state"], done["message"], done["error"]) == ("done", "You get €5 back.", None)
    assert (await desk.get(path)).json()["items"] == [done]
    refused = await desk.post(f"{one}:retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    thread = (await desk.get(path.replace("/actions", "/events"))).json()["items"]
    states = [event["body"]["action"]["state"] for event in thread if event["kind"] == "action.updated"]
    assert states == ["pending", "unknown", "done"]
    export = (await server.get("/v1/users/blanca/export")).json()["events"]
    assert [event["body"]["action"]["state"] for event in export if event["kind"] == "action.updated"] == [
        "pending",
        "done",
    ]


async def test_four_eyes(site: Site, server: httpx.AsyncClient, desk: httpx.AsyncClient, kestrel: Tenant) -> None:
    await made(server, amount_limit={"value": "10", "currency": "EUR"}, over_limit="approve", approval="second_agent")
    path = await opened(site, kestrel, server)
    sam, chief = await colleague(site, kestrel), await colleague(site, kestrel, Role.SUPERVISOR)
    small = (await desk.post(path, json=PRESS)).json()
    assert (small["state"], small["approver"]) == ("awaiting_approval", "agent")
    own = await desk.post(f"/admin/v1/actions/{small['id']}:approve")
    assert (own.status_code, own.json()["code"]) == (403, "forbidden")
    second = await sam.post(path, json=PRESS)
    assert (second.status_code, small["id"] in second.json()["detail"]) == (409, True)
    await server.put("/v1/users/blanca/transactions/ride-17", json=RIDE | {"version": 4})
    changed = await sam.post(f"/admin/v1/actions/{small['id']}:approve")
    assert (changed.status_code, changed.json()["field"]) == (409, "version")
    approved = await sam.post(f"/admin/v1/actions/{small['id']}:approve", json={"version": 4})
    assert approved.status_code == 200
    assert (approved.json()["state"], approved.json()["decided_by"]["name"]) == ("pending", "Sam")
    late = await chief.post(f"/admin/v1/actions/{small['id']}:reject")
    assert (late.status_code, late.json()["code"]) == (409, "conflict")

    definition = (await server.get("/v1/actions")).json()["items"][0]
    await server.patch(f"/v1/actions/{definition['id']}", json={"allow_parallel": True})
    large = (await desk.post(path, json=PRESS | {"parameters": {"amount": "10.01"}})).json()
    assert large["approver"] == "supervisor"
    assert (await sam.post(f"/admin/v1/actions/{large['id']}:approve")).status_code == 403
    assert (await chief.post(f"/admin/v1/actions/{large['id']}:reject")).json()["state"] == "rejected"


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"action": "unheard-of"}, 404, "action"),
        ({"action": "No Name"}, 400, "action"),
        ({"transaction": "ride-99"}, 404, "transaction"),
        ({"transaction": None}, 400, "transaction"),
        ({"version": 2}, 409, "version"),
        ({"parameters": {"amount": 5}}, 400, "parameters.amount"),
        ({"parameters": {}}, 400, "parameters"),
        ({"parameters": [5]}, 400, "parameters"),
        ({"amount": "5"}, 400, "amount"),
    ],
)
async def test_wrong_presses_name_the_field(
    site: Site,
    server: httpx.AsyncClient,
    desk: httpx.AsyncClient,
    kestrel: Tenant,
    wrong: dict[str, Any],
    status: int,
    field: str,
) -> None:
    await made(server)
    path = await opened(site, kestrel, server)
    answer = await desk.post(path, json=PRESS | wrong)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    assert (await desk.get(path)).json()["items"] == []


async def test_another_tenant_sees_nothing(
    site: Site, server: httpx.AsyncClient, desk: httpx.AsyncClient, kestrel: Tenant, other: Tenant
) -> None:
    definition = await made(server, approval="second_agent")
    path = await opened(site, kestrel, server)
    action = (await desk.post(path, json=PRESS)).json()
    theirs, their_server = site.client(other.token), site.client(other.server_key)
    one = f"/admin/v1/actions/{action['id']}"
    for asked in (
        theirs.get(one),
        theirs.post(f"{one}:approve"),
        theirs.post(f"{one}:reject"),
        theirs.post(f"{one}:retry"),
        theirs.get(path),
        theirs.post(path, json=PRESS),
        theirs.get(f"/admin/v1/actions?app={kestrel.app}"),
        theirs.get(f"/admin/v1/action-definitions?app={kestrel.app}"),
        their_server.get(f"/v1/actions/{definition['id']}"),
        their_server.patch(f"/v1/actions/{definition['id']}", json={"enabled": False}),
        their_server.post(f"/v1/actions/{definition['id']}:rotate-secret"),
        their_server.delete(f"/v1/actions/{definition['id']}"),
    ):
        answer = await asked
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await theirs.get("/admin/v1/actions")).json()["items"] == []
    assert (await their_server.get("/v1/actions")).json()["items"] == []
    assert (await desk.get(one)).json() == action
    assert (await desk.get(f"/admin/v1/actions/{NOBODY}")).status_code == 404


async def test_pressing_has_a_rate(site: Site, server: httpx.AsyncClient, desk: httpx.AsyncClient) -> None:
    answers = [await desk.post(f"/admin/v1/actions/{UUID(NOBODY)}:retry") for _ in range(61)]
    assert {answer.status_code for answer in answers[:60]} == {404}
    assert answers[60].status_code == 429
    assert int(answers[60].headers["Retry-After"]) >= 1

"""Two apps on one server: every route and every frame with keys, tokens and ids of the other one.

What exists elsewhere must look exactly like what does not exist, nothing may change on the other side, and no string
that belongs to it may ever be told.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.end_to_end.device import Device
from tests.end_to_end.rawsocket import (
    CODECS,
    JSON,
    Closed,
    Codec,
    Frame,
    RawSocket,
    Rest,
    desk_hello,
    fresh_id,
    hello,
    sign,
)
from tests.end_to_end.tenancy import Ids, RunningServer, Tenant, create_tenants, nobody, settle, the_story_of
from tests.end_to_end.tenant_frames import (
    CHAT_TRIALS,
    CHAT_WITHOUT_IDS,
    DESK_TRIALS,
    DESK_WITHOUT_IDS,
    FrameTrial,
    client_frames,
)
from tests.end_to_end.tenant_routes import MATRIX, ROUTES, Door, Route, Space, route_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

REFUSED = (401, 403, 404)
# What differs from request to request whatever was asked: numbers, fresh ids, times.
VOLATILE = {"ref", "at", "instance", "request_id", "id", "token", "expires_at", "created_at", "updated_at", "frozen_at"}
VOLATILE |= {"usn", "seq", "conversation"}


@dataclass
class TwoApps:
    """``mine`` is who asks, ``theirs`` who must not be seen, ``neighbour`` another customer of the asking app."""

    mine: Tenant
    mine_ids: Ids
    theirs: Tenant
    theirs_ids: Ids
    neighbour_ids: Ids
    told: list[tuple[str, str]] = field(default_factory=list)

    def heard(self, asked: Any, answer: str) -> None:
        self.told.append((asked if isinstance(asked, str) else json.dumps(asked), answer))

    def leaks(self) -> list[str]:
        """Answers that tell a secret of the other app which the question did not already contain."""
        return [
            f"{secret!r} in the answer to {asked[:200]}: {answer[:300]}"
            for asked, answer in self.told
            for secret in sorted(self.theirs.secrets)
            if secret in answer and secret not in asked
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apps(demo_server: RunningServer) -> TwoApps:
    mine, theirs = await create_tenants(demo_server, "Mine", "Theirs")
    mine_ids = await settle(mine)
    neighbour_ids = await settle(mine)
    return TwoApps(mine, mine_ids, theirs, await settle(theirs), neighbour_ids)


@pytest.fixture(autouse=True)
async def nothing_crosses(apps: TwoApps) -> AsyncIterator[None]:
    """Around every test here: the other side reads the same story before and after, and no answer told its secrets."""
    before = await the_story_of(apps.theirs, apps.theirs_ids)
    yield
    await RawSocket.drop_all()
    leaks = apps.leaks()
    apps.told.clear()
    assert leaks == []
    assert await the_story_of(apps.theirs, apps.theirs_ids) == before


async def ask(apps: TwoApps, token: str | None, route: Route, ids: Ids, **headers: str) -> httpx.Response:
    door = Rest(apps.mine.url, token)
    body = None if route.body is None else route.body(ids)
    answer = await door(route.method, route.path(ids), body, **headers)
    headers_text = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    apps.heard(f"{route.key} {route.path(ids)} {json.dumps(body)}", f"{headers_text}\n{answer.text}")
    return answer


def own_credential(tenant: Tenant, door: Door) -> str | None:
    return {Door.APP_SERVER: tenant.server_key, Door.DESK: tenant.agent["token"]}.get(door)


def shape(value: Any, ids: Ids) -> Any:
    """An answer without what differs from request to request: the ids asked for, fresh ids and times."""
    if isinstance(value, dict):
        return {key: shape(item, ids) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [shape(item, ids) for item in value]
    if isinstance(value, str):
        for name in ids.values():
            value = value.replace(name, "<id>")
    return value


def told_shape(answer: httpx.Response, ids: Ids) -> tuple[int, str, Any]:
    kind = answer.headers.get("content-type", "")
    return answer.status_code, kind, shape(answer.json() if answer.content else None, ids)


async def test_the_matrix_knows_every_route(apps: TwoApps) -> None:
    door = Rest(apps.mine.url)
    document = (await door("GET", "/openapi.json")).json()
    published = {
        route_key(method, path)
        for path, operations in document["paths"].items()
        for method in operations
        if method in ("get", "put", "post", "delete", "patch", "head", "options")
    }
    assert published - MATRIX.keys() == set(), "routes without a tenant trial: add them to tenant_routes.py"
    assert MATRIX.keys() - published == set(), "routes of the contract that /openapi.json does not list"


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/desk"])
async def test_the_matrix_knows_every_frame(apps: TwoApps, path: str) -> None:
    door = Rest(apps.mine.url)
    published = client_frames((await door("GET", "/asyncapi.json")).json(), path)
    trials, without = (CHAT_TRIALS, CHAT_WITHOUT_IDS) if path == "/v1/chat" else (DESK_TRIALS, DESK_WITHOUT_IDS)
    assert published == {trial.t for trial in trials} | without


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.door in (Door.APP_SERVER, Door.DESK)], ids=lambda r: r.key
)
async def test_a_wrong_credential_opens_no_door(apps: TwoApps, route: Route) -> None:
    user = apps.mine.user_token(apps.mine_ids.user)
    other_door = Door.DESK if route.door is Door.APP_SERVER else Door.APP_SERVER
    wrong = {
        "none": None,
        "nonsense": "nonsense",
        "a key nobody has": "dbs_" + "0" * 40,
        "a token nobody has": "dba_" + "0" * 40,
        "a customer's token": user,
        "the other door's key": own_credential(apps.mine, other_door),
        "their other door's key": own_credential(apps.theirs, other_door),
    }
    for name, token in wrong.items():
        for ids in (apps.mine_ids, apps.theirs_ids):
            answer = await ask(apps, token, route, ids)
            assert answer.status_code in (401, 403), f"{name}: {answer.status_code} {answer.text[:200]}"
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.json()["code"] in ("unauthorized", "forbidden")


@pytest.mark.parametrize("route", [route for route in ROUTES if route.space is Space.SHARED], ids=lambda r: r.key)
async def test_what_exists_elsewhere_looks_like_nothing(apps: TwoApps, route: Route) -> None:
    token = own_credential(apps.mine, route.door)
    stranger = nobody(apps.theirs_ids)
    theirs = await ask(apps, token, route, apps.theirs_ids)
    nobodys = await ask(apps, token, route, stranger)
    nothing = theirs.status_code == 200 and theirs.json().get("items") == []
    assert nothing or theirs.status_code in REFUSED, theirs.text[:300]
    assert told_shape(theirs, apps.theirs_ids) == told_shape(nobodys, stranger)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.space is Space.OWN], ids=lambda r: r.key)
async def test_the_same_name_in_another_app_is_another_thing(apps: TwoApps, route: Route) -> None:
    stranger = nobody(apps.theirs_ids)
    theirs = await ask(apps, apps.mine.server_key, route, apps.theirs_ids)
    nobodys = await ask(apps, apps.mine.server_key, route, stranger)
    erased = await ask(apps, apps.mine.server_key, MATRIX["DELETE /v1/users/{}"], apps.theirs_ids)
    assert erased.status_code < 300 or erased.status_code == 404, erased.text[:300]
    assert theirs.status_code < 300 or theirs.status_code == 404, theirs.text[:300]
    assert told_shape(theirs, apps.theirs_ids) == told_shape(nobodys, stranger)


async def test_ids_of_others_inside_a_request(apps: TwoApps) -> None:
    """Their agent as assignee, their ids as filter and cursor, inside requests that are otherwise the caller's own."""
    assignment = MATRIX["POST /admin/v1/conversations/{}/assignment"]
    stranger = nobody(apps.theirs_ids)
    token = apps.mine.agent["token"]
    theirs = await ask(apps, token, assignment, replace(apps.mine_ids, agent=apps.theirs_ids.agent))
    nobodys = await ask(apps, token, assignment, replace(apps.mine_ids, agent=stranger.agent))
    assert 400 <= theirs.status_code < 500
    assert told_shape(theirs, apps.theirs_ids) == told_shape(nobodys, stranger)

    door, their_door = Rest(apps.mine.url, token), Rest(apps.mine.url, apps.theirs.agent["token"])
    for agent in (apps.theirs_ids.agent, stranger.agent):
        path = f"/admin/v1/conversations?app={apps.mine.app}&status=open&assignee={agent}"
        answer = await door("GET", path)
        apps.heard(path, answer.text)
        assert answer.status_code in (*REFUSED, 400) or answer.json()["items"] == []
    await settle(apps.theirs)
    page = (await their_door("GET", f"/admin/v1/conversations?app={apps.theirs.app}&status=open&limit=1")).json()
    assert page["next_cursor"], "two conversations and a limit of one leave a cursor"
    path = f"/admin/v1/conversations?app={apps.mine.app}&status=open&cursor={page['next_cursor']}"
    answer = await door("GET", path)
    apps.heard(path, answer.text)
    assert answer.status_code in (200, 400)
    path = f"/v1/users/{apps.mine_ids.user}/messages"
    sneaked = await Rest(apps.mine.url, apps.mine.server_key)(
        "POST",
        path,
        {"conversation": apps.theirs_ids.conversation, "body": {"kind": "text", "text": "into their thread"}},
    )
    apps.heard(f"{path} {apps.theirs_ids.conversation}", sneaked.text)
    assert (sneaked.status_code, sneaked.json()["code"]) == (404, "not_found")
    path = f"/admin/v1/conversations/{apps.mine_ids.conversation}/messages"
    mine = await door("POST", path, {"id": apps.theirs_ids.message, "body": {"kind": "text", "text": "a reused id"}})
    apps.heard(f"{path} {apps.theirs_ids.message}", mine.text)
    assert mine.status_code == 201, "a message id is unique per sender: another app's does not clash"
    listed = await door("GET", "/admin/v1/conversations")
    apps.heard("/admin/v1/conversations", listed.text)
    assert {item["id"] for item in listed.json()["items"]} <= {
        apps.mine_ids.conversation,
        apps.neighbour_ids.conversation,
    }


async def test_public_pages_tell_nothing(apps: TwoApps) -> None:
    for route in (route for route in ROUTES if route.door is Door.PUBLIC):
        assert (await ask(apps, None, route, apps.mine_ids)).status_code == 200


async def answers_to(apps: TwoApps, socket: RawSocket, trial: FrameTrial, ids: Ids) -> list[Any]:
    """Send one frame; everything that came back by the time a ping after it is answered, ids and times taken out."""
    start, frame = len(socket.received), trial.build(ids)
    if trial.answered:
        await socket.call(frame)
    else:
        await socket.send(frame)
        with suppress(TimeoutError):
            await socket.wait_for(lambda frame: frame["t"] == "error", "an error", within=1, start=start)
    await socket.ping()
    came = [frame for frame in socket.received[start:] if frame["t"] != "pong"]
    apps.heard(frame, json.dumps(came))
    # Presence and queue signals come on their own time; they are no answer to anything.
    return [shape(frame, ids) for frame in came if frame.get("kind") not in ("presence", "queue")]


def complaint(trial: FrameTrial, foreign: list[Any], missing: list[Any]) -> str | None:
    """What is wrong with the two answers, or None."""
    if foreign != missing:
        return f"{trial.t}: exists elsewhere {foreign}, exists nowhere {missing}"
    if (
        trial.codes
        and trial.answered
        and [answer.get("code") for answer in foreign] not in [[code] for code in trial.codes]
    ):
        return f"{trial.t}: one error of {trial.codes} is due, came {foreign}"
    if not trial.answered and any(answer["t"] != "error" for answer in foreign):
        return f"{trial.t}: nothing or an error is due, came {foreign}"
    return None


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.subprotocol)
async def test_frames_of_a_customer(apps: TwoApps, codec: Codec) -> None:
    """Ids of the other app and ids of another customer of the same app, on the customers' socket."""
    victims = [Device(apps.mine.url, apps.theirs.user_token(apps.theirs_ids.user))]
    victims.append(Device(apps.mine.url, apps.mine.user_token(apps.neighbour_ids.user)))
    for victim in victims:
        await victim.connect()
    silence = [len(victim.socket.received) for victim in victims]
    socket, _ = await hello(apps.mine.url, apps.mine.user_token(apps.mine_ids.user), codec=codec)
    complaints = []
    for trial in CHAT_TRIALS:
        for foreign in (apps.theirs_ids, apps.neighbour_ids):
            stranger = nobody(foreign)
            first = await answers_to(apps, socket, trial, foreign)
            second = await answers_to(apps, socket, trial, stranger)
            complaints.append(complaint(trial, first, second))
    for foreign in (apps.theirs_ids, apps.neighbour_ids):
        taken = await socket.call({"t": "open", "conversation": foreign.conversation})
        complaints.append(None if taken.get("code") == "not_found" else f"open of somebody else's: {taken}")
    reused: Frame = {"t": "send", "conversation": apps.mine_ids.conversation, "id": fresh_id()}
    reused |= {"body": {"kind": "text", "text": "hm"}, "after": apps.theirs_ids.message}
    chained = await socket.call(reused)
    complaints.append(None if chained.get("code") == "out_of_order" else f"after another app's message: {chained}")
    await socket.close()
    assert [line for line in complaints if line] == []
    for victim, start in zip(victims, silence, strict=True):
        await victim.socket.ping()
        assert [frame for frame in victim.socket.received[start:] if frame["t"] not in ("pong", "signal")] == []
        assert [frame for frame in victim.socket.received[start:] if frame.get("kind") == "typing"] == []
        await victim.close()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.subprotocol)
async def test_frames_of_an_agent(apps: TwoApps, codec: Codec) -> None:
    their_desk, _ = await desk_hello(apps.mine.url, apps.theirs.agent["token"])
    await their_desk.call({"t": "watch", "conversation": apps.theirs_ids.conversation, "seq": 0})
    await their_desk.call({"t": "watch_inbox", "app": apps.theirs.app, "filter": {}})
    await their_desk.ping()
    silence = len(their_desk.received)
    socket, welcome = await desk_hello(apps.mine.url, apps.mine.agent["token"], codec=codec)
    apps.heard("desk hello", json.dumps(welcome))
    complaints = []
    for trial in DESK_TRIALS:
        stranger = nobody(apps.theirs_ids)
        first = await answers_to(apps, socket, trial, apps.theirs_ids)
        second = await answers_to(apps, socket, trial, stranger)
        complaints.append(complaint(trial, first, second))
    assigning = [
        await socket.call({"t": "assign", "conversation": apps.mine_ids.conversation, "agent": agent})
        for agent in (apps.theirs_ids.agent, nobody(apps.theirs_ids).agent)
    ]
    assert assigning[0]["t"] == assigning[1]["t"] == "error"
    assert assigning[0]["code"] == assigning[1]["code"]
    await socket.close()
    assert [line for line in complaints if line] == []
    await their_desk.ping()
    assert [frame for frame in their_desk.received[silence:] if frame["t"] not in ("pong", "signal")] == []
    await their_desk.close()


def crossed_tokens(apps: TwoApps) -> dict[str, str]:
    """User tokens that must not open the asking app's door, nor tell whose they almost were."""
    mine, theirs, user = apps.mine, apps.theirs, apps.theirs_ids.user
    return {
        "their key, my app": sign(theirs.identity, mine.app, user),
        "my key, their app": sign(mine.identity, theirs.app, user),
        "my secret under their kid, their app": sign(mine.identity | {"kid": theirs.identity["kid"]}, theirs.app, user),
        "an unknown kid, their app": sign(mine.identity | {"kid": "nobody"}, theirs.app, user),
        "my key, an app nobody has": sign(mine.identity, nobody(apps.theirs_ids).app, user),
        "no secret at all": sign(theirs.identity | {"secret": ""}, theirs.app, user),
        "an agent's token": theirs.agent["token"],
        "a server key": theirs.server_key,
        "nonsense": "nonsense",
    }


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.subprotocol)
async def test_crossed_tokens_of_customers(apps: TwoApps, codec: Codec) -> None:
    answers: dict[str, Any] = {}
    mine, _ = await hello(apps.mine.url, apps.mine.user_token(apps.mine_ids.user), codec=codec)
    for name, token in crossed_tokens(apps).items():
        socket = await RawSocket.open(apps.mine.url, "/v1/chat", codec)
        device = {"id": fresh_id(), "platform": "other"}
        await socket.send({"t": "hello", "token": token, "device": device, "foreground": True})
        error = await socket.wait_for(lambda _: True, "an error")
        apps.heard(name, json.dumps(error))
        code = await socket.wait_closed()
        assert (error["t"], error["code"], code) == ("error", "unauthorized", 4401), name
        assert len(socket.received) == 1, name
        refreshed = await mine.call({"t": "refresh", "token": token})
        apps.heard(name, json.dumps(refreshed))
        assert (refreshed["t"], refreshed["code"]) == ("error", "unauthorized"), name
        answers[name] = error
    await mine.ping()
    await mine.close()
    near_misses = [answers[name]["message"] for name in ("my key, their app", "my key, an app nobody has")]
    assert near_misses[0].replace(apps.theirs.app, "") == near_misses[1].replace(apps.theirs.app, ""), (
        "whether an app exists must not be told"
    )


async def test_crossed_tokens_of_agents(apps: TwoApps) -> None:
    tokens = {
        "a customer's": apps.mine.user_token(apps.mine_ids.user),
        "a server key": apps.mine.server_key,
        "nonsense": "nonsense",
        "nobody's": "dba_" + "0" * 40,
    }
    answers = []
    for token in tokens.values():
        with pytest.raises((AssertionError, Closed)):
            await desk_hello(apps.mine.url, token)
        socket = await RawSocket.open(apps.mine.url, "/v1/desk", JSON)
        await socket.send({"t": "hello", "token": token})
        answers.append((await socket.wait_for(lambda _: True, "an error"), await socket.wait_closed()))
    assert {(frame["t"], frame.get("code"), code) for frame, code in answers} == {("error", "unauthorized", 4401)}


async def test_a_device_id_of_another_app_takes_nothing_over(apps: TwoApps) -> None:
    """A device belongs to the app that saw it: saying hello with its id elsewhere must not end its socket (4409)."""
    victim = Device(apps.mine.url, apps.theirs.user_token(apps.theirs_ids.user), device=apps.theirs_ids.device)
    await victim.connect()
    thief, welcome = await hello(apps.mine.url, apps.mine.user_token(apps.mine_ids.user), device=apps.theirs_ids.device)
    apps.heard(apps.theirs_ids.device, json.dumps(welcome))
    await thief.ping()
    await victim.socket.ping()
    assert not victim.socket.is_closed
    await thief.close()
    await victim.close()


async def test_a_cursor_of_another_app_offers_only_ones_own(apps: TwoApps) -> None:
    """Their epoch and usn in the own hello: the own log, whatever the cursor."""
    theirs = Device(apps.mine.url, apps.theirs.user_token(apps.theirs_ids.user))
    await theirs.connect()
    mine = Device(apps.mine.url, apps.mine.user_token(apps.mine_ids.user))
    for usn in (0, 1, 10_000):
        mine.usn, mine.epoch, mine.log = usn, theirs.epoch, []
        await mine.connect()
        apps.heard("hello with their cursor", json.dumps(mine.socket.received))
        frames: list[Frame] = [*mine.log, *(mine.snapshot or {}).get("conversations", [])]
        assert apps.theirs_ids.conversation not in {frame.get("conversation", frame.get("id")) for frame in frames}
        await mine.close()
    await theirs.close()

"""What an agent sees and does: the inbox, one conversation with its surroundings, status, assignment, tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from server.domain.conversation import Status
from server.domain.errors import BadRequest, NotFound
from server.services import conversations as service
from server.services.people import Facts
from server.storage.conversations import InboxQuery
from tests.support.services import ride

if TYPE_CHECKING:
    from server.domain.agents import Agent
    from server.services.directory import Place
    from tests.support.services import World


async def inbox(world: World, agent: Agent, **query: Any) -> list[UUID]:
    found = await world.conversations.list_inbox(agent, InboxQuery(apps=list(agent.memberships), **query))
    return [each.conversation.conversation_id for each in found]


async def test_what_is_not_ones_own_does_not_exist(world: World) -> None:
    """Every verb, for an agent of another app, for one without any, and for an id of nobody."""
    kestrel, heron = await world.app("Kestrel"), await world.app("Heron")
    place = await world.opened(await world.user(kestrel), "hello")
    stranger, homeless = await world.agent(heron), await world.agent()
    desk = world.conversations
    for agent in (stranger, homeless):
        for call in (
            desk.locate(agent, place.conversation_id),
            desk.find(agent, place.conversation_id),
            desk.detail(agent, place.conversation_id),
            desk.events(agent, place.conversation_id, 0, 10),
            desk.set_status(agent, place.conversation_id, "resolved"),
            desk.assign(agent, place.conversation_id, None),
            desk.set_tags(agent, place.conversation_id, ["mine"]),
            desk.list_inbox(agent, InboxQuery(apps=[kestrel.app.app_id])),
            desk.find(agent, UUID(int=1)),
        ):
            with pytest.raises(NotFound):
                await call
    assert await inbox(world, stranger) == []
    robin = await world.agent(kestrel)
    kept = (await desk.find(robin, place.conversation_id)).conversation
    assert (kept.status, kept.tags, kept.seq) == (Status.OPEN, [], 2)


async def test_an_agent_of_two_apps_sees_both_and_asks_for_one(world: World) -> None:
    kestrel, heron = await world.app("Kestrel"), await world.app("Heron")
    here, there = await world.opened(await world.user(kestrel)), await world.opened(await world.user(heron))
    robin = await world.agent(kestrel, heron)
    assert set(await inbox(world, robin)) == {here.conversation_id, there.conversation_id}
    found = await world.conversations.list_inbox(robin, InboxQuery(apps=[heron.app.app_id]))
    assert [each.conversation.conversation_id for each in found] == [there.conversation_id]
    assert await world.conversations.list_inbox(robin, InboxQuery(apps=[])) == []


@pytest.fixture
async def five(world: World) -> tuple[Agent, dict[str, Place]]:
    """Five conversations that differ, opened a minute apart."""
    app = await world.app()
    robin, sam = await world.agent(app, name="Robin"), await world.agent(app, name="Sam")
    ada, ben = await world.user(app, "ada-1", "Ada Lindqvist"), await world.user(app, "ben-2", "Ben")
    await world.people.put(app.app.app_id, "ben-2", Facts(email="ben@example.com"))
    await world.context.put_transaction(app.app.app_id, "ben-2", ride("ride-7"))
    places = {}
    for name, user, topic, transaction in (
        ("plain", ada, None, None),
        ("fare", ada, "Fare", None),
        ("ride", ben, "Fare", "ride-7"),
        ("sam's", ben, None, None),
        ("done", ada, None, None),
    ):
        world.clock.move(60)
        places[name] = await world.opened(user, f"about 100% of {name}", topic=topic, transaction=transaction)
    await world.conversations.assign(robin, places["sam's"].conversation_id, sam.agent_id)
    await world.conversations.set_tags(robin, places["fare"].conversation_id, ["VIP", "fare"])
    await world.conversations.set_status(robin, places["done"].conversation_id, "resolved")
    return robin, places


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["done", "sam's", "ride", "fare", "plain"]),
    ({"status": "resolved"}, ["done"]),
    ({"status": "open"}, ["sam's", "ride", "fare", "plain"]),
    ({"status": "nonsense"}, []),
    ({"topic": "Fare"}, ["ride", "fare"]),
    ({"topic": "Far"}, []),
    ({"tag": "vip"}, ["fare"]),
    ({"tag": "vi"}, []),
    ({"unassigned": True}, ["done", "ride", "fare", "plain"]),
    ({"assignee": UUID(int=1)}, []),
    ({"text": "lindQVIST"}, ["done", "fare", "plain"]),
    ({"text": "ben-2"}, ["sam's", "ride"]),
    ({"text": "BEN@example"}, ["sam's", "ride"]),
    ({"text": "Ride ride-7"}, ["ride"]),
    ({"text": "100%"}, ["done", "sam's", "ride", "fare", "plain"]),
    ({"text": "100_"}, []),
    ({"text": "%"}, ["done", "sam's", "ride", "fare", "plain"]),
    ({"text": "of plain"}, ["plain"]),
    ({"status": "open", "topic": "Fare", "unassigned": True, "tag": "fare", "text": "ada"}, ["fare"]),
    ({"limit": 2}, ["done", "sam's"]),
    ({"by_updated": True}, ["done", "fare", "sam's", "ride", "plain"]),
]


async def test_filters(world: World, five: tuple[Agent, dict[str, Place]]) -> None:
    robin, places = five
    for query, names in FILTERS:
        found = await inbox(world, robin, **query)
        expected = [places[name].conversation_id for name in names]
        if query.get("by_updated"):
            # The last three were touched at one moment, so among themselves they stand by id.
            assert set(found[:3]) == {places[name].conversation_id for name in ("done", "fare", "sam's")}
            assert found[3:] == expected[3:]
        else:
            assert found == expected, query


async def test_who_has_it_is_shown_by_name(world: World, five: tuple[Agent, dict[str, Place]]) -> None:
    robin, places = five
    found = await world.conversations.find(robin, places["sam's"].conversation_id)
    assert found.assignee is not None
    assert (found.assignee.name, found.external_id, found.user_name) == ("Sam", "ben-2", "Ben")
    assert await inbox(world, robin, assignee=found.conversation.assignee) == [places["sam's"].conversation_id]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_are_stable_while_conversations_move(world: World, limit: int) -> None:
    """Each that was there at the beginning is seen exactly once, whatever happens between two pages."""
    app = await world.app()
    robin, ada = await world.agent(app), await world.user(app)
    places = []
    for number in range(7):
        world.clock.move(60 if number % 3 else 0)  # some are opened at the same moment
        places.append(await world.opened(ada, "hello"))
    seen: list[UUID] = []
    after: tuple[datetime, UUID] | None = None
    while True:
        page = await world.conversations.list_inbox(robin, InboxQuery(apps=[app.app.app_id], after=after, limit=limit))
        if not page:
            break
        seen += [each.conversation.conversation_id for each in page]
        after = (page[-1].conversation.opened_at, page[-1].conversation.conversation_id)
        world.clock.move(1)
        await world.opened(ada, "a new one")
        await world.say(places[len(seen) % 7], ada.author, "still there")
        await world.conversations.set_status(robin, places[0].conversation_id, ["pending", "open"][len(seen) % 2])
    assert len(seen) == len(set(seen))
    assert set(seen) == {place.conversation_id for place in places}


async def test_the_detail_has_the_frozen_context_beside_the_live_one(world: World) -> None:
    app = await world.app()
    robin = await world.agent(app)
    await world.context.put_transaction(app.app.app_id, "ada", ride("ride-1", 1, "in progress"))
    ada = await world.user(app, "ada", "Ada")
    place = await world.opened(ada, "hello", transaction="ride-1")
    other = await world.opened(ada)
    await world.opened(await world.user(app, "ben"))
    await world.context.put_transaction(app.app.app_id, "ada", ride("ride-1", 2, "completed"))
    detail = await world.conversations.detail(robin, place.conversation_id)
    assert detail.context is not None
    frozen = msgspec.json.decode(detail.context)
    assert (frozen["transaction"]["status"], [known.status for known in detail.transactions]) == (
        "in progress",
        ["completed"],
    )
    assert detail.user == await world.people.find(app.app.app_id, "ada")
    assert detail.listed.conversation.conversation_id == place.conversation_id
    assert detail.listed.conversation.headline == "Ride ride-1 · completed"
    assert [each.conversation.conversation_id for each in detail.others] == [other.conversation_id]


async def test_the_detail_of_an_old_one_of_a_busy_user(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the list of others nor that of transactions reaches back to it."""
    monkeypatch.setattr(service, "OTHERS", 2)
    monkeypatch.setattr(service, "LIVE_TRANSACTIONS", 2)
    app = await world.app()
    robin, ada = await world.agent(app), await world.user(app)
    await world.context.put_transaction(app.app.app_id, "ada", ride("old"))
    place = await world.opened(ada, transaction="old")
    for number in range(4):
        world.clock.move(60)
        await world.context.put_transaction(app.app.app_id, "ada", ride(f"new-{number}"))
        await world.opened(ada)
    detail = await world.conversations.detail(robin, place.conversation_id)
    assert detail.context is not None
    assert msgspec.json.decode(detail.context)["transaction"]["id"] == "old"
    assert [known.id for known in detail.transactions] == ["new-3", "new-2", "old"]
    assert len(detail.others) == 2
    assert detail.listed.conversation.transaction_id == "old"


async def test_a_conversation_of_an_erased_user_is_gone_although_its_place_is_remembered(world: World) -> None:
    app = await world.app()
    robin = await world.agent(app)
    place = await world.opened(await world.user(app))
    await world.conversations.detail(robin, place.conversation_id)
    await world.people.erase(app.app.app_id, "ada")
    for call in (
        world.conversations.find(robin, place.conversation_id),
        world.conversations.detail(robin, place.conversation_id),
        world.conversations.set_status(robin, place.conversation_id, "resolved"),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_thread_is_read_by_seq_with_its_notes(world: World) -> None:
    app = await world.app()
    robin = await world.agent(app)
    place = await world.opened(await world.user(app), "hello")
    await world.messaging.note(place, world.message(robin.author, "be kind"))
    await world.say(place, robin.author, "hello Ada")
    events = await world.conversations.events(robin, place.conversation_id, 1, 2)
    assert [(event.seq, event.kind, event.usn) for event in events] == [(2, "message", 2), (3, "note", None)]
    assert [event.seq for event in await world.conversations.events(robin, place.conversation_id, 3, 200)] == [4]


async def test_statuses(world: World) -> None:
    app = await world.app()
    robin = await world.agent(app)
    place = await world.opened(await world.user(app))
    desk, conversation_id = world.conversations, place.conversation_id
    later = world.clock.now() + timedelta(hours=1)
    assert (await desk.set_status(robin, conversation_id, "snoozed", later)).applied
    kept = (await desk.find(robin, conversation_id)).conversation
    assert (kept.status, kept.snoozed_until) == (Status.SNOOZED, later)
    assert (await desk.set_status(robin, conversation_id, "resolved")).applied
    assert (await desk.find(robin, conversation_id)).conversation.snoozed_until is None
    for status, until, field in (
        ("closed", None, "status"),
        ("", None, "status"),
        ("snoozed", None, "snoozed_until"),
        ("snoozed", world.clock.now(), "snoozed_until"),
        ("open", later, "snoozed_until"),
        ("snoozed", datetime(9999, 12, 31, 23, tzinfo=UTC), "snoozed_until"),
    ):
        with pytest.raises(BadRequest) as refused:
            await desk.set_status(robin, conversation_id, status, until)
        assert refused.value.field == field


async def test_assigning_within_the_app_only(world: World) -> None:
    kestrel, heron = await world.app("Kestrel"), await world.app("Heron")
    robin, stranger = await world.agent(kestrel), await world.agent(heron, name="Stranger")
    place = await world.opened(await world.user(kestrel))
    desk = world.conversations
    assert (await desk.assign(robin, place.conversation_id, robin.agent_id)).applied
    for nobody in (stranger.agent_id, UUID(int=1)):
        with pytest.raises(NotFound) as refused:
            await desk.assign(robin, place.conversation_id, nobody)
        assert refused.value.field == "agent"
    assert (await desk.find(robin, place.conversation_id)).conversation.assignee == robin.agent_id
    await desk.assign(robin, place.conversation_id, None)
    assert (await desk.find(robin, place.conversation_id)).assignee is None


async def test_tags_are_found_by_a_sweep_although_they_are_no_event(world: World) -> None:
    app = await world.app()
    robin = await world.agent(app)
    place = await world.opened(await world.user(app))
    before = (await world.conversations.find(robin, place.conversation_id)).conversation
    world.clock.move(10)
    seen_until = world.clock.now() - timedelta(seconds=1)
    await world.conversations.set_tags(robin, place.conversation_id, [" VIP", "vip"])
    after = (await world.conversations.find(robin, place.conversation_id)).conversation
    assert (after.tags, after.seq, after.rev) == (["vip"], before.seq, before.rev + 1)
    touched = await world.conversations.touched_since([app.app.app_id], seen_until, 10)
    assert [(each.conversation_id, each.rev) for each in touched] == [(place.conversation_id, after.rev)]
    with pytest.raises(BadRequest):
        await world.conversations.set_tags(robin, place.conversation_id, [""])


async def test_heads_and_summaries_of_many(world: World) -> None:
    ada = await world.user(await world.app())
    first, second = await world.opened(ada, "hello"), await world.opened(ada)
    nowhere = world.place(ada)
    places = [(place.app_id, place.user_id, place.conversation_id) for place in (first, second, nowhere)]
    assert await world.conversations.heads(places) == {first.conversation_id: 2, second.conversation_id: 1}
    found = await world.conversations.refresh(places)
    assert {each.conversation.conversation_id for each in found} == {first.conversation_id, second.conversation_id}
    wrong_user = (first.app_id, UUID(int=1), first.conversation_id)
    assert await world.conversations.refresh([wrong_user]) == []
    assert await world.conversations.heads([wrong_user]) == {}


async def test_the_directory_forgets_rather_than_grows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.services import directory

    monkeypatch.setattr(directory, "MOST_REMEMBERED", 3)
    ada = await world.user(await world.app())
    places = [await world.opened(ada) for _ in range(5)]
    for place in places * 2:
        assert await world.directory.find(place.conversation_id) == place
        assert len(world.directory._known) <= 3
    with pytest.raises(NotFound):
        await world.directory.find(UUID(int=1))

"""A phone's reading: which history a cursor belongs to, and one consistent read when there is none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from server.domain.errors import NotFound
from server.services import reading as service
from tests.support.services import ride

if TYPE_CHECKING:
    from tests.support.services import World


async def test_the_log_is_read_on_from_a_cursor(world: World) -> None:
    ada = await world.user(await world.app())
    place = await world.opened(ada, "hello")
    await world.messaging.note(place, world.message(world.agent_author, "a note"))
    await world.say(place, world.agent_author, "hello Ada")
    events, history = await world.reading.after(ada.app_id, ada.user_id, 1)
    assert history == await world.reading.history()
    assert [(event.usn, event.seq) for event in events] == [(2, 2), (3, 4)]
    assert [event.usn for event in (await world.reading.after(ada.app_id, ada.user_id, 0, 2)).events] == [1, 2]
    assert await world.reading.after(ada.app_id, ada.user_id, 3) == ([], None)


async def test_every_user_has_the_databases_history_and_a_beginning_of_their_own(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    history = await world.reading.history()
    assert ada.epoch_in(history) == f"{history}-{ada.incarnation}"
    assert ada.epoch_in(history) != ben.epoch_in(history)


async def test_a_new_history_is_noticed_by_a_node_that_stays_up(world: World) -> None:
    """After a failover or a restore the node's connections are new but the node is not: an old cursor must not be
    believed for as long as nobody restarts it (protocol.md, "Numbers")."""
    ada = await world.user(await world.app())
    place = await world.opened(ada, "hello")
    before = await world.reading.history()
    async with world.database.session() as session:
        await session.connection.execute("update installation set epoch = 'restored'")
    after = await world.reading.history()
    assert after != before
    assert after.startswith("restored-")
    assert (await world.reading.after(ada.app_id, ada.user_id, 0)).history == after
    assert (await world.messaging.page(place, None, 5))[0].history == after
    assert (await world.reading.snapshot(ada.app_id, ada.user_id)).history == after


async def test_a_snapshot_is_everything_a_phone_needs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RECENT_TRANSACTIONS", 2)
    app = await world.app()
    ada, ben = await world.user(app, "ada", "Ada"), await world.user(app, "ben")
    for number in range(3):
        await world.context.put_transaction(ada.app_id, "ada", ride(f"ride-{number}"))
        world.clock.move(1)
    place = await world.opened(ada, "hello", topic="Fare", transaction="ride-0")
    world.clock.move(1)
    newer = await world.opened(ada)
    await world.opened(ben, "not Ada's")
    await world.say(place, world.agent_author, "hello Ada")
    state = await world.reading.snapshot(ada.app_id, ada.user_id)
    assert (state.user.external_id, state.user.usn) == ("ada", 4)
    assert [known.id for known in state.transactions] == ["ride-2", "ride-1"]
    listed = {each.conversation.conversation_id: each for each in state.conversations}
    assert set(listed) == {place.conversation_id, newer.conversation_id}
    assert listed[place.conversation_id].conversation.user_unread == 1
    assert b'"ride-0"' in (listed[place.conversation_id].context or b"")
    with pytest.raises(NotFound):
        await world.reading.snapshot(ada.app_id, UUID(int=1))


async def test_a_snapshot_is_of_one_moment(world: World) -> None:
    """While an agent writes, head and conversations never disagree."""
    ada = await world.user(await world.app())
    places = [await world.opened(ada) for _ in range(3)]
    writing = True

    async def write() -> None:
        turn = 0
        while writing:
            await world.say(places[turn % 3], world.agent_author, "hello")
            turn += 1

    writer = asyncio.create_task(write())
    try:
        for _ in range(25):
            state = await world.reading.snapshot(ada.app_id, ada.user_id)
            assert state.user.usn == sum(each.conversation.seq for each in state.conversations)
    finally:
        writing = False
        await writer


async def test_where_many_logs_stand(world: World) -> None:
    app = await world.app()
    ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
    await world.opened(ada, "hello")
    standings = await world.reading.standings(
        [(ada.app_id, ada.user_id), (ben.app_id, ben.user_id), (ben.app_id, UUID(int=1))]
    )
    assert {each.user_id: (each.usn, each.auth_gen, each.incarnation) for each in standings} == {
        ada.user_id: (2, 0, ada.incarnation),
        ben.user_id: (0, 0, ben.incarnation),
    }
    assert await world.reading.standings([]) == []

"""The outbox of webhooks is written with the events, for whoever wants them at that moment (docs/webhooks.md)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg

from server.clock import SystemClock
from server.domain.events import Event, Kind
from server.domain.intents import AddNote, MarkRead
from server.domain.numbering import Ledger
from server.storage import log, people, webhook_outbox, webhooks
from server.storage.database import Session
from server.storage.webhook_outbox import Subscriptions
from server.storage.webhooks import Endpoint
from tests.server.storage.world import AGENT, World, world_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


async def endpoint(world: World, *events: str, app_id: UUID | None = None, announce: bool = True) -> UUID:
    now = SystemClock().now()
    made = Endpoint(
        app_id=app_id or world.app_id,
        endpoint_id=uuid4(),
        url="https://hooks.example.com/",
        events=list(events or ["conversation.opened", "message.created"]),
        description=None,
        enabled=True,
        reason=None,
        paused_at=None,
        failing_since=None,
        made_as=b"",
        created_at=now,
        updated_at=now,
    )
    async with world.database.transaction() as tx:
        await webhooks.insert(tx, made)
        if announce:
            await webhooks.announce_change(tx)
    return made.endpoint_id


async def wanted(world: World, endpoint_id: UUID) -> list[tuple[Any, ...]]:
    """(conversation, place, type, seq) in order."""
    rows = await world.database.pool.fetch(
        "select conversation_id, place, type, seq from webhook_delivery where endpoint_id = $1"
        " order by conversation_id, place",
        endpoint_id,
    )
    return [tuple(row) for row in rows]


async def lanes(world: World) -> list[tuple[int, int]]:
    return [tuple(row) for row in await world.database.pool.fetch("select head, done from webhook_lane")]


async def test_deliveries_are_numbered_in_the_order_of_the_log(world: World) -> None:
    hook = await endpoint(world)
    user = await world.user()
    first, second = uuid4(), uuid4()
    outcomes = await world.writer.append(
        [
            world.opening(user, first),
            world.opening(user, second, text=None),
            world.post(user, first),
            world.post(user, second),
            world.post(user, first),
        ]
    )
    assert all(not isinstance(outcome, Exception) for outcome in outcomes)
    await world.writer.append([world.post(user, first)])
    by_conversation = {first: await wanted(world, hook), second: []}
    assert [each[1:] for each in by_conversation[first] if each[0] == first] == [
        (1, "conversation.opened", 1),
        (2, "message.created", 2),
        (3, "message.created", 3),
        (4, "message.created", 4),
        (5, "message.created", 5),
    ]
    assert [each[1:] for each in by_conversation[first] if each[0] == second] == [
        (1, "conversation.opened", 1),
        (2, "message.created", 2),
    ]
    assert sorted(await lanes(world)) == [(2, 0), (5, 0)]


async def test_a_repeat_is_not_wanted_twice(world: World) -> None:
    hook = await endpoint(world)
    user = await world.user()
    conversation, _ = await world.open(user)
    post = world.post(user, conversation)
    await world.writer.append([post, post])
    await world.writer.append([post])
    assert len(await wanted(world, hook)) == 3


async def test_notes_and_receipts_are_not_wanted(world: World) -> None:
    hook = await endpoint(world, "message.created")
    user = await world.user()
    conversation, _ = await world.open(user, text=None)
    note = AddNote(
        app_id=world.app_id,
        user_id=user,
        conversation_id=conversation,
        message=world.message(AGENT, "a private word"),
    )
    read = MarkRead(
        app_id=world.app_id, user_id=user, conversation_id=conversation, reader="agent", author=AGENT, seq=1
    )
    await world.writer.append([note, read])
    assert await wanted(world, hook) == []


def test_nothing_that_the_user_may_not_see_is_wanted() -> None:
    """Whatever kind it may be some day."""
    app_id = uuid4()
    subscriptions = Subscriptions()
    subscriptions._wanting = {(app_id, "message.created"): [uuid4()]}
    now = SystemClock().now()

    def event(usn: int | None, kind: str = Kind.MESSAGE.value) -> Event:
        return Event(app_id, uuid4(), uuid4(), 1, usn, kind, AGENT, None, b"{}", now)

    def rows(events: list[Event]) -> int:
        ledger = Ledger(app_id, uuid4(), 1, now, "history")
        ledger.events = events
        return len(subscriptions.rows([ledger], now))

    assert (rows([event(1)]), rows([event(None)]), rows([event(1, "note")])) == (1, 0, 0)


async def test_changes_are_seen_by_the_next_batch(world: World) -> None:
    user = await world.user()
    conversation, _ = await world.open(user)
    early = await endpoint(world)
    await world.writer.append_one(world.post(user, conversation))
    late = await endpoint(world)
    await world.writer.append_one(world.post(user, conversation))
    async with world.database.transaction() as tx:
        await webhooks.delete(tx, world.app_id, early, SystemClock().now())
        await webhooks.announce_change(tx)
    await world.writer.append_one(world.post(user, conversation))
    assert [each[3] for each in await wanted(world, early)] == [3, 4]
    assert [each[3] for each in await wanted(world, late)] == [4, 5]


async def test_two_nodes_see_each_others_changes(world: World, database_url: str) -> None:
    user = await world.user()
    conversation, _ = await world.open(user)
    async with world_on(database_url) as other:
        hook = await endpoint(other, app_id=world.app_id)
        for _ in range(3):
            await world.writer.append_one(world.post(user, conversation))
            await other.writer.append_one(world.post(user, conversation))
    assert [each[1] for each in await wanted(world, hook)] == [1, 2, 3, 4, 5, 6]


async def test_a_number_means_nothing_in_another_history(world: World) -> None:
    """After a failover that lost commits, the same number may stand for other endpoints."""
    hook = await endpoint(world)
    subscriptions = Subscriptions()
    async with world.database.session() as session:
        await subscriptions.read(session, "before", 1)
        subscriptions._wanting = {}
        await subscriptions.read(session, "before", 1)
        assert subscriptions._wanting == {}
        await subscriptions.read(session, "after", 1)
    assert subscriptions._wanting == {
        (world.app_id, "conversation.opened"): [hook],
        (world.app_id, "message.created"): [hook],
    }


async def test_without_endpoints_nothing_is_asked(world: World) -> None:
    subscriptions = Subscriptions()
    async with world.database.session() as session:
        session._queries = {}  # whatever is asked fails
        await subscriptions.read(session, "history", 0)
        assert subscriptions.rows([], SystemClock().now()) == []
        await webhook_outbox.want(session, [], SystemClock().now())


async def test_events_and_deliveries_are_committed_together(world: World) -> None:
    """A batch that fails leaves neither; the one bad item of it fails alone."""
    hook = await endpoint(world)
    good, bad = await world.user("good"), await world.user("bad")
    place, _ = await world.open(good)
    other, _ = await world.open(bad)
    await world.database.pool.execute(
        f"alter table webhook_delivery add constraint planted check (user_id <> '{bad}' or place < 3)"
    )
    outcomes = await world.writer.append([world.post(good, place), world.post(bad, other)])
    assert [type(outcome).__name__ for outcome in outcomes] == ["Numbered", "Unavailable"]
    assert [each[1] for each in await wanted(world, hook) if each[0] == place] == [1, 2, 3]
    assert [each[1] for each in await wanted(world, hook) if each[0] == other] == [1, 2]
    assert await world.database.pool.fetchval("select count(*) from event where user_id = $1", bad) == 2


async def test_other_events_join_the_lane(world: World) -> None:
    """What is not in the log (`push.failed`) comes through one function, in the transaction in which it happens."""
    hook = await endpoint(world, "message.created", "push.failed")
    await endpoint(world, "message.created")
    user = await world.user()
    conversation, _ = await world.open(user)

    async def tell(user_id: UUID) -> int:
        async with world.database.transaction() as tx:
            return await webhook_outbox.want_other(
                tx, world.app_id, user_id, conversation, "push.failed", b'{"reason":"x"}', SystemClock().now()
            )

    assert await tell(user) == 1
    await world.writer.append_one(world.post(user, conversation))
    assert [each[1:] for each in await wanted(world, hook)] == [
        (1, "message.created", 2),
        (2, "push.failed", None),
        (3, "message.created", 3),
    ]
    assert await tell(uuid4()) == 0  # a user who was erased meanwhile


async def test_erasing_a_user_erases_its_deliveries(world: World) -> None:
    hook = await endpoint(world)
    user, other = await world.user(), await world.user("other")
    await world.open(user)
    await world.open(other)
    async with world.database.transaction() as tx:
        await people.erase(tx, world.app_id, user)
    assert len(await wanted(world, hook)) == 2
    assert len(await lanes(world)) == 1


async def test_writing_and_settling_at_the_same_time_forgets_nothing(world: World) -> None:
    """A lane is emptied while it grows: whatever comes is claimed in the end, once and in order."""
    hook = await endpoint(world, "message.created")
    user = await world.user()
    conversation, _ = await world.open(user, text=None)
    seen: list[int] = []

    async def write() -> None:
        for _ in range(60):
            await world.writer.append_one(world.post(user, conversation))

    async def work() -> None:
        while len(seen) < 60:
            now = SystemClock().now()
            claimed = await webhook_outbox.claim(
                world.database, now, now.replace(year=2100), uuid4(), busy={}, per_endpoint=5, endpoint=None, limit=5
            )
            for lane in claimed:
                while True:
                    look = await webhook_outbox.look(world.database, lane, now)
                    assert look is not None
                    if look.waiting is None:
                        await webhook_outbox.release(world.database, lane, SystemClock().now(), done=look.head)
                        break
                    assert look.waiting.event is not None
                    seen.append(look.waiting.event.seq)
                    assert await webhook_outbox.settle(
                        world.database,
                        lane,
                        look.waiting.place,
                        state="delivered",
                        due_at=now.replace(year=2100),
                        keep=True,
                        status=204,
                        error=None,
                        at=now,
                    )

    async with asyncio.timeout(30):
        await asyncio.gather(write(), work(), work())
    assert seen == list(range(2, 62))
    assert len(await wanted(world, hook)) == 60


async def test_a_lane_that_grew_is_not_purged(world: World, database_url: str) -> None:
    """Retention looks at a lane, an event comes, retention deletes: it stays, or its next place would be taken."""
    await endpoint(world, "message.created")
    user = await world.user()
    conversation, _ = await world.open(user)
    await world.database.pool.execute("delete from webhook_delivery")
    await world.database.pool.execute("update webhook_lane set done = head")
    (hook,) = await webhooks.list_ids(world.database)
    other = await asyncpg.connect(database_url)
    try:
        block = other.transaction()
        await block.start()
        await other.execute("update webhook_lane set head = head + 1")
        purge = asyncio.ensure_future(
            world.database.run("purge_webhook_lanes", [world.app_id], [user], [conversation], hook, False)
        )
        await asyncio.sleep(0.1)
        await block.commit()
        assert await purge == 0
    finally:
        await other.close()
    assert await lanes(world) == [(2, 1)]


async def test_the_short_way_writes_deliveries_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message in a conversation that is known (storage/known.py): one statement without endpoints, two with."""
    asked: list[str] = []
    for name in ("rows", "run", "row", "value"):
        monkeypatch.setattr(Session, name, _noting(asked, getattr(Session, name)))
    user = await world.user()
    conversation, _ = await world.open(user)
    asked.clear()
    await world.writer.append_one(world.post(user, conversation))
    assert asked == ["append_known"]

    hook = await endpoint(world)
    asked.clear()
    await world.writer.append_one(world.post(user, conversation))  # it has changed: the long way, to read it anew
    assert asked[:2] == ["append_known", "lock_users"]
    assert "list_webhook_subscriptions" in asked
    asked.clear()
    await world.writer.append_one(world.post(user, conversation))
    assert asked == ["append_known", "want_webhooks"]
    assert [each[3] for each in await wanted(world, hook)] == [4, 5]


async def test_what_endpoints_want_may_be_read_anew_while_a_connection_is_waited_for(world: World) -> None:
    """Another lane does so: what was made for the endpoints of before must not pass for as new as that."""
    user = await world.user()
    conversation, _ = await world.open(user)
    subscriptions, waited = world.writer._subscriptions, world.database.session

    @contextlib.asynccontextmanager
    async def later() -> AsyncIterator[Session]:
        world.database.session = waited  # type: ignore[method-assign]
        await endpoint(world)
        async with world.database.session() as session:
            await subscriptions.read(session, await log.history(session), 1)
            yield session

    world.database.session = later  # type: ignore[method-assign]
    await world.writer.append_one(world.post(user, conversation))
    (hook,) = await webhooks.list_ids(world.database)
    assert [each[3] for each in await wanted(world, hook)] == [3]


async def test_the_short_way_for_one_and_not_for_another(world: World, database_url: str) -> None:
    """In one batch: a user who still stands where we left them, and one for whom another node has written meanwhile."""
    hook = await endpoint(world)
    stands, moved = await world.user("stands"), await world.user("moved")
    here, there = (await world.open(stands))[0], (await world.open(moved))[0]
    async with world_on(database_url) as other:
        await other.writer.append_one(world.post(moved, there))
    await world.writer.append([world.post(stands, here), world.post(moved, there), world.post(stands, here)])
    for conversation, count in ((here, 4), (there, 4)):
        seqs = [each[1:] for each in await wanted(world, hook) if each[0] == conversation]
        assert [(place, seq) for place, _, seq in seqs] == [(number, number) for number in range(1, count + 1)]


def _noting(asked: list[str], method: Any) -> Any:
    async def noted(self: Session, name: str, *values: Any) -> Any:
        asked.append(name)
        return await method(self, name, *values)

    return noted

"""Several workers at one lane, and what they find gone when its turn comes (docs/webhooks.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from server.domain.events import AuthorType
from server.services import webhook_delivery
from server.services.webhook_delivery import LEASE
from tests.server.services.webhook_stage import DAY, DOWN, Stage, stage_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.outgoing.interface import Call


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with stage_on(database_url) as ready:
        yield ready


async def test_a_worker_that_dies_after_the_call_makes_it_come_again_with_its_id(stage: Stage) -> None:
    await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    (lane,) = await stage.claim()

    async def die(_: Call) -> None:
        raise KeyboardInterrupt

    stage.world.outgoing.before = die
    with pytest.raises(KeyboardInterrupt):
        await stage.world.webhook_delivery.deliver(lane)
    stage.world.outgoing.before = None
    assert await stage.pass_time(LEASE.total_seconds() - 1) == 0
    assert await stage.pass_time(1) == 1
    assert stage.calls[0].id == stage.calls[1].id
    assert stage.calls[0].body == stage.calls[1].body


async def test_two_workers_do_not_hold_one_lane(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "one", "two")
    (mine,) = await stage.claim()
    assert await stage.claim() == []
    # Mine takes too long: somebody else has the lane now, and what I find out counts no more.
    stage.world.clock.move(LEASE.total_seconds())
    (theirs,) = await stage.claim()
    await stage.world.webhook_delivery.deliver(mine)
    assert stage.calls == []
    await stage.world.webhook_delivery.deliver(theirs)
    assert stage.texts == ["one", "two"]
    assert [each.state for each in await stage.deliveries(made)] == ["delivered", "delivered"]


async def test_a_late_answer_does_not_complete_what_somebody_else_works_on(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    (mine,) = await stage.claim()
    taken: list[object] = []

    async def too_late(_: Call) -> None:
        stage.world.outgoing.before = None
        stage.world.clock.move(LEASE.total_seconds())
        taken.extend(await stage.claim())

    stage.world.outgoing.before = too_late
    await stage.world.webhook_delivery.deliver(mine)
    assert len(taken) == 1
    assert [each.state for each in await stage.deliveries(made)] == ["pending"]


async def test_a_long_lane_keeps_its_lease_and_lets_others_have_a_turn(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_delivery, "IN_A_ROW", 3)
    await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, *[str(number) for number in range(7)])

    async def slow(_: Call) -> None:
        stage.world.clock.move(LEASE.total_seconds() - 1)
        assert await stage.claim() == []

    stage.world.outgoing.before = slow
    (lane,) = await stage.claim()
    await stage.world.webhook_delivery.deliver(lane)
    assert stage.texts == ["0", "1", "2"]
    stage.world.outgoing.before = None
    await stage.deliver()
    assert stage.texts == [str(number) for number in range(7)]


async def test_words_that_retention_took_are_not_sent(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "old words")
    await stage.world.database.pool.execute("update event set body = '{\"trimmed\":true}'")
    assert await stage.deliver() == 0
    (dead,) = await stage.deliveries(made, "dead")
    assert "retention" in str(dead.error)


async def test_an_erased_user_is_not_spoken_of(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    (lane,) = await stage.claim()
    await stage.world.people.erase(stage.app_id, "blanca")
    await stage.world.webhook_delivery.deliver(lane)
    assert await stage.pass_time(DAY) == 0
    assert await stage.deliveries(made) == []


async def test_a_deleted_endpoint_is_not_called(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "one")
    (lane,) = await stage.claim()
    await stage.world.webhooks.delete(stage.app_id, made.endpoint.endpoint_id)
    await stage.world.webhook_delivery.deliver(lane)
    await stage.say(place, "two")
    assert await stage.pass_time(DAY) == 0


async def test_a_key_that_has_changed_is_a_failure_with_words(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    await stage.world.database.pool.execute("update webhook_secret set sealed = 'nonsense'")
    assert await stage.deliver() == 0
    (waiting,) = await stage.deliveries(made, "pending")
    assert "key" in str(waiting.error)


async def test_health_sees_when_nobody_works(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    await stage.say(await stage.opened(), "hello")
    assert await stage.world.webhook_delivery.oldest_age() == 0
    stage.world.clock.move(90)
    assert await stage.world.webhook_delivery.oldest_age() == pytest.approx(90)
    assert "webhooks" in await stage.world.health.reasons()
    stage.world.outgoing.answers = [DOWN]
    await stage.deliver()
    stage.world.clock.move(90)
    assert await stage.world.webhook_delivery.oldest_age() == 0  # their fault, not ours
    await stage.deliver()
    assert [each.state for each in await stage.deliveries(made)] == ["delivered"]
    assert "webhooks" not in await stage.world.health.reasons()


async def test_authors_are_those_of_the_log(stage: Stage) -> None:
    await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.world.say(place, stage.world.agent_author, "Good morning!")
    await stage.deliver()
    author = stage.bodies[0]["data"]["event"]["author"]
    assert author == {"type": AuthorType.AGENT.value, "id": stage.world.agent_author.id, "name": "Robin"}
    assert UUID(stage.bodies[0]["id"]).version == 7

"""What is forgotten of webhooks, and when (docs/webhooks.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.outgoing.interface import Answered
from server.services.webhooks import Wish
from server.workers import webhook_retention
from server.workers.webhook_retention import WebhookRetention
from tests.server.services.webhook_stage import Stage, stage_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 86_400.0


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with stage_on(database_url) as ready:
        yield ready


def worker(stage: Stage) -> WebhookRetention:
    return WebhookRetention(stage.world.database, stage.world.clock)


async def rows(stage: Stage, table: str) -> int:
    count: int = await stage.world.database.pool.fetchval(f"select count(*) from {table}")
    return count


async def test_delivered_ones_go_after_a_week(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_retention, "AT_ONCE", 2)
    made = await stage.endpoint("message.created")
    old = await stage.opened()
    await stage.say(old, *[str(number) for number in range(5)])
    await stage.deliver()
    stage.world.clock.move(6 * DAY)
    assert await worker(stage).step() == 0
    await stage.say(await stage.opened(), "young")
    await stage.deliver()
    stage.world.clock.move(1.1 * DAY)
    assert await worker(stage).step() == 5
    assert len(await stage.deliveries(made)) == 1
    assert await rows(stage, "webhook_lane") == 1
    await stage.say(old, "a new lane for an old conversation")
    await stage.deliver()
    assert stage.texts[-1] == "a new lane for an old conversation"


async def test_dead_and_waiting_ones_go_after_a_month(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "waits")
    stage.world.outgoing.answers = [Answered(status=500)]
    await stage.deliver()
    await stage.world.webhooks.change(stage.app_id, made.endpoint.endpoint_id, Wish(enabled=False))
    stage.world.clock.move(29 * DAY)
    assert await worker(stage).step() == 0
    stage.world.clock.move(2 * DAY)
    assert await worker(stage).step() == 1
    # Its place in the lane is empty; what comes next passes.
    await stage.world.webhooks.change(stage.app_id, made.endpoint.endpoint_id, Wish(enabled=True))
    await stage.say(place, "new")
    await stage.deliver()
    assert stage.texts == ["waits", "new"]
    assert [each.state for each in await stage.deliveries(made)] == ["delivered"]


async def test_an_empty_lane_stays_while_something_waits_in_it(stage: Stage) -> None:
    await stage.endpoint("message.created")
    place = await stage.opened()
    await stage.say(place, "old")
    await stage.deliver()
    stage.world.clock.move(8 * DAY)
    await stage.say(place, "new")
    assert await worker(stage).step() == 1
    await stage.deliver()
    assert stage.texts == ["old", "new"]


async def test_nothing_stays_of_a_deleted_endpoint(stage: Stage) -> None:
    made = await stage.endpoint("message.created")
    other = await stage.endpoint("message.created", url="https://other.example/")
    place = await stage.opened()
    await stage.say(place, "one")
    await stage.deliver()
    await stage.say(place, "two")
    await stage.world.webhooks.delete(stage.app_id, made.endpoint.endpoint_id)
    assert await rows(stage, "webhook_secret") == 1
    assert await worker(stage).step() == 0  # a batch may still be under way
    stage.world.clock.move(3601)
    assert await worker(stage).step() == 2
    assert await rows(stage, "webhook_endpoint") == 1
    assert await rows(stage, "webhook_lane") == 1
    assert len(await stage.deliveries(other)) == 2

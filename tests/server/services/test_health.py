"""Red whenever messages or pushes would be late; and it says why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.services import health
from tests.support.services import running_services

if TYPE_CHECKING:
    import pytest

    from tests.support.services import World


async def test_a_well_node_has_no_reasons(world: World) -> None:
    assert await world.health.reasons() == {}


async def test_what_the_database_is(world: World) -> None:
    await world.health.look_at_database()
    assert world.health.database["postgresql"][0].isdigit()
    # The tests' own server runs with fsync off, and that is what must be said of it.
    assert world.health.database["durability"] == "off"


async def test_a_bus_that_does_not_work_is_a_reason(world: World) -> None:
    await world.bus.close()
    assert list(await world.health.reasons()) == ["bus"]


async def test_a_push_that_waits_is_a_reason_after_a_minute(world: World) -> None:
    ada = await world.user(await world.app())
    await world.device(ada, "t")
    await world.say(await world.opened(ada), world.agent_author, "hello")
    world.clock.move(60)
    assert await world.health.reasons() == {}
    world.clock.move(1)
    assert await world.health.reasons() == {"push": "the oldest push has been due for 61 s"}


async def test_a_database_that_is_gone_is_a_reason(database_url: str) -> None:
    async with running_services(database_url) as world:
        await world.database.pool.close()
        assert list(await world.health.reasons()) == ["database"]


async def test_a_database_that_does_not_answer_is_a_reason_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_WITHIN_S", 0.2)
    async with world.database.session() as session, session.connection.transaction():
        await session.connection.execute("lock table push_state in access exclusive mode")
        async with asyncio.timeout(5):
            assert list(await world.health.reasons()) == ["database"]

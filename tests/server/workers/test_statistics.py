"""Plans made while a table was empty do not outlive its first messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from server.storage import statistics
from tests.server.storage.world import world_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.server.storage.world import World


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as made:
        yield made


async def test_a_plan_made_for_empty_tables_is_made_again(world: World) -> None:
    user = await world.user()
    conversation, _ = await world.open(user)
    async with world.database.session() as session:
        connection = session.connection
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(
            "prepare looked_up (uuid[]) as select e.seq from unnest($1) as want (id) left join event e"
            f" on e.app_id = '{world.app_id}' and e.user_id = '{user}' and e.client_id = want.id"
            " and e.author_type = 'user' and e.author_id = 'x'"
        )

        async def plan() -> str:
            rows = await connection.fetch("explain execute looked_up (array[]::uuid[])")
            return "\n".join(row[0] for row in rows)

        await world.writer.append([world.post(user, conversation) for _ in range(2000)])
        before = await plan()
        refreshed: list[str] = []
        async with asyncio.timeout(20):
            while "event" not in refreshed:  # a backend reports what it changed about once a second
                await world.writer.append([world.post(user, conversation)])
                refreshed = await statistics.refresh(world.database)
        after = await plan()
    assert "event_client_id" in after, before
    assert "Seq Scan on event" not in after

"""The demo's app on a real node: settled once, found again, and alive."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
import pytest

from server.config import Config
from server.demo.kestrel import Kestrel
from server.demo.life import Life
from server.demo.rides import CUSTOMERS, STEPS, THANKS
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.storage.conversations import InboxQuery
from server.wiring import ROLES, Node
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from server.domain.agents import Agent

WITHIN_S = 15.0


@asynccontextmanager
async def node_on(url: str, folder: Path, clock: FakeClock) -> AsyncIterator[Node]:
    config = Config.load({"DESKBELL_DATA_DIR": str(folder), "DESKBELL_DATABASE_URL": url})
    node = await Node.open(config, clock, url, "a secret key that is long enough", frozenset(ROLES))
    try:
        yield node
    finally:
        await node.close()


async def until(condition: Callable[[], Awaitable[bool]], clock: FakeClock) -> None:
    """Let time pass, second by second, until something is so."""
    async with asyncio.timeout(WITHIN_S):
        while not await condition():
            await clock.advance(1.0)


async def robin_of(node: Node, kestrel_facts: dict[str, object]) -> Agent:
    agent = kestrel_facts["agent"]
    assert isinstance(agent, dict)
    return await node.services.agents.by_token(agent["token"])


async def test_what_the_first_line_says_is_true(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with node_on(database_url, tmp_path, clock) as node:
        kestrel = Kestrel(tmp_path / "demo.json")
        await kestrel.settle(node)
        said = await kestrel.facts("http://127.0.0.1:8080")
        assert json.loads(json.dumps(said)) == said
        app = await node.services.apps.by_server_key(said["server_key"])
        assert str(app.app_id) == said["app"]
        assert [user["external_id"] for user in said["users"]] == [name for name, *_ in CUSTOMERS]
        for user in said["users"]:
            claims = await node.services.identity.verify(user["token"])
            assert claims.external_id == user["external_id"]
            rides = await node.services.context.list_transactions(app.app_id, user["external_id"], 50)
            assert len(rides) >= 5
        agent, _ = await node.services.agents.log_in(said["agent"]["email"], said["agent"]["password"])
        waiting = await node.services.conversations.list_inbox(agent, InboxQuery(apps=[app.app_id]))
        assert [str(each.conversation.conversation_id) for each in waiting] == [kestrel.first_thread]
        detail = await node.services.conversations.detail(agent, UUID(kestrel.first_thread))
        assert detail.context is not None
        assert msgspec.json.decode(detail.context)["transaction"]["kind"] == "ride"
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o600
    assert said["server_key"] in (tmp_path / "demo.json").read_text()


async def test_the_second_start_continues_where_it_was(database_url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    async with node_on(database_url, tmp_path, clock) as node:
        kestrel = Kestrel(tmp_path / "demo.json")
        await kestrel.settle(node)
        first = await kestrel.facts("http://127.0.0.1:1")
    clock.move(60)
    async with node_on(database_url, tmp_path, clock) as node:
        again = Kestrel(tmp_path / "demo.json")
        await again.settle(node)
        second = await again.facts("http://127.0.0.1:1")
        async with node.database.session() as session:
            assert await session.connection.fetchval("select count(*) from app") == 1
    for name in ("app", "server_key", "identity", "agent"):
        assert second[name] == first[name]
    assert second["users"] != first["users"], "tokens are fresh"


async def test_a_new_database_is_settled_again_although_an_old_file_is_there(database_url: str, tmp_path: Path) -> None:
    old = {"app": "00000000-0000-4000-8000-000000000000", "server_key": "dbs_old"}
    (tmp_path / "demo.json").write_text(json.dumps(old))
    async with node_on(database_url, tmp_path, FakeClock()) as node:
        kestrel = Kestrel(tmp_path / "demo.json")
        await kestrel.settle(node)
        said = await kestrel.facts("http://127.0.0.1:1")
    assert said["app"] != old["app"]
    assert json.loads((tmp_path / "demo.json").read_text())["app"] == said["app"]


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a customer asks in seconds of the test's clock, of which each costs a few turns of the loop."""
    monkeypatch.setattr("server.demo.life.QUESTION_S", 5.0)


async def test_there_is_life(database_url: str, tmp_path: Path, short_waits: None) -> None:
    clock = FakeClock()
    async with node_on(database_url, tmp_path, clock) as node:
        kestrel = Kestrel(tmp_path / "demo.json")
        await kestrel.settle(node)
        said = await kestrel.facts("http://127.0.0.1:1")
        robin, app_id = await robin_of(node, said), UUID(said["app"])
        life = Life(node, app_id)
        life.start()

        async def ended() -> bool:
            async with node.database.session() as session:
                found: int = await session.connection.fetchval(
                    "select count(*) from user_transaction where version = $1 and status = 'completed'"
                    " and created_at < updated_at",
                    len(STEPS),
                )
            return found > 0

        async def asked() -> list[UUID]:
            found = await node.services.conversations.list_inbox(robin, InboxQuery(apps=[app_id]))
            ids = [each.conversation.conversation_id for each in found if each.conversation.agent_unread]
            return [each for each in ids if str(each) != kestrel.first_thread]

        async def somebody_asks() -> bool:
            return bool(await asked())

        await until(ended, clock)
        await until(somebody_asks, clock)
        thread = (await asked())[0]
        place = await node.services.conversations.locate(robin, thread)
        await node.services.messaging.post(
            place, Message(UUID(int=77), robin.author, from_struct(Text(text="How can I help?")))
        )

        async def thanked() -> bool:
            events = await node.services.conversations.events(robin, thread, 0, 200)
            return any(
                event.author.type == "user" and msgspec.json.decode(event.body).get("text") in THANKS
                for event in events
            )

        await until(thanked, clock)

"""Two nodes on one database and one Redis: what happens at one is seen at the other.

Time stands still and nobody sweeps, so what arrives has come over the bus, and what has not waits for a sweep.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from sdk_protocol import frames
from sdk_protocol.bodies import Text
from server.bus.redis import RedisBus
from server.config import Config, ConfigError
from server.wiring import Node
from tests.server.bus.member import until
from tests.server.gateway.phone import SECRET, House, Phone
from tests.support.clock import FakeClock
from tests.support.redis import running_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.redis import RedisForTests

Two = tuple[House, House]


def bus_of(house: House) -> RedisBus:
    bus = house.node.bus
    assert isinstance(bus, RedisBus)
    return bus


async def settled(*houses: House) -> None:
    """Wait until the nodes' subscriptions stand; time goes on a little, for those who wait to try again."""

    def all_settled() -> bool:
        if all(bus_of(house).settled for house in houses):
            return True
        for house in houses:
            house.clock.move(0.01)
        return False

    await until(all_settled, what=lambda: [bus_of(house).degraded for house in houses])


async def wait_red(*houses: House) -> None:
    await until(lambda: all(bus_of(house).degraded for house in houses))


@contextlib.asynccontextmanager
async def nodes_on(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Two]:
    config = Config.load({"HOME": str(folder), "DESKBELL_REDIS_URL": redis_url})
    async with contextlib.AsyncExitStack() as closing:
        nodes: list[Node] = []
        for _ in range(2):
            node = await Node.open(config, FakeClock(), database_url, SECRET, frozenset())
            closing.push_async_callback(node.close)
            nodes.append(node)
        app_id = (await nodes[0].services.apps.create("Kestrel")).app.app_id
        here, there = (House(node, _fake(node), app_id) for node in nodes)
        await settled(here, there)
        yield here, there


def _fake(node: Node) -> FakeClock:
    assert isinstance(node.clock, FakeClock)
    return node.clock


@pytest.fixture
async def two(database_url: str, redis_server: RedisForTests, tmp_path: Path) -> AsyncIterator[Two]:
    async with nodes_on(database_url, redis_server.url, tmp_path) as houses:
        yield houses


def texts(phone: Phone) -> list[str]:
    return [event.body["text"] for event in phone.events if event.kind == "message"]


async def shows(phone: Phone, *expected: str) -> None:
    await phone.until(lambda: texts(phone) == list(expected))


async def test_a_message_reaches_another_phone_and_a_desk_of_another_node(two: Two) -> None:
    here, there = two
    sender = await here.phone()
    other = await there.phone()
    desk = await there.desk()
    await settled(here, there)
    conversation = await sender.open(text="help")
    await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=conversation))
    await settled(here, there)
    await sender.send(conversation, "are you there?")

    await shows(other, "help", "are you there?")
    await desk.until(lambda: [event.seq for event in desk.all(frames.Event)] == [1, 2, 3])
    said = await desk.ask(
        lambda ref: frames.DeskSend(ref=ref, conversation=conversation, id=uuid4(), body=Text(text="yes"))
    )
    assert isinstance(said, frames.Ok), said
    for phone in (sender, other):
        await shows(phone, "help", "are you there?", "yes")
        assert [event.usn for event in phone.events] == [1, 2, 3, 4]


async def test_typing_is_seen_on_the_other_node(two: Two) -> None:
    here, there = two
    phone = await here.phone()
    desk = await there.desk()
    conversation = await phone.open()
    await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=conversation))
    await settled(here, there)
    phone.say(frames.Typing(conversation=conversation, on=True))
    signal = await desk.one(frames.Signal)
    assert (signal.kind, signal.author.type, signal.on) == ("typing", "user", True)  # type: ignore[union-attr]  # set for typing
    desk.say(frames.DeskTyping(conversation=conversation, on=True))

    def typing() -> list[frames.Signal]:
        return [each for each in phone.all(frames.Signal) if each.kind == "typing"]

    await phone.until(lambda: len(typing()) == 1)
    assert typing()[0].author.name == "Robin"


async def test_the_same_device_on_another_node_replaces_the_older_socket(two: Two) -> None:
    here, there = two
    older = await here.phone()
    await settled(here, there)
    newer = Phone(there, "ada", older.device_id)
    await newer.hello()
    await older.until(lambda: older.code() == 4409)
    await newer.synced()
    assert newer.code() is None


async def test_an_erased_users_socket_on_another_node_closes(two: Two) -> None:
    here, there = two
    phone = await here.phone()
    await settled(here, there)
    await there.node.services.people.erase(there.app_id, "ada")
    await phone.until(lambda: phone.code() == 4401)


async def readiness(house: House) -> tuple[int, dict[str, str]]:
    transport = httpx.ASGITransport(house.node.app("test"))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        answer = await client.get("/readyz")
    return answer.status_code, answer.json().get("reasons", {})


async def test_with_redis_dead_health_is_red_and_the_sweep_delivers(database_url: str, tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis:
        async with nodes_on(database_url, redis.url, tmp_path) as (here, there):
            sender, neighbour, other = await here.phone(), await here.phone(), await there.phone()
            await settled(here, there)
            assert await readiness(here) == (200, {})
            conversation = await sender.open(text="help")
            await shows(other, "help")

            redis.kill()
            await wait_red(here, there)
            status, reasons = await readiness(here)
            assert (status, list(reasons)) == (503, ["bus"])
            assert f"Redis at 127.0.0.1:{redis.port}" in reasons["bus"]
            await sender.send(conversation, "still there?")
            await shows(neighbour, "help", "still there?")
            assert texts(other) == ["help"]
            await there.node.sweep.sweep()
            await shows(other, "help", "still there?")

            redis.start()
            await settled(here, there)
            assert await readiness(here) == (200, {})
            await sender.send(conversation, "good")
            await shows(other, "help", "still there?", "good")
            assert [event.usn for event in other.events] == [1, 2, 3, 4]


async def test_a_node_starts_and_serves_without_redis(database_url: str, tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis:
        redis.kill()
        config = Config.load({"HOME": str(tmp_path), "DESKBELL_REDIS_URL": redis.url})
        async with asyncio.timeout(10):
            node = await Node.open(config, FakeClock(), database_url, SECRET, frozenset())
        try:
            house = House(node, _fake(node), (await node.services.apps.create("Kestrel")).app.app_id)
            sender, neighbour = await house.phone(), await house.phone()
            await sender.open(text="help")
            await shows(neighbour, "help")
            assert (await readiness(house))[0] == 503
        finally:
            await node.close()


async def test_a_redis_url_that_cannot_be_used_is_one_line(database_url: str, tmp_path: Path) -> None:
    config = Config.load({"HOME": str(tmp_path), "DESKBELL_REDIS_URL": "redis://:hunter2@h?nonsense=1"})
    with pytest.raises(ConfigError, match="DESKBELL_REDIS_URL: its value will not do: an option") as refused:
        await Node.open(config, FakeClock(), database_url, SECRET, frozenset())
    assert "hunter2" not in str(refused.value)

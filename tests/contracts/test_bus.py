"""What server/bus/interface.py promises, for every implementation. A new bus joins by adding a stage to `STAGES`.

A stage yields the buses of several nodes that hear each other (a bus inside a process has but one), each with all that
it received.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from server.bus.interface import (
    Touched,
    app_channel,
    conversation_channel,
    presence_channel,
    user_channel,
)
from server.bus.memory import MemoryBus
from server.bus.redis import RedisBus
from server.clock import SystemClock
from server.telemetry import get_logger
from tests.server.bus.member import HINTS, touched, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from server.bus.interface import Bus, Channel, Hint

MANY = 500


@dataclass
class Node:
    """`settled`: what it asked for is in place."""

    bus: Bus
    settled: Callable[[], bool]
    heard: list[tuple[Channel, Hint]] = field(default_factory=list)

    def receive(self, channel: Channel, hint: Hint) -> None:
        self.heard.append((channel, hint))

    async def hears(self, *channels: Channel) -> None:
        for channel in channels:
            self.bus.subscribe(channel)
        await until(self.settled)

    async def leaves(self, channel: Channel) -> None:
        self.bus.unsubscribe(channel)
        await until(self.settled)

    async def heard_in_all(self, count: int) -> list[tuple[Channel, Hint]]:
        await until(lambda: len(self.heard) >= count, what=lambda: f"{len(self.heard)} of {count}")
        return self.heard


def in_process() -> list[Node]:
    bus = MemoryBus()
    return [Node(bus, lambda: bus.degraded is None)]


def over_redis(url: str) -> list[Node]:
    def node() -> Node:
        bus = RedisBus(url, SystemClock(), CollectorRegistry(), get_logger("tests.contracts.bus"))
        return Node(bus, lambda: bus.settled)

    return [node(), node()]


STAGES = ("memory", "redis", "redis cluster")


@pytest.fixture(params=STAGES)
def idle(request: pytest.FixtureRequest) -> list[Node]:
    """Nodes that are not started yet."""
    if request.param == "memory":
        return in_process()
    server = request.getfixturevalue("redis_server" if request.param == "redis" else "redis_cluster")
    return over_redis(server.url)


@pytest.fixture
async def nodes(idle: list[Node]) -> AsyncIterator[list[Node]]:
    async with contextlib.AsyncExitStack() as closing:
        for node in idle:
            await node.bus.start(node.receive)
            closing.push_async_callback(node.bus.close)
        for node in idle:
            await until(node.settled)
        yield idle


def same_slot() -> tuple[Channel, Channel]:
    """Two channels whose hints stay in order on any Redis: once the second's is there, the first's is over."""
    key = uuid4()
    return app_channel(key), conversation_channel(key)


@pytest.mark.parametrize("hint", HINTS, ids=lambda hint: type(hint).__name__)
async def test_a_hint_arrives_as_it_was_everywhere(nodes: list[Node], hint: Hint) -> None:
    channel = user_channel(uuid4(), uuid4())
    for node in nodes:
        await node.hears(channel)
    nodes[0].bus.publish([(channel, hint)])
    for node in nodes:
        assert await node.heard_in_all(1) == [(channel, hint)]


async def test_the_publisher_hears_itself_once(nodes: list[Node]) -> None:
    # A second round after the first has come back from wherever it went: a copy would stand between the two.
    channel = user_channel(uuid4(), uuid4())
    for node in nodes:
        await node.hears(channel)
    for rev in range(3):
        nodes[0].bus.publish([(channel, touched(rev))])
        for node in nodes:
            await node.heard_in_all(rev + 1)
    for node in nodes:
        assert [hint.rev for _, hint in node.heard if isinstance(hint, Touched)] == [0, 1, 2]


async def test_only_what_is_subscribed_is_heard(nodes: list[Node]) -> None:
    other, channel = same_slot()
    for node in nodes:
        await node.hears(channel)
    hint = touched()
    nodes[0].bus.publish([(other, touched()), (channel, hint)])
    for node in nodes:
        assert await node.heard_in_all(1) == [(channel, hint)]


async def test_nothing_is_heard_after_leaving(nodes: list[Node]) -> None:
    left, channel = same_slot()
    for node in nodes:
        await node.hears(left, channel)
        await node.leaves(left)
    hint = touched()
    nodes[0].bus.publish([(left, touched()), (channel, hint)])
    for node in nodes:
        assert await node.heard_in_all(1) == [(channel, hint)]


async def test_twice_is_once(nodes: list[Node]) -> None:
    channel, after = same_slot()
    for node in nodes:
        await node.hears(channel, channel, after)
        await node.hears(channel)
    nodes[0].bus.publish([(channel, touched(1)), (after, touched(2))])
    for node in nodes:
        assert [got for got, _ in await node.heard_in_all(2)] == [channel, after]
        await node.leaves(channel)
        await node.leaves(channel)
    nodes[0].bus.publish([(channel, touched(3)), (after, touched(4))])
    for node in nodes:
        assert [got for got, _ in await node.heard_in_all(3)] == [channel, after, after]


async def test_leaving_and_coming_back_hears(nodes: list[Node]) -> None:
    channel = presence_channel(uuid4())
    for node in nodes:
        for _ in range(20):
            node.bus.subscribe(channel)
            node.bus.unsubscribe(channel)
        await node.hears(channel)
    nodes[0].bus.publish([(channel, touched())])
    for node in nodes:
        await node.heard_in_all(1)


async def test_one_publishers_hints_on_a_channel_stay_in_order(nodes: list[Node]) -> None:
    channel = user_channel(uuid4(), uuid4())
    elsewhere = [user_channel(uuid4(), uuid4()) for _ in range(10)]
    for node in nodes:
        await node.hears(channel)
    for rev in range(0, MANY, 5):
        nodes[0].bus.publish([(channel, touched(each)) for each in range(rev, rev + 5)])
        nodes[0].bus.publish([(elsewhere[rev % 10], touched())])
    for node in nodes:
        heard = await node.heard_in_all(MANY)
        assert [hint.rev for _, hint in heard if isinstance(hint, Touched)] == list(range(MANY))


async def test_each_channel_gets_its_own(nodes: list[Node]) -> None:
    channels = {user_channel(uuid4(), uuid4()): rev for rev in range(MANY)}
    for node in nodes:
        await node.hears(*channels)
    nodes[-1].bus.publish([(channel, touched(rev)) for channel, rev in channels.items()])
    for node in nodes:
        heard = await node.heard_in_all(MANY)
        assert {channel: hint.rev for channel, hint in heard if isinstance(hint, Touched)} == channels


async def test_publishing_does_not_run_receivers(nodes: list[Node]) -> None:
    channel = app_channel(UUID(int=9))
    await nodes[0].hears(channel)
    nodes[0].bus.publish([(channel, touched())])
    assert nodes[0].heard == []
    await nodes[0].heard_in_all(1)


def is_unwell(node: Node) -> bool:
    return bool(node.bus.degraded)


async def test_health_through_its_life(idle: list[Node]) -> None:
    node = idle[0]
    channel = app_channel(uuid4())
    assert is_unwell(node)
    node.bus.publish([(channel, touched())])
    await node.bus.start(node.receive)
    await node.hears(channel)
    assert not is_unwell(node)
    node.bus.publish([(channel, touched())])
    await node.bus.close()
    assert is_unwell(node)
    heard = list(node.heard)
    node.bus.publish([(channel, touched())])
    node.bus.subscribe(app_channel(uuid4()))
    node.bus.unsubscribe(channel)
    await node.bus.close()
    assert node.heard == heard

"""Many channels, slow readers, queues that fill: everything has an end, and what is given up is counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from server.bus import redis_voice
from server.bus.interface import Committed, app_channel, user_channel
from server.bus.redis_line import Door
from server.bus.redis_numbers import BusNumbers
from server.bus.redis_voice import MOST_QUEUED, MOST_QUEUED_BYTES, WORTH_S, Voice
from server.bus.redis_wire import name_of
from tests.server.bus.deaf_proxy import DeafProxy
from tests.server.bus.member import Member, event, member_of, touched, until
from tests.support.clock import FakeClock
from tests.support.redis import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.bus.interface import Channel
    from tests.support.redis import RedisForTests

MANY = 10_000


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisForTests]:
    """A server that this test may ruin."""
    with running_redis(tmp_path) as server:
        yield server


def subscribed(server: RedisForTests) -> int:
    return len(server.ask("PUBSUB", "CHANNELS", "deskbell:2:u:*").splitlines())


async def test_ten_thousand_channels_and_again_after_a_restart(own_redis: RedisForTests) -> None:
    channels = [user_channel(uuid4(), uuid4()) for _ in range(MANY)]
    async with member_of(own_redis.url) as speaker, member_of(own_redis.url) as listener:
        for channel in channels:
            listener.bus.subscribe(channel)
        await listener.settled()
        await speaker.settled()
        speaker.bus.publish([(channel, touched(1)) for channel in channels])
        await until(lambda: len(listener.heard) == MANY, what=lambda: len(listener.heard))
        assert {channel for channel, _ in listener.heard} == set(channels)
        assert [speaker.number("hints_dropped_total", why=why) for why in ("full", "late", "lost")] == [0, 0, 0]

        for channel in channels[::2]:
            listener.bus.unsubscribe(channel)
        await listener.settled()
        assert subscribed(own_redis) == MANY // 2
        own_redis.kill()
        await asyncio.gather(speaker.unwell(), listener.unwell())
        for channel in channels[1::4]:
            listener.bus.unsubscribe(channel)
        own_redis.start()
        await listener.well()
        assert listener.bus.settled  # health is green only once it hears everything again
        await speaker.settled()
        assert subscribed(own_redis) == MANY // 4
        listener.heard.clear()
        speaker.bus.publish([(channel, touched(2)) for channel in channels])
        await until(lambda: len(listener.heard) >= MANY // 4)
        assert {channel for channel, _ in listener.heard} == set(channels[3::4])


async def test_a_slow_subscriber_is_cut_off_by_redis_and_comes_back(own_redis: RedisForTests) -> None:
    own_redis.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 256kb 1")
    channel = app_channel(uuid4())
    async with (
        DeafProxy(own_redis.port).listening() as proxy,
        member_of(proxy.url) as slow,
        member_of(own_redis.url) as quick,
        member_of(own_redis.url) as speaker,
    ):
        for member in (slow, quick):
            member.bus.subscribe(channel)
        for member in (slow, quick, speaker):
            await member.settled()
        proxy.stall()
        connections = slow.number("connections_total")
        heard = 0
        while slow.bus.degraded is None:
            speaker.bus.publish(
                [(channel, Committed(uuid4(), uuid4(), (event(body=bytes(16_000)),), "h")) for _ in range(50)]
            )
            heard += 50
            await until(lambda heard=heard: len(quick.heard) == heard)  # type: ignore[misc]  # mypy cannot type a lambda's default
        assert quick.bus.degraded is None
        assert speaker.bus.degraded is None
        proxy.heal()
        await slow.settled()
        assert slow.number("connections_total") > connections
        speaker.bus.publish([(channel, touched(7))])
        await until(lambda: 7 in slow.revs)


async def test_while_redis_is_away_nothing_grows(own_redis: RedisForTests) -> None:
    async with member_of(own_redis.url) as member:
        await member.settled()
        own_redis.freeze()
        hints = [(app_channel(uuid4()), touched())] * MOST_QUEUED
        for _ in range(3):
            member.bus.publish(hints)
        assert member.number("hints_dropped_total", why="full") >= 2 * MOST_QUEUED
        for _ in range(5_000):
            channel = user_channel(uuid4(), uuid4())
            member.bus.subscribe(channel)
            member.bus.unsubscribe(channel)
        (shard,) = member.bus._shards.values()
        held = (
            shard.ear._changed,
            shard.ear._wanted,
            shard.ear._asked,
            member.bus._channels,
            member.bus._local._channels,
        )
        assert max(map(len, held)) < 1_000
        own_redis.thaw()
        await member.settled()
        assert own_redis.ask("PUBSUB", "CHANNELS", "deskbell:2:u:*") == ""


class Publisher:
    """A voice that was never connected: what it would send is looked at from outside."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = CollectorRegistry()

        def nothing(_reason: str = "") -> None: ...

        self.voice = Voice(
            Door("redis://127.0.0.1:1"),
            None,
            b"12345678",
            self.clock,
            BusNumbers(self.registry),
            sharded=False,
            trouble=nothing,
            back=nothing,
            refused=nothing,
            moved=nothing,
        )

    def dropped(self, why: str) -> float:
        return self.registry.get_sample_value("deskbell_bus_hints_dropped_total", {"why": why}) or 0.0


def test_the_oldest_goes_first() -> None:
    publisher = Publisher()
    for number in range(MOST_QUEUED + 5):
        publisher.voice.say(b"channel", b"%d" % number)
    assert publisher.dropped("full") == 5
    assert publisher.voice._take()[0][1][0] == b"5"


def test_large_hints_fill_it_as_well() -> None:
    publisher = Publisher()
    large = bytes(MOST_QUEUED_BYTES // 4)
    for _ in range(6):
        publisher.voice.say(b"channel", large)
    assert publisher.dropped("full") == 2
    assert len(publisher.voice._queue) == 4


def test_what_waited_too_long_is_not_sent() -> None:
    publisher = Publisher()
    publisher.voice.say(b"channel", b"old")
    publisher.clock.move(WORTH_S + 0.1)
    publisher.voice.say(b"channel", b"new")
    assert publisher.voice._take() == [(b"channel", [b"new"])]
    assert publisher.dropped("late") == 1
    assert publisher.voice._queued_bytes == 0


def test_one_packet_a_channel_up_to_a_size() -> None:
    publisher = Publisher()
    half = bytes(redis_voice.PACKET_BYTES // 2)
    for name, hint in ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", half), (b"a", half), (b"b", b"4")):
        publisher.voice.say(name, hint)
    packets = publisher.voice._take()
    assert packets == [(b"a", [b"1", b"3", half]), (b"b", [b"2", b"4"]), (b"a", [half])]


def test_a_pipeline_has_an_end() -> None:
    publisher = Publisher()
    for _ in range(redis_voice.BATCH_HINTS + 1):
        publisher.voice.say(b"a", b"1")
    assert len(publisher.voice._take()[0][1]) == redis_voice.BATCH_HINTS
    assert len(publisher.voice._take()[0][1]) == 1
    assert publisher.voice._take() == []


async def test_a_hint_that_cannot_be_written_is_dropped_alone(redis_server: RedisForTests) -> None:
    channel = app_channel(uuid4())
    async with member_of(redis_server.url) as speaker, member_of(redis_server.url) as listener:
        listener.bus.subscribe(channel)
        await listener.settled()
        await speaker.settled()
        speaker.bus.publish([(channel, touched(1)), (channel, touched(2**70)), (channel, touched(3))])
        await until(lambda: listener.revs == [1, 3], what=lambda: listener.revs)
        assert speaker.number("hints_dropped_total", why="lost") == 1


async def test_a_reader_that_fails_deafens_nobody(redis_server: RedisForTests) -> None:
    channel = app_channel(uuid4())
    async with member_of(redis_server.url) as speaker:
        listener = Member(redis_server.url)

        def fails_first(where: Channel, _hint: object) -> None:
            if not listener.heard:
                listener.heard.append((where, touched(0)))
                raise KeyError("a reader's own fault")
            listener.receive(where, touched(2))

        await listener.bus.start(fails_first)
        try:
            listener.bus.subscribe(channel)
            await listener.settled()
            await speaker.settled()
            speaker.bus.publish([(channel, touched(1)), (channel, touched(2))])
            await until(lambda: listener.revs == [0, 2])
        finally:
            await listener.bus.close()


async def test_rubbish_on_a_channel_is_counted(redis_server: RedisForTests) -> None:
    channel = app_channel(uuid4())
    async with member_of(redis_server.url) as speaker, member_of(redis_server.url) as listener:
        listener.bus.subscribe(channel)
        await listener.settled()
        await speaker.settled()
        assert redis_server.ask("PUBLISH", name_of(channel).decode(), "not one of ours") == "1"
        speaker.bus.publish([(channel, touched(5))])
        await until(lambda: listener.revs == [5])
        assert listener.number("hints_dropped_total", why="unreadable") == 1


async def test_the_last_words_of_a_node_that_leaves(redis_server: RedisForTests) -> None:
    channel = app_channel(uuid4())
    async with member_of(redis_server.url) as listener:
        listener.bus.subscribe(channel)
        await listener.settled()
        async with member_of(redis_server.url) as leaving:
            await leaving.settled()
            leaving.bus.publish([(channel, touched(rev)) for rev in range(2_000)])
        await until(lambda: listener.revs == list(range(2_000)), what=lambda: len(listener.revs))

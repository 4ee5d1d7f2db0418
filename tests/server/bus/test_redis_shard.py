"""Probes by a clock in the test's hand, so that the times the bus promises are checked exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from structlog.testing import capture_logs

from server.bus import redis_line, redis_shard
from server.bus.interface import app_channel
from server.bus.redis_shard import PROBE_EVERY_S, PROBE_WITHIN_S, STALL_S, TICK_S
from tests.server.bus.deaf_proxy import DeafProxy
from tests.server.bus.member import Member, member_of, touched, until
from tests.support.clock import FakeClock
from tests.support.redis import running_redis

if TYPE_CHECKING:
    from pathlib import Path

    from server.bus.redis_shard import Shard
    from tests.support.redis import RedisForTests


def shard_of(member: Member) -> Shard:
    (shard,) = member.bus._shards.values()
    return shard


async def probed(member: Member, clock: FakeClock) -> None:
    """Wait until a probe is out, moving the clock as the bus would wait."""

    def out() -> bool:
        if shard_of(member)._nonce is None:
            clock.move(TICK_S)
        return shard_of(member)._nonce is not None

    await until(out)


def test_the_times_add_up_to_less_than_three_seconds() -> None:
    # Just after a good probe Redis goes deaf: the next one, its patience, and the look that finds it late.
    assert PROBE_EVERY_S + PROBE_WITHIN_S + 2 * TICK_S < 3
    # What is seen by not being answered: a connection that hangs is given up and made again well within that time.
    assert max(redis_line.ANSWER_WITHIN_S, redis_line.SEND_WITHIN_S) + PROBE_EVERY_S < 3
    assert redis_line.CONNECT_WITHIN_S + max(redis_shard.TICK_S, 0.25) < 1.5


async def test_deaf_is_found_when_its_time_is_over_and_not_before(redis_server: RedisForTests) -> None:
    clock = FakeClock()
    async with DeafProxy(redis_server.port).listening() as proxy, member_of(proxy.url, clock) as member:
        await member.settled()
        proxy.deafen()
        began = clock.monotonic()
        while member.bus.degraded is None:
            assert clock.monotonic() - began < 3
            if shard_of(member)._nonce is not None:
                await until(lambda: shard_of(member).voice.probe_taken)
            await clock.advance(TICK_S)
        assert clock.monotonic() - began >= PROBE_WITHIN_S
        assert "subscribed but deaf" in member.bus.degraded


async def test_every_probe_is_new_and_only_the_newest_counts(redis_server: RedisForTests) -> None:
    clock = FakeClock()
    async with DeafProxy(redis_server.port).listening() as proxy, member_of(proxy.url, clock) as member:
        await member.settled()
        proxy.deafen()
        await probed(member, clock)
        shard = shard_of(member)
        nonce = shard._nonce
        assert nonce is not None
        shard._take(shard.probe_name, b"of another time")
        assert shard._nonce == nonce
        shard._take(shard.probe_name, nonce)
        await probed(member, clock)
        assert shard._nonce not in (None, nonce)


async def test_a_process_that_stood_still_blames_itself(redis_server: RedisForTests) -> None:
    clock = FakeClock()
    async with DeafProxy(redis_server.port).listening() as proxy, member_of(proxy.url, clock) as member:
        await member.settled()
        proxy.deafen()
        await probed(member, clock)
        await clock.advance(0.0)
        clock.move(PROBE_WITHIN_S * 10)  # nobody ran meanwhile: the watch wakes once, far too late
        await clock.advance(TICK_S)
        assert member.bus.degraded is None
        assert STALL_S < PROBE_WITHIN_S
        while member.bus.degraded is None:  # and then has the time that everybody has
            await clock.advance(TICK_S)


async def test_trouble_is_logged_once_and_so_is_its_end(tmp_path: Path) -> None:
    with capture_logs() as lines, running_redis(tmp_path) as server:
        async with DeafProxy(server.port).listening() as proxy, member_of(proxy.url) as member:
            await member.settled()
            server.kill()
            await member.unwell()
            accepted = proxy.accepted
            await until(lambda: proxy.accepted > accepted + 5)
            server.start()
            await member.well()
    said = [line["event"] for line in lines if line["log_level"] in ("info", "warning")]
    hears, deaf = "the bus hears Redis", "the bus does not hear Redis; the sweep delivers meanwhile"
    assert [event for event in said if event in (hears, deaf)] == [hears, deaf, hears]


async def test_subscriptions_change_while_the_connection_does(redis_server: RedisForTests) -> None:
    channels = [app_channel(uuid4()) for _ in range(300)]
    async with member_of(redis_server.url) as speaker, member_of(redis_server.url) as listener:
        await speaker.settled()
        await listener.settled()
        for number, channel in enumerate(channels):
            listener.bus.subscribe(channel)
            if number % 50 == 0:
                shard_of(listener).ear.cut("the test")
                await until(lambda: shard_of(listener).ear._line is None)
            if number % 3 == 0:
                listener.bus.unsubscribe(channel)
        await listener.settled()
        speaker.bus.publish([(channel, touched(number)) for number, channel in enumerate(channels)])
        await until(lambda: len(listener.heard) == 200, what=lambda: len(listener.heard))
        assert sorted(listener.revs) == [number for number in range(300) if number % 3]


async def test_a_new_connection_is_ready_only_when_it_hears_everything(redis_server: RedisForTests) -> None:
    async with member_of(redis_server.url) as member:
        for _ in range(3_000):
            member.bus.subscribe(app_channel(uuid4()))
        await member.settled()
        ear = shard_of(member).ear
        ready, held = ear._ready, list[bool]()

        def spy() -> None:
            held.append(ear._held >= ear._wanted)
            ready()

        ear._ready = spy
        ear.cut("the test")
        await until(lambda: held)
        assert held == [True]
        await member.settled()

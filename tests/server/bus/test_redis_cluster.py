"""A Redis Cluster: the work is spread over its shards, a lost shard is lost alone, and slots may move.

These tests ruin the cluster and mend it again: making one takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from server.bus.interface import user_channel
from server.bus.redis_wire import name_of, slot_of
from tests.server.bus.member import member_of, touched, until
from tests.support.redis import SLOTS, RedisForTests

if TYPE_CHECKING:
    from pathlib import Path

    from server.bus.interface import Channel
    from tests.support.redis import RedisClusterForTests


def shard_number(channel: Channel) -> int:
    return slot_of(name_of(channel)) * 3 // SLOTS


def heard_by(node: RedisForTests) -> set[str]:
    """Names of subscribed channels of this suite, the probes left out."""
    names = node.ask("PUBSUB", "SHARDCHANNELS", "deskbell:2:u:*").splitlines()
    return {name for name in names if name}


async def test_channels_are_spread_over_the_shards(redis_cluster: RedisClusterForTests) -> None:
    channels = [user_channel(uuid4(), uuid4()) for _ in range(300)]
    async with member_of(redis_cluster.url) as speaker, member_of(redis_cluster.url) as listener:
        for channel in channels:
            listener.bus.subscribe(channel)
        await listener.settled()
        await speaker.settled()
        names = {name_of(channel).decode() for channel in channels}
        held = [heard_by(node) & names for node in redis_cluster.nodes]
        assert all(len(each) > 50 for each in held)
        assert sum(map(len, held)) == 300
        assert redis_cluster.nodes[0].ask("PUBSUB", "CHANNELS") == ""
        speaker.bus.publish([(channel, touched(rev)) for rev, channel in enumerate(channels)])
        await until(lambda: sorted(listener.revs) == list(range(300)), what=lambda: len(listener.revs))


async def test_a_dead_shard_is_named_and_the_others_go_on(redis_cluster: RedisClusterForTests) -> None:
    channels = [user_channel(uuid4(), uuid4()) for _ in range(60)]
    alive = [channel for channel in channels if shard_number(channel) != 1]
    dead = redis_cluster.nodes[1]
    async with member_of(redis_cluster.url) as speaker, member_of(redis_cluster.url) as listener:
        for channel in channels:
            listener.bus.subscribe(channel)
        await listener.settled()
        await speaker.settled()
        dead.kill()
        for member in (speaker, listener):
            await member.unwell()
            assert f":{dead.port}" in str(member.bus.degraded)
        speaker.bus.publish([(channel, touched(1)) for channel in channels])
        await until(lambda: len(listener.heard) == len(alive), what=lambda: listener.bus.degraded)
        assert {channel for channel, _ in listener.heard} == set(alive)
        dead.start()
        for member in (speaker, listener):
            await member.well()
        await listener.settled()
        speaker.bus.publish([(channel, touched(2)) for channel in channels])
        await until(lambda: listener.revs.count(2) == len(channels), what=lambda: listener.revs.count(2))


async def test_another_server_of_the_cluster_tells_the_way(redis_cluster: RedisClusterForTests) -> None:
    async with member_of(redis_cluster.url) as member:
        await member.settled()
        redis_cluster.nodes[0].freeze()  # the one that the URL names
        await member.unwell()
        assert f":{redis_cluster.nodes[0].port}" in str(member.bus.degraded)
        redis_cluster.nodes[0].thaw()
        await member.well()
        await member.settled()


async def test_slots_that_move_take_their_channels_along(redis_cluster: RedisClusterForTests) -> None:
    channel = user_channel(uuid4(), uuid4())
    slot, source = slot_of(name_of(channel)), redis_cluster.nodes[shard_number(channel)]
    target = next(node for node in redis_cluster.nodes if node is not source)
    async with member_of(redis_cluster.url) as speaker, member_of(redis_cluster.url) as listener:
        listener.bus.subscribe(channel)
        await listener.settled()
        await speaker.settled()
        there = target.ask("CLUSTER", "MYID")
        for node in (target, *(node for node in redis_cluster.nodes if node is not target)):
            node.ask("CLUSTER", "SETSLOT", str(slot), "NODE", there)
        rev = 0

        def heard() -> bool:
            nonlocal rev
            rev += 1
            speaker.bus.publish([(channel, touched(rev))])
            return name_of(channel).decode() in heard_by(target) and bool(listener.revs)

        await until(heard)
        await speaker.settled()
        await listener.settled()
        assert listener.revs == sorted(set(listener.revs))
        lost = speaker.number("hints_dropped_total", why="lost")
        later = list(range(rev + 1, rev + 21))
        speaker.bus.publish([(channel, touched(each)) for each in later])
        await until(lambda: listener.revs[-20:] == later, what=lambda: listener.revs)
        assert speaker.number("hints_dropped_total", why="lost") == lost


async def test_a_cluster_without_slots_is_no_cluster_yet(tmp_path: Path) -> None:
    node = RedisForTests(tmp_path / "lonely", "--cluster-enabled", "yes")
    try:
        node.start()
        async with member_of(node.url) as member:
            await until(lambda: "no slots" in str(member.bus.degraded), what=lambda: member.bus.degraded)
            member.bus.publish([(user_channel(uuid4(), uuid4()), touched())])
            node.ask("CLUSTER", "ADDSLOTSRANGE", "0", str(SLOTS - 1))
            await member.well()
    finally:
        node.kill()

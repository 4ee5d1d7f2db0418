"""How fast the Redis bus publishes, beside bare pipelined PUBLISH in one run: `python -m tests.server.bus.measure`.

Not a test: it prints. Everything runs on this machine: server, publisher and a listening node share its cores.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from redis.asyncio import Redis

from server.bus.interface import Committed, user_channel
from server.bus.redis_wire import encode, name_of, pack
from tests.server.bus.member import event, member_of
from tests.support.redis import running_redis

if TYPE_CHECKING:
    from server.bus.interface import Channel, Hint
    from tests.server.bus.member import Member

HINTS = 60_000
PIPELINE = 100
BATCH_EVENTS = 50
ROUNDS = 3
BODY = b'{"kind":"text","text":"' + b"x" * 150 + b'"}'
PACED, PACED_EVERY_S = 1_000, 0.002


def hint(events: int) -> tuple[Channel, Hint]:
    app_id, user_id = uuid4(), uuid4()
    return user_channel(app_id, user_id), Committed(
        app_id, user_id, tuple(event(seq, BODY) for seq in range(1, events + 1)), "h"
    )


async def bare(client: Redis, hints: list[tuple[Channel, Hint]]) -> float:
    """PUBLISH a second of redis-py's pipelines, names and packets made beforehand."""
    ready = [(name_of(channel), pack(b"measured", [encode(each)])) for channel, each in hints]
    began = time.perf_counter()
    for _ in range(HINTS // len(ready)):
        for start in range(0, len(ready), PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for name, packet in ready[start : start + PIPELINE]:
                pipeline.publish(name, packet)
            await pipeline.execute()
    return HINTS / (time.perf_counter() - began)


async def through_the_bus(member: Member, hints: list[tuple[Channel, Hint]], total: int) -> float:
    """Hints a second from `publish` to Redis' answer, encoding included."""
    (shard,) = member.bus._shards.values()
    began = time.perf_counter()
    for _ in range(total // len(hints)):
        for start in range(0, len(hints), PIPELINE):
            member.bus.publish(hints[start : start + PIPELINE])
        await shard.voice.emptied()
    return total / (time.perf_counter() - began)


async def latencies(speaker: Member, listener: Member) -> list[float]:
    """Seconds from `publish` on one node to `receive` on another, paced."""
    channel, each = hint(1)
    listener.bus.subscribe(channel)
    await listener.settled()
    took: list[float] = []
    for _ in range(PACED):
        listener.heard.clear()
        began = time.perf_counter()
        speaker.bus.publish([(channel, each)])
        while not listener.heard:
            await asyncio.sleep(0)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(PACED_EVERY_S)
    return took


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as server:
        single = [hint(1) for _ in range(1_000)]
        batches = [hint(BATCH_EVENTS) for _ in range(200)]
        same = [(single[0][0], each) for _, each in single]
        client = Redis.from_url(server.url)
        rows: list[tuple[float, float, float, float]] = []
        async with client, member_of(server.url) as speaker, member_of(server.url) as listener:
            await speaker.settled()
            await listener.settled()
            for _ in range(ROUNDS):
                row = (
                    await bare(client, single),
                    await through_the_bus(speaker, single, HINTS),
                    await through_the_bus(speaker, same, HINTS),
                    await through_the_bus(speaker, batches, 4_000) * BATCH_EVENTS,
                )
                rows.append(row)
            ceiling, spread, together, events = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"bare PUBLISH, redis-py pipelines of {PIPELINE}: {ceiling:,.0f} /s")
            print(f"bus, a hint a channel:          {spread:,.0f} hints/s, {spread / ceiling:.2f} of bare")
            print(f"bus, all on one channel:        {together:,.0f} hints/s, {together / ceiling:.2f} of bare")
            print(f"bus, {BATCH_EVENTS} events a hint:         {events:,.0f} events/s, {events / ceiling:.2f} of bare")
            took = sorted(await latencies(speaker, listener))
            middle, late = took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000
            print(f"one hint from node to node:     p50 {middle:.2f} ms, p99 {late:.2f} ms")
            dropped = sum(speaker.number("hints_dropped_total", why=why) for why in ("full", "late", "lost"))
            print(f"dropped: {dropped:.0f}")


if __name__ == "__main__":
    asyncio.run(main())

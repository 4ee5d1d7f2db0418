"""The bus between nodes: Redis pub/sub. How it works and what it promises: docs/bus.md.

Redis carries hints only and is never waited for. Readers on this node get them in the process; what goes through Redis
is for the other nodes. On one server it is plain pub/sub, on a Redis Cluster sharded pub/sub: each channel lives on the
shard of its slot, so shards share the work.

The way of a hint: `redis_wire` (bytes) → `redis_voice` (queue, pipeline) → Redis → `redis_ear` (connection) → here.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from server.bus.memory import MemoryBus
from server.bus.redis_line import Door, LineDown
from server.bus.redis_numbers import BusNumbers
from server.bus.redis_shard import SAY_GOODBYE_WITHIN_S, Shard
from server.bus.redis_topology import SLOTS, discover
from server.bus.redis_wire import ORIGIN_BYTES, encode, name_of, probe_name, slot_of, unpack
from server.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry
    from structlog.typing import FilteringBoundLogger

    from server.bus.interface import Channel, Hint
    from server.bus.redis_line import Address
    from server.bus.redis_topology import Topology
    from server.clock import Clock

ASK_AGAIN_S = 0.5
"""Between looks at the topology while something is wrong."""


class RedisBus:
    """`url`: redis://, rediss:// or unix://, with redis-py's options in its query; one server or any of a cluster.

    Raises ValueError for a URL that cannot be used. Nothing else raises: trouble shows in `degraded` and the log.
    """

    def __init__(self, url: str, clock: Clock, registry: CollectorRegistry, log: FilteringBoundLogger) -> None:
        self._door = Door(url)
        self._clock = clock
        self._log = log
        self._numbers = BusNumbers(registry)
        self._origin = secrets.token_bytes(ORIGIN_BYTES)
        self._tasks = Tasks(log, clock)
        self._local = MemoryBus()
        self._receive: Callable[[Channel, Hint], None] | None = None
        self._channels: dict[bytes, Channel] = {}
        self._topology: Topology | None = None
        self._shards: dict[Address | None, Shard] = {}
        self._stale = asyncio.Event()
        self._trouble: str | None = "the bus is not started"

    async def start(self, receive: Callable[[Channel, Hint], None]) -> None:
        """Returns at once: whether Redis is there is told by `degraded`."""
        self._receive = receive
        self._trouble = f"Redis at {self._door.describe(None)} has not been heard yet"
        await self._local.start(receive)
        self._tasks.start("bus topology", self._keep_topology, restart=True)

    def publish(self, hints: Sequence[tuple[Channel, Hint]]) -> None:
        if self._receive is None:
            return
        self._local.publish(hints)
        for channel, hint in hints:
            name = name_of(channel)
            shard = self._shard_of(name)
            if shard is None:
                self._numbers.lost.inc()
                continue
            try:
                encoded = encode(hint)
            except Exception:  # one hint that cannot be written must not take its neighbours, nor the commit's caller
                self._numbers.lost.inc()
                self._log.exception("a hint cannot be encoded", channel=channel, hint=type(hint).__name__)
                continue
            shard.voice.say(name, encoded)

    def reaches(self, channel: Channel) -> bool:
        return True  # who listens on other nodes, Redis alone knows

    def subscribe(self, channel: Channel) -> None:
        self._local.subscribe(channel)
        name = name_of(channel)
        if name not in self._channels:
            self._channels[name] = channel
            shard = self._shard_of(name)
            if shard is not None:
                shard.ear.want(name)

    def unsubscribe(self, channel: Channel) -> None:
        self._local.unsubscribe(channel)
        name = name_of(channel)
        if self._channels.pop(name, None) is not None:
            shard = self._shard_of(name)
            if shard is not None:
                shard.ear.leave(name)

    @property
    def degraded(self) -> str | None:
        if self._trouble is not None:
            return self._trouble
        return next((shard.trouble for shard in self._shards.values() if shard.trouble is not None), None)

    @property
    def settled(self) -> bool:
        """Well, and Redis has confirmed that this node hears exactly the channels it is subscribed to."""
        return self.degraded is None and all(shard.settled for shard in self._shards.values())

    async def close(self) -> None:
        """What waits gets a moment to leave: the last commits of a node that goes away are news to the others."""
        self._receive = None
        await self._local.close()
        if self.degraded is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAY_GOODBYE_WITHIN_S):
                    for shard in self._shards.values():
                        await shard.voice.emptied()
        self._trouble = "the bus is closed"
        await self._tasks.close()
        for shard in self._shards.values():
            await shard.close()
        self._shards.clear()

    def _shard_of(self, name: bytes) -> Shard | None:
        if self._topology is None:
            return None
        try:
            # A slot costs a checksum over the name, and one server owns them all.
            return self._shards[self._topology.owner(slot_of(name)) if self._topology.sharded else None]
        except LookupError:
            return None

    # -- what comes in -------------------------------------------------------------------------------------

    def _heard(self, name: bytes, packet: bytes) -> None:
        channel = self._channels.get(name)
        if channel is None or packet.startswith(self._origin):
            return
        hints, unreadable = unpack(packet)
        self._numbers.received.inc(len(hints))
        if unreadable:
            self._numbers.unreadable.inc(unreadable)
        for hint in hints:
            if self._receive is None or name not in self._channels:
                return
            try:
                self._receive(channel, hint)
            except Exception:  # a reader's fault must not deafen all the others
                self._log.exception("a hint was not taken", channel=channel, hint=type(hint).__name__)

    # -- the servers ---------------------------------------------------------------------------------------

    async def _keep_topology(self) -> None:
        """Find out who is there, and again whenever a server breaks or sends us elsewhere."""
        while True:
            self._stale.clear()
            try:
                found = await discover(self._door, self._shards)
            except LineDown as problem:
                if self._trouble is None or not self._shards:
                    self._log.warning("the bus finds no Redis", why=str(problem))
                self._trouble = str(problem)
                self._stale.set()
            else:
                await self._adopt(found)
                self._trouble = None
            await self._clock.sleep(ASK_AGAIN_S)
            await self._stale.wait()

    async def _adopt(self, topology: Topology) -> None:
        if topology.sharded and -1 in topology.owners:
            self._log.warning("slots of the Redis Cluster are served by nobody")
        gone = {
            address: shard
            for address, shard in self._shards.items()
            if address not in topology.addresses or not topology.serves(address, shard.probe_name)
        }
        for address in gone:
            del self._shards[address]
        new = [address for address in topology.addresses if address not in self._shards]
        for address in new:
            self._shards[address] = self._shard(topology, address)
        self._topology = topology
        self._place_channels()
        for address in new:
            self._shards[address].start()
        for shard in gone.values():
            await shard.close()

    def _shard(self, topology: Topology, address: Address | None) -> Shard:
        names = (probe_name(self._origin, number) for number in range(SLOTS * 100))
        return Shard(
            self._door,
            address,
            self._origin,
            self._clock,
            self._numbers,
            self._log,
            sharded=topology.sharded,
            probe_name=next(name for name in names if topology.serves(address, name)),
            heard=self._heard,
            moved=self._stale.set,
        )

    def _place_channels(self) -> None:
        placed: dict[Shard, set[bytes]] = {shard: set() for shard in self._shards.values()}
        for name in self._channels:
            shard = self._shard_of(name)
            if shard is not None:
                placed[shard].add(name)
        for shard, names in placed.items():
            shard.ear.want_exactly(names)

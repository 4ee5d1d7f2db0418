"""Which servers there are: one Redis, or the shards of a Redis Cluster and their slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.bus.redis_line import LineDown
from server.bus.redis_wire import slot_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.bus.redis_line import Address, Door, Line

SLOTS = 16384
OLDEST, OLDEST_CLUSTER = (6, 2), (7, 0)


class Topology:
    """`addresses`: the primaries, or None for the one server of the URL. `owners`: slot → index into `addresses`;
    -1 where no server serves it."""

    def __init__(self, addresses: tuple[Address | None, ...], owners: list[int], *, sharded: bool) -> None:
        self.addresses = addresses
        self.sharded = sharded
        self.owners = owners

    @classmethod
    def single(cls) -> Topology:
        return cls((None,), [0] * SLOTS, sharded=False)

    def owner(self, slot: int) -> Address | None:
        """Whose the slot is. Raises LookupError where no server serves it."""
        index = self.owners[slot]
        if index < 0:
            raise LookupError(f"no server of the Redis Cluster serves slot {slot}")
        return self.addresses[index]

    def serves(self, address: Address | None, name: bytes) -> bool:
        """Is the channel's slot at this address?"""
        index = self.owners[slot_of(name)]
        return index >= 0 and self.addresses[index] == address


async def discover(door: Door, known: Iterable[Address | None]) -> Topology:
    """Ask the URL's server, else one of `known`. Raises LineDown with the first one's trouble when nobody answers,
    or when what is there will not do: too old, a replica."""
    first: LineDown | None = None
    for address in dict.fromkeys((None, *known)):
        try:
            line = await door.open(address)
        except LineDown as problem:
            first = first or problem
            continue
        try:
            return await _ask(line, address[0] if address else door.host)
        except LineDown as problem:
            first = first or problem
        finally:
            await line.close()
    assert first is not None, "the URL's own server is always asked"
    raise first


async def _ask(line: Line, host: str) -> Topology:
    # One section at a time: 6.2 knows no more.
    info = {section: _fields(await line.ask(b"INFO", section)) for section in (b"server", b"cluster", b"replication")}
    version = info[b"server"].get("redis_version", "0")  # Valkey says the version of Redis it equals
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if info[b"cluster"].get("cluster_enabled") != "1":
        if numbers < OLDEST:
            raise LineDown(f"Redis at {line.place} is {version}: 6.2 or newer is needed")
        if info[b"replication"].get("role") == "slave":
            # What is published on a replica reaches its own subscribers only: nodes would not hear each other.
            raise LineDown(f"Redis at {line.place} is a replica: name its primary in DESKBELL_REDIS_URL")
        return Topology.single()
    if numbers < OLDEST_CLUSTER:
        raise LineDown(f"the Redis Cluster at {line.place} is {version}: sharded pub/sub needs 7.0 or newer")
    addresses: dict[Address, int] = {}
    owners = [-1] * SLOTS
    for start, end, primary, *_ in await line.ask(b"CLUSTER", b"SLOTS"):
        named = primary[0].decode() if primary[0] else ""
        # Empty or "?": this server does not know under which name it was reached.
        address = (named if named not in ("", "?") else host, int(primary[1]))
        index = addresses.setdefault(address, len(addresses))
        owners[start : end + 1] = [index] * (end + 1 - start)
    if not addresses:
        raise LineDown(f"the Redis Cluster at {line.place} has no slots assigned yet")
    return Topology(tuple(addresses), owners, sharded=True)


def _fields(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, separator, value in lines if separator}

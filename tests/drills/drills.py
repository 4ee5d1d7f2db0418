"""The drills themselves; see `__main__.py`. Everything is bounded in time, and ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx

from tests.drills.phone import DrillPhone, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.faults.cluster import Cluster

CONNECT_WITHIN_S = 300.0
SETTLE_WITHIN_S = 60.0
NEVER = 10**9


class Field:
    """Phones on a cluster, two a user, on different nodes where nothing else is asked for."""

    def __init__(self, cluster: Cluster, seed: int, users: int, devices: int = 2) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.tally = Tally()
        self.phones: list[list[DrillPhone]] = []
        self._tasks: list[asyncio.Task[None]] = []
        for user in range(users):
            token = cluster.user_token(f"drill-{seed}-{user}")
            sent_at: dict[str, float] = {}
            self.phones.append(
                [
                    DrillPhone(
                        self.tally, token, self._from(user + device), sent_at, random.Random(f"{seed}{user}{device}")
                    )
                    for device in range(devices)
                ]
            )

    def _from(self, first: int) -> Callable[[], str]:
        """First to one node, then, as behind a balancer, to any that is listening."""
        turns = iter([first % 3])

        def node() -> str:
            number = next(turns, None)
            if number is None:
                number = self.rng.randrange(3)
            return f"ws://127.0.0.1:{self.cluster.nodes[number].port}"

        return node

    @property
    def all(self) -> list[DrillPhone]:
        return [phone for phones in self.phones for phone in phones]

    async def connect(self, at_once: int = 200) -> None:
        """Everybody comes, `at_once` at a time, and the first phone of each user opens a conversation."""
        everybody = self.all
        for start in range(0, len(everybody), at_once):
            chunk = everybody[start : start + at_once]
            self._tasks += [asyncio.create_task(phone.run()) for phone in chunk]
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await asyncio.gather(*(phone.live.wait() for phone in chunk))
            _progress(f"connected {start + len(chunk)} of {len(everybody)}")
        for start in range(0, len(self.phones), at_once):
            await asyncio.gather(*(phones[0].open() for phones in self.phones[start : start + at_once]))

    async def load(self, rate: float, until: Callable[[], bool]) -> None:
        """Messages at random moments, `rate` a second on the average, each by the first phone of a random user."""
        due = time.monotonic()
        while not until():
            due += self.rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self.rng.choice(self.phones)[0].send()

    async def settle(self) -> int:
        """Wait until every send is answered; returns how many are not."""
        deadline = time.monotonic() + SETTLE_WITHIN_S
        while (left := sum(len(phone.waiting) for phone in self.all)) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        return left

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def field(cluster: Cluster, seed: int, users: int, devices: int = 2) -> AsyncIterator[Field]:
    made = Field(cluster, seed, users, devices)
    try:
        await made.connect()
        yield made
    finally:
        await made.stop()


async def latency(
    cluster: Cluster, seed: int, sockets: int = 400, seconds: float = 20, rate: float = 500
) -> dict[str, Any]:
    """Redis alive: every message to a phone on another node."""
    async with field(cluster, seed, sockets // 2) as all_of_them:
        end = time.monotonic() + seconds
        await all_of_them.load(rate, lambda: time.monotonic() >= end)
        failed = await all_of_them.settle()
        return _figures(all_of_them, failed) | {"sockets": sockets, "rate": f"{rate:g} messages/s for {seconds:g} s"}


async def redis_dead(
    cluster: Cluster, seed: int, sockets: int = 200, seconds: float = 20, rate: float = 50
) -> dict[str, Any]:
    """Redis killed: the sweep delivers, and finds revocations."""
    assert cluster.redis is not None
    async with field(cluster, seed, sockets // 2) as all_of_them:
        cluster.redis.kill()
        end = time.monotonic() + seconds
        await all_of_them.load(rate, lambda: time.monotonic() >= end)
        failed = await all_of_them.settle()
        figures = _figures(all_of_them, failed)
        revoked = await _revoke(all_of_them, seed, range(min(25, sockets // 2)))
        ready = [await node.answers("/readyz") for node in cluster.nodes]
        await asyncio.to_thread(cluster.redis.start)
        back = time.monotonic() + 30
        while not all([await node.answers("/readyz") for node in cluster.nodes]) and time.monotonic() < back:
            await asyncio.sleep(0.1)
        green = [await node.answers("/readyz") for node in cluster.nodes]
        return figures | {
            "revocation p50 / max s": f"{_share(revoked, 50):.2f} / {max(revoked):.2f}",
            "nodes ready while Redis is dead": sum(ready),
            "nodes ready with Redis back": sum(green),
            "sockets": sockets,
            "rate": f"{rate:g} messages/s for {seconds:g} s",
        }


async def _revoke(all_of_them: Field, seed: int, users: range) -> list[float]:
    """Revoke at the first node and see how long each socket on the others lives on."""
    url = f"http://127.0.0.1:{all_of_them.cluster.nodes[0].port}"
    took = []
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {all_of_them.cluster.server_key}"}) as server:
        for user in users:
            asked = time.monotonic()
            answer = await server.delete(f"{url}/v1/users/drill-{seed}-{user}/tokens")
            answer.raise_for_status()
            phones = all_of_them.phones[user]
            while any(phone.closed_with != 4401 for phone in phones) and time.monotonic() < asked + 30:
                await asyncio.sleep(0.005)
            took.append(
                max((phone.closed_at if phone.closed_with == 4401 else asked + NEVER) for phone in phones) - asked
            )
    return took


async def rolling(
    cluster: Cluster, seed: int, sockets: int = 2000, seconds: float = 5, rate: float = 300
) -> dict[str, Any]:
    """Every node in turn: SIGTERM, wait for its end, start it again, wait until it is ready, go on after `seconds`."""
    async with field(cluster, seed, sockets // 2) as all_of_them:
        done = asyncio.Event()
        loading = asyncio.create_task(all_of_them.load(rate, done.is_set))
        before = len(all_of_them.tally.connected_at)
        exits, drains = [], []
        for number, node in enumerate(cluster.nodes):
            await asyncio.sleep(seconds)
            _progress(f"restarting node {number}")
            asked = time.monotonic()
            node.signal(signal.SIGTERM)
            exits.append(await node.ended())
            drains.append(time.monotonic() - asked)
            node.start()
            assert await node.ready()
        await asyncio.sleep(seconds)
        done.set()
        await loading
        failed = await all_of_them.settle()
        reconnects = sorted(all_of_them.tally.connected_at[before:])
        return _figures(all_of_them, failed) | {
            "exit codes": exits,
            "drain s": [round(drain, 1) for drain in drains],
            "reconnects": len(reconnects),
            "most reconnects in a second": _busiest(reconnects),
            "refused handshakes": all_of_them.tally.refused_handshakes,
            "sockets": sockets,
            "rate": f"{rate:g} messages/s",
        }


async def storm(
    cluster: Cluster, seed: int, sockets: int = 10_000, seconds: float = 60, rate: float = 20
) -> dict[str, Any]:
    """One node of three is killed with all its sockets."""
    async with field(cluster, seed, sockets, devices=1) as all_of_them:
        database = await asyncpg.connect(cluster.postgres.dsn)
        calm = await _statements(database, 5.0)
        done = asyncio.Event()
        loading = asyncio.create_task(all_of_them.load(rate, done.is_set))
        lost = sum(1 for phone in all_of_them.all if phone.live.is_set()) // 3
        before = len(all_of_them.tally.connected_at)
        killed = time.monotonic()
        await cluster.kill_node(0)
        busiest = 0.0
        back = None
        while time.monotonic() < killed + seconds + SETTLE_WITHIN_S:
            busiest = max(busiest, await _statements(database, 1.0))
            live = sum(phone.live.is_set() for phone in all_of_them.all)
            _progress(f"{live} of {sockets} connected {time.monotonic() - killed:.0f} s after the kill")
            if live == sockets:
                back = time.monotonic() - killed
                break
        done.set()
        await loading
        failed = await all_of_them.settle()
        await database.close()
        reconnects = sorted(all_of_them.tally.connected_at[before:])
        figures = _figures(all_of_them, failed)
        if back is None:
            figures["violations"] = [*figures["violations"], "not everybody came back"]
        return figures | {
            "sockets": sockets,
            "lost with the node, about": lost,
            "all back after s": round(back, 1) if back else None,
            "most reconnects in a second": _busiest(reconnects),
            "refused handshakes": all_of_them.tally.refused_handshakes,
            "transactions/s before": round(calm),
            "transactions/s at the worst": round(busiest),
        }


async def _statements(database: asyncpg.Connection[asyncpg.Record], seconds: float) -> float:
    """Transactions a second of the whole database, over `seconds`."""
    query = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
    await database.execute("select pg_stat_clear_snapshot()")
    began, first = time.monotonic(), await database.fetchval(query)
    await asyncio.sleep(seconds)
    await database.execute("select pg_stat_clear_snapshot()")
    return float((await database.fetchval(query) - first) / (time.monotonic() - began))


def _figures(all_of_them: Field, failed: int) -> dict[str, Any]:
    tally = all_of_them.tally
    violations = tally.violations[:20]
    if failed:
        violations.append(f"{failed} sends were never answered")
    return {
        "sent": tally.sent,
        "answered": len(tally.answered),
        "failed sends": failed,
        "violations": violations,
        "ok p50 / p99 ms": f"{_share(tally.answered, 50) * 1000:.1f} / {_share(tally.answered, 99) * 1000:.1f}",
        "delivery p50 / p99 ms": f"{_share(tally.delivered, 50) * 1000:.1f} / {_share(tally.delivered, 99) * 1000:.1f}",
        "deliveries": len(tally.delivered),
    }


def _share(values: list[float], percent: float) -> float:
    """The percentile by nearest rank; nan for nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _busiest(moments: list[float]) -> int:
    """The most of them within any one second."""
    most = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def _progress(line: str) -> None:
    sys.stderr.write(line + "\n")


DRILLS = {"latency": latency, "redis-dead": redis_dead, "rolling": rolling, "storm": storm}

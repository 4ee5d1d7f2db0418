"""The safety net under the bus (protocol.md, S5), and the node's one wheel for deadlines.

Every 1–2 s (jittered) one query asks where the logs of all connected users stand; a lost hint, or a revocation, costs
at most that. The desk's watched conversations and inboxes are looked over in the same way.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable
from server.gateway.desk_connection import DeskConnection
from server.gateway.user_connection import FOREGROUND_LEASE, UserConnection

if TYPE_CHECKING:
    from uuid import UUID

    from server.gateway.house import House

TICK_S = 1.0
SLICES = 20
"""A second's ticks are spread over it: with 20,000 sockets at once they would hold everybody up for 20 ms."""
CHUNK = 5000
LEASE_EVERY_S = 25.0
RECHECK_EVERY_S = 15.0
INBOX_EVERY_S = 5.0
INBOX_OVERLAP = timedelta(seconds=20)
MOST_TOUCHED = 500


class Sweep:
    """Runs as two supervised loops; `late` is how many seconds ago the last whole sweep ended, beyond its turn."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._every = house.config.sockets.sweep_s
        self._swept_at = house.clock.monotonic()
        self._next_lease = self._next_recheck = self._next_inbox = 0.0

    def start(self) -> None:
        self._house.tasks.start("sweep", self._run, restart=True)
        self._house.tasks.start("ticks", self._tick, restart=True)

    @property
    def late(self) -> float:
        """Seconds the sweep is behind its turn; 0 while it is well."""
        return max(0.0, self._house.clock.monotonic() - self._swept_at - 2 * self._every)

    async def _run(self) -> None:
        house = self._house
        while True:
            await house.clock.sleep(self._every * random.uniform(2 / 3, 4 / 3))
            try:
                await self.sweep()
            except Unavailable:
                pass
            else:
                self._swept_at = house.clock.monotonic()
            house.metrics.sweep_late.set(self.late)

    async def _tick(self) -> None:
        house = self._house
        while True:
            connections = tuple(house.connections)
            for number in range(SLICES):
                await house.clock.sleep(TICK_S / SLICES)
                now = house.clock.monotonic()
                for connection in connections[number::SLICES]:
                    if not connection.closed:
                        connection.tick(now)
            del connections
            house.hub.presence.tick()

    async def sweep(self) -> None:
        """Look everything over once. Raises Unavailable when the database is away."""
        now = self._house.clock.monotonic()
        await self._sweep_users()
        await self._sweep_watches()
        if now >= self._next_lease:
            self._next_lease = now + LEASE_EVERY_S
            await self._renew_leases()
        if now >= self._next_inbox:
            self._next_inbox = now + INBOX_EVERY_S
            await self._sweep_inboxes()
        if now >= self._next_recheck:
            self._next_recheck = now + RECHECK_EVERY_S
            for connection in tuple(self._house.connections):
                if isinstance(connection, DeskConnection):
                    connection.recheck()

    async def _sweep_users(self) -> None:
        hub = self._house.hub
        held = list(hub.users)
        if not held:
            return
        history = await self._house.reading.history()
        for start in range(0, len(held), CHUNK):
            chunk = held[start : start + CHUNK]
            standings = {(each.app_id, each.user_id): each for each in await self._house.reading.standings(chunk)}
            for key in chunk:
                standing = standings.get(key)
                for connection in tuple(hub.users.get(key, ())):
                    connection.swept(standing, history)

    async def _sweep_watches(self) -> None:
        desks = [each for each in self._house.connections if isinstance(each, DeskConnection) and each.session.watches]
        places: dict[UUID, tuple[UUID, UUID, UUID]] = {}
        for desk in desks:
            for conversation_id in desk.session.watches:
                if conversation_id not in places and desk.agent is not None:
                    place = await self._house.conversations.locate(desk.agent, conversation_id)
                    places[conversation_id] = (place.app_id, place.user_id, conversation_id)
        if places:
            heads = await self._house.conversations.heads(list(places.values()))
            for desk in desks:
                desk.swept(heads)

    async def _sweep_inboxes(self) -> None:
        apps = list(self._house.hub.inboxes)
        if not apps:
            return
        since = self._house.clock.now() - INBOX_OVERLAP
        for touched in await self._house.conversations.touched_since(apps, since, MOST_TOUCHED):
            for desk in tuple(self._house.hub.inboxes.get(touched.app_id, ())):
                desk.touched(touched)

    async def _renew_leases(self) -> None:
        held = [
            (*connection.key, connection.device_id)
            for connection in tuple(self._house.connections)
            if isinstance(connection, UserConnection)
            and connection.session.foreground
            and connection.hold is not None
            and connection.key is not None
            and connection.device_id is not None
        ]
        if held:
            await self._house.people.keep_foreground(held, FOREGROUND_LEASE)

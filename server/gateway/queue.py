"""Telling those who wait where they stand (protocol.md, `signal queue`).

Every few seconds the node asks, for the apps of its connected customers, who waits and in which order, and how long
answers have taken lately; a customer is told when the answer for its conversation has changed. Ephemeral: a signal that
gets lost is followed by the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from sdk_protocol.frames import Signal
from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from server.gateway.house import House
    from server.services.waiting import Wait

LOOK_S = 3.0


class Queue:
    """One node's look at the queues of the apps it serves."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._told: dict[UUID, tuple[int, int | None, int | None]] = {}

    def start(self) -> None:
        self._house.tasks.start("queue", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            await self._house.clock.sleep(LOOK_S)
            try:
                await self.look()
            except Unavailable:
                continue

    async def look(self) -> None:
        """Look once and tell whom it concerns. Raises Unavailable."""
        hub = self._house.hub
        waiting: dict[UUID, Wait] = {}
        for app_id in {app_id for app_id, _ in hub.users}:
            for wait in await self._house.waiting.of_app(app_id):
                if (wait.app_id, wait.user_id) in hub.users:
                    waiting[wait.conversation_id] = wait
        for wait in waiting.values():
            standing = (wait.position, wait.p50_s, wait.p90_s)
            if self._told.get(wait.conversation_id) != standing:
                self._signal(wait, standing)
        self._told = {
            conversation_id: (wait.position, wait.p50_s, wait.p90_s) for conversation_id, wait in waiting.items()
        }

    def _signal(self, wait: Wait, standing: tuple[int, int | None, int | None]) -> None:
        position, p50, p90 = standing
        signal = Signal(
            kind="queue",
            conversation=wait.conversation_id,
            position=position,
            wait_p50_s=p50 if p50 is not None else UNSET,
            wait_p90_s=p90 if p90 is not None else UNSET,
        )
        for connection in tuple(self._house.hub.users.get((wait.app_id, wait.user_id), ())):
            connection.signal(signal)

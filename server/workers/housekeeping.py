"""What has to be tidied up now and then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from server.clock import Clock
    from server.services.agents import Agents
    from server.tasks import Tasks

EVERY_S = 600.0


class Housekeeping:
    """Forgets console sessions that have run out."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents = agents
        self._clock = clock

    def start(self, tasks: Tasks) -> None:
        tasks.start("housekeeping", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self._agents.forget_expired()
            await self._clock.sleep(EVERY_S)

"""Looks every few seconds whether the planner's picture of our tables is still true (storage/statistics.py)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable
from server.storage import statistics

if TYPE_CHECKING:
    from server.clock import Clock
    from server.storage.database import Database
    from server.tasks import Tasks

EVERY_S = 5.0


class Statistics:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def start(self, tasks: Tasks) -> None:
        tasks.start("statistics", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(EVERY_S)
            with contextlib.suppress(Unavailable):
                await statistics.refresh(self._database)

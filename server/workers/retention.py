"""Trims what is older than the operator wants to keep (`DESKBELL_RETENTION_DAYS`).

The words of a resolved conversation go, its numbers stay: order, density and the uniqueness of client ids are for good.
A phone that comes back with a cursor from before starts from a snapshot (protocol.md, S4).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable
from server.storage import retention

if TYPE_CHECKING:
    from datetime import timedelta

    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.storage.database import Database
    from server.tasks import Tasks

EVERY_S = 600.0
AT_ONCE = 200


class Retention:
    """Runs in every worker; they do not disturb each other, because trimming twice is the same as once."""

    def __init__(self, database: Database, clock: Clock, log: FilteringBoundLogger, keep: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._log = log
        self._keep = keep

    def start(self, tasks: Tasks) -> None:
        tasks.start("retention", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                while await self.step():
                    pass
            await self._clock.sleep(EVERY_S)

    async def step(self) -> int:
        """Trim up to `AT_ONCE` conversations and return how many there were."""
        before = self._clock.now() - self._keep
        places = await retention.expired(self._database, before, AT_ONCE)
        trimmed = 0
        for place in places:
            trimmed += await retention.trim(self._database, place, before)
        if trimmed:
            self._log.info("trimmed old conversations", conversations=trimmed)
        return trimmed

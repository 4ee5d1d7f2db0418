"""Forgets deliveries of webhooks that are old enough, and what is left of deleted endpoints (docs/webhooks.md)."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable
from server.domain.ids import id_before
from server.storage import webhook_outbox, webhooks

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from server.clock import Clock
    from server.storage.database import Database
    from server.tasks import Tasks

EVERY_S = 600.0
AT_ONCE = 500
KEPT = {"delivered": timedelta(days=7), "dead": timedelta(days=30), "pending": timedelta(days=30)}
"""After the event. What waits so long is of an endpoint that is switched off or paused."""
DELETED_FOR = timedelta(hours=1)
"""A batch that was under way when an endpoint was deleted may still have written for it."""


class WebhookRetention:
    """Runs in every worker; deleting twice is the same as once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def start(self, tasks: Tasks) -> None:
        tasks.start("webhook retention", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self.step()
            await self._clock.sleep(EVERY_S)

    async def step(self) -> int:
        """Forget what is old; returns how many deliveries that were."""
        now = self._clock.now()
        forgotten = 0
        for endpoint_id in await webhooks.list_ids(self._database):
            for state, kept in KEPT.items():
                forgotten += await self._purge(endpoint_id, state, now - kept, gone=False)
        for endpoint_id in await webhooks.list_deleted(self._database, now - DELETED_FOR):
            for state in KEPT:
                forgotten += await self._purge(endpoint_id, state, now, gone=True)
            await webhooks.forget(self._database, endpoint_id)
        return forgotten

    async def _purge(self, endpoint_id: UUID, state: str, before: datetime, *, gone: bool) -> int:
        forgotten = 0
        while count := await webhook_outbox.purge(
            self._database, endpoint_id, state, id_before(before), AT_ONCE, gone=gone
        ):
            forgotten += count
        return forgotten

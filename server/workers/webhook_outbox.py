"""The worker that empties the outbox of webhooks (docs/webhooks.md). Any number of processes may run it at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.services.webhook_delivery import WebhookDelivery
    from server.storage.webhook_outbox import Lane
    from server.tasks import Tasks
    from server.telemetry import Metrics

POLL_S = 0.25
AT_ONCE = 256
"""Lanes under way at a time in this process: so many that endpoints which are slow leave room for the others."""
PER_ENDPOINT = 16
"""…and of one endpoint."""


class WebhookOutbox:
    """Claims lanes and delivers them, `AT_ONCE` at a time. After one comes another of the same endpoint."""

    def __init__(self, delivery: WebhookDelivery, clock: Clock, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._delivery = delivery
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._busy: Counter[UUID] = Counter()
        self._tasks: Tasks | None = None

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        tasks.start("webhook outbox", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            if not await self.step():
                self._metrics.webhooks_oldest.set(await self._age())
                await self._clock.sleep(POLL_S)

    async def step(self) -> int:
        """Claim what there is room for and start delivering it. Returns how many lanes were claimed."""
        room = AT_ONCE - self._busy.total()
        if room <= 0 or self._tasks is None:
            return 0
        lanes = await self._claim(room)
        for lane in lanes:
            self._busy[lane.endpoint_id] += 1
            self._tasks.start("webhooks", lambda lane=lane: self._work(lane), restart=False)  # type: ignore[misc]  # mypy cannot type a lambda's default
        return len(lanes)

    async def _work(self, lane: Lane) -> None:
        """Deliver this lane, then others of the same endpoint until none is due."""
        endpoint_id = lane.endpoint_id
        try:
            lanes = [lane]
            while lanes:
                await self._delivery.deliver(lanes[0])
                lanes = await self._claim(1, endpoint_id)
        except Unavailable:
            # Its lease ends, and what was not settled falls due again.
            self._log.warning("webhooks not settled: the database is away", endpoint=str(endpoint_id))
        finally:
            self._busy[endpoint_id] -= 1
            if not self._busy[endpoint_id]:
                del self._busy[endpoint_id]

    async def _claim(self, limit: int, endpoint: UUID | None = None) -> list[Lane]:
        busy = dict(self._busy)
        if endpoint is not None:
            busy[endpoint] -= 1  # the one that asks
        try:
            return await self._delivery.claim(limit, busy=busy, per_endpoint=PER_ENDPOINT, endpoint=endpoint)
        except Unavailable:
            return []

    async def _age(self) -> float:
        try:
            return await self._delivery.oldest_age()
        except Unavailable:
            return 0.0

"""The worker that empties the push outbox (docs/push.md). Any number of processes may run it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.services.notifications import Notifications
    from server.storage.push_outbox import Claim
    from server.tasks import Tasks
    from server.telemetry import Metrics

POLL_S = 0.25
AT_ONCE = 64
"""Pushes under way at a time in this process."""


class PushOutbox:
    """Claims what is due and delivers it, `AT_ONCE` at a time."""

    def __init__(self, notifications: Notifications, clock: Clock, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._notifications = notifications
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._under_way = 0
        self._tasks: Tasks | None = None

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        tasks.start("push outbox", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            taken = await self.step()
            if not taken:
                self._metrics.outbox_oldest.set(await self._age())
                await self._clock.sleep(POLL_S)

    async def step(self) -> int:
        """Claim what there is room for and start delivering it. Returns how many were claimed."""
        room = AT_ONCE - self._under_way
        if room <= 0 or self._tasks is None:
            return 0
        try:
            claims = await self._notifications.claim(room)
        except Unavailable:
            return 0
        for claim in claims:
            self._under_way += 1
            self._tasks.start("push", lambda claim=claim: self._deliver(claim), restart=False)  # type: ignore[misc]  # mypy cannot type a lambda's default
        return len(claims)

    async def _deliver(self, claim: Claim) -> None:
        # Whatever fails here leaves the claim as it is: its lease ends, and the push falls due again.
        try:
            await self._notifications.deliver(claim)
        except Unavailable:
            self._log.warning("push not settled: the database is away", conversation=str(claim.conversation_id))
        finally:
            self._under_way -= 1

    async def _age(self) -> float:
        try:
            return await self._notifications.oldest_age()
        except Unavailable:
            return 0.0

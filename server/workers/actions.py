"""The worker that asks apps' servers for actions (docs/actions.md). Any number of processes may run it at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.services.action_calls import ActionCalls
    from server.storage.actions import Claimed
    from server.tasks import Tasks
    from server.telemetry import Metrics

POLL_S = 0.25
AT_ONCE = 64
"""Calls under way at a time in this process."""
PER_DEFINITION = 16
"""…and of one definition, about: so many that a server which is slow leaves room for the others."""


class ActionWorker:
    """Claims what is due and asks for it, `AT_ONCE` at a time."""

    def __init__(self, calls: ActionCalls, clock: Clock, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._calls = calls
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._busy: Counter[UUID] = Counter()
        self._tasks: Tasks | None = None

    def start(self, tasks: Tasks) -> None:
        self._tasks = tasks
        tasks.start("actions", self._run, restart=True)

    async def _run(self) -> None:
        while True:
            if not await self.step():
                self._metrics.actions_oldest.set(await self._age())
                await self._clock.sleep(POLL_S)

    async def step(self) -> int:
        """Claim what there is room for and start asking. Returns how many were claimed."""
        room = min(AT_ONCE - self._busy.total(), PER_DEFINITION)
        if room <= 0 or self._tasks is None:
            return 0
        full = [definition for definition, calls in self._busy.items() if calls >= PER_DEFINITION]
        try:
            found = await self._calls.claim(room, full)
        except Unavailable:
            return 0
        for claimed in found:
            self._busy[claimed.definition_id] += 1
            self._tasks.start("action", lambda claimed=claimed: self._ask(claimed), restart=False)  # type: ignore[misc]  # mypy cannot type a lambda's default
        return len(found)

    async def _ask(self, claimed: Claimed) -> None:
        try:
            await self._calls.ask(claimed)
        except Unavailable:
            # Its lease ends, and it is asked for again.
            self._log.warning("an action was not settled: the database is away", action=str(claimed.action_id))
        finally:
            self._busy[claimed.definition_id] -= 1
            if not self._busy[claimed.definition_id]:
                del self._busy[claimed.definition_id]

    async def _age(self) -> float:
        try:
            return await self._calls.oldest_age()
        except Unavailable:
            return 0.0

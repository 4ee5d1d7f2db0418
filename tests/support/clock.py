"""A clock that a test moves by hand: nothing sleeps for real, and who wakes when is the test's decision.

clock = FakeClock()
task = asyncio.create_task(worker(clock))
await clock.sleeping()          # until the worker waits
await clock.advance(30)         # 30 s pass; everyone whose time came has run
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
TURNS = 10
"""Turns of the loop that somebody who was woken gets before time goes on."""


class FakeClock:
    """A `server.clock.Clock`. Both clocks stand still until `move` or `advance`; `step_wall` moves only the wall's."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrival = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), wake))
        self._arrival.set()
        await wake

    @property
    def pauses(self) -> list[float]:
        """In how many seconds each sleeper is due, the next one first."""
        return [due - self._monotonic for due, _, wake in sorted(self._sleepers) if not wake.done()]

    async def sleeping(self, count: int = 1, *, within: float = 10.0) -> None:
        """Wait until at least `count` sleep. Raises TimeoutError after `within` real seconds."""
        async with asyncio.timeout(within):
            while len(self.pauses) < count:
                self._arrival.clear()
                await self._arrival.wait()

    def move(self, seconds: float) -> None:
        """Time passes at once. Whoever is due wakes in the order of due times, in the next turn of the loop."""
        self._pass(seconds)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)

    async def advance(self, seconds: float) -> None:
        """Time passes from one due time to the next, and each sleeper runs on before it goes on: one that sleeps
        again wakes again, as often as there is time for. I/O that a sleeper begins is not waited for."""
        until = self._monotonic + seconds
        while pauses := [pause for pause in self.pauses if self._monotonic + pause <= until]:
            self.move(pauses[0])
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self.move(max(0.0, until - self._monotonic))
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def step_wall(self, by: timedelta) -> None:
        """The wall clock alone is set, as NTP or an operator does; nobody wakes."""
        self._now += by

    def _pass(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time does not go back ({seconds}); the wall clock may: use step_wall")
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from server.clock import SystemClock
from server.tasks import Tasks
from server.telemetry import get_logger

log = get_logger(__name__)


class HeldClock:
    """Time that stands until told: `sleep` notes what was asked and waits for `tick`."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self.asleep = asyncio.Event()
        self._wake = asyncio.Event()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.asleep.set()
        await self._wake.wait()
        self._wake.clear()
        self.time += seconds

    async def tick(self) -> None:
        """Let the sleeper of now go on."""
        async with asyncio.timeout(5):
            await self.asleep.wait()
        self.asleep.clear()
        self._wake.set()


async def test_a_task_runs_to_its_end_and_is_forgotten() -> None:
    tasks = Tasks(log, SystemClock())
    done: list[str] = []

    async def work() -> None:
        done.append("done")

    task = tasks.start("one", work, restart=True)
    assert task.get_name() == "one"
    await task
    assert done == ["done"]
    await tasks.close()
    assert len(tasks) == 0


async def test_a_crash_is_logged_and_the_task_is_over() -> None:
    tasks = Tasks(log, SystemClock())

    async def work() -> None:
        raise ValueError("broken")

    with capture_logs() as lines:
        await tasks.start("one", work, restart=False)
    assert [(line["event"], line["task"], line["log_level"]) for line in lines] == [("task crashed", "one", "error")]
    assert tasks.failure is None
    await tasks.close()


async def test_a_loop_that_crashes_starts_again_after_growing_pauses() -> None:
    clock = HeldClock()
    tasks = Tasks(log, clock)
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 10:
            clock.time += 31  # this run was a long and healthy one
        raise ValueError(str(runs))

    with capture_logs() as lines:
        tasks.start("loop", work, restart=True)
        for _ in range(10):
            await clock.tick()
        await asyncio.wait_for(clock.asleep.wait(), 5)
    assert clock.slept == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 0.5, 1]
    assert lines[0]["pause_s"] == 0.5
    assert len(lines) == 11
    await tasks.close()
    assert len(tasks) == 0


async def test_the_crash_of_a_fatal_task_is_told() -> None:
    tasks = Tasks(log, SystemClock())

    async def first() -> None:
        raise ValueError("first")

    async def second() -> None:
        raise ValueError("second")

    with capture_logs():
        waiting = asyncio.ensure_future(tasks.wait_failed())
        await tasks.start("first", first, restart=False, fatal=True)
        await tasks.start("second", second, restart=False, fatal=True)
        assert str(await asyncio.wait_for(waiting, 5)) == "first"
    assert str(tasks.failure) == "first"
    await tasks.close()


async def test_close_waits_for_what_a_task_still_has_to_do() -> None:
    tasks = Tasks(log, SystemClock())
    started = asyncio.Event()
    order: list[str] = []

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("cleaned up")

    tasks.start("one", work, restart=True)
    await started.wait()
    await tasks.close()
    order.append("closed")
    assert order == ["cleaned up", "closed"]
    with pytest.raises(RuntimeError, match="being closed"):
        tasks.start("late", work, restart=False)
    await tasks.close()


async def test_a_crash_while_closing_starts_nothing_again() -> None:
    tasks = Tasks(log, SystemClock())
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("on the way out") from None

    tasks.start("one", work, restart=True)
    await started.wait()
    with capture_logs() as lines:
        await tasks.close()
    assert [line["event"] for line in lines] == ["task crashed"]
    assert len(tasks) == 0


async def test_one_of_the_tasks_may_close_them_all() -> None:
    tasks = Tasks(log, SystemClock())

    async def forever() -> None:
        await asyncio.Event().wait()

    other = tasks.start("forever", forever, restart=True)
    await asyncio.wait_for(tasks.start("closer", tasks.close, restart=False), 5)
    assert other.cancelled()


async def test_a_cancelled_task_stays_cancelled() -> None:
    tasks = Tasks(log, SystemClock())

    async def forever() -> None:
        await asyncio.Event().wait()

    task = tasks.start("forever", forever, restart=True)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(tasks) == 0
    await tasks.close()

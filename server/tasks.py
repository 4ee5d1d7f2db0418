"""Background tasks with an owner. Nothing else in the server calls `create_task`.

A bare task can be garbage-collected while it runs, and its exception is seen by nobody. `Tasks` keeps every task it
started, writes down every crash, starts a loop again after a pause that grows, and at the end cancels and awaits all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock

Work = Callable[[], Coroutine[Any, Any, None]]

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class Tasks:
    """The tasks of one component or one process.

    You must call `close()` before the loop ends. Pauses are taken on `clock`, so a test can hold them.
    """

    def __init__(self, log: FilteringBoundLogger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, work: Work, *, restart: bool, fatal: bool = False) -> asyncio.Task[None]:
        """Run `work()` in the background until it returns.

        `restart`: a crash is logged and `work` is called again after 0.5 s, 1 s, 2 s … 30 s; a run longer than the
        longest pause resets that. Without it a crash is logged and the task is over. `fatal`: a crash without restart
        also ends `wait_failed()`, for what the process cannot live without. The task returned never raises, so it is
        safe to await and to cancel. Raises RuntimeError after `close()` began.
        """
        if self._closing:
            raise RuntimeError(f"task {name!r} refused: the tasks are being closed")
        task = asyncio.get_running_loop().create_task(self._run(name, work, restart, fatal), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    @property
    def failure(self) -> BaseException | None:
        """The first crash of a fatal task."""
        return self._failure

    async def wait_failed(self) -> BaseException:
        """Return once a fatal task crashed, with what it raised."""
        await self._failed.wait()
        assert self._failure is not None
        return self._failure

    async def close(self) -> None:
        """Cancel everything and wait until all of it has ended. Safe to call twice, and from one of the tasks."""
        self._closing = True
        waiting = self._running - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)

    async def _run(self, name: str, work: Work, restart: bool, fatal: bool) -> None:
        pause = FIRST_PAUSE_S
        while True:
            started = self._clock.monotonic()
            try:
                await work()
                return
            except Exception as problem:
                if not restart or self._closing:
                    self._log.exception("task crashed", task=name)
                    if fatal and self._failure is None:
                        self._failure = problem
                        self._failed.set()
                    return
                if self._clock.monotonic() - started > LONGEST_PAUSE_S:
                    pause = FIRST_PAUSE_S
                self._log.exception("task crashed, starting it again", task=name, pause_s=pause)
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

"""`deskbell serve --workers N`: one process that keeps N others, and what they share (docs/operations.md).

The supervisor serves nobody. It holds the listening sockets (`listening.py`), the embedded PostgreSQL and Valkey where
none were given, and one `Slot` for each worker, whose process it starts, and starts again when it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import click
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from server.cli.link import Failed, Leave, Numbers, Page, PageWanted, Ready
from server.cli.listening import SharedPort, base_url
from server.cli.process import EXIT_FAILED, StartError, run_with_database
from server.cli.serving import WATCH_S, Leaving, keep_postgres
from server.cli.slot import Slot, how
from server.cli.sums import Sums, families_of
from server.clock import SystemClock
from server.embedded.valkey import EmbeddedValkey
from server.gateway.drain import FINISH_S
from server.storage.migrate import migrate
from server.tasks import FIRST_PAUSE_S, LONGEST_PAUSE_S, Tasks
from server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from server.cli.link import FromWorker
    from server.config import Config
    from server.embedded.postgres import EmbeddedPostgres

NUMBERS_WITHIN_S = 2.0
LEAVE_WITHIN_S = 20.0
"""How long a worker may take to leave beyond its drain."""
OTHER_CONNECTIONS = 20
"""To the embedded PostgreSQL, beside those of the workers: `deskbell app create`, a psql, PostgreSQL's own reserve."""
MOST_CONNECTIONS = 100
"""What the embedded PostgreSQL has room for anyway."""


def run_workers(config: Config, roles: frozenset[str]) -> None:
    """Serve with `config.process.workers` processes until told to leave. Raises what `one_line` knows."""
    ports = _ports(config, roles)
    needed = config.process.workers * config.database.max_connections + OTHER_CONNECTIONS

    async def work(url: str, embedded: EmbeddedPostgres | None) -> None:
        await Supervisor(config, url, embedded, ports).run()

    try:
        run_with_database(config, work, settings={"max_connections": str(max(needed, MOST_CONNECTIONS))})
    finally:
        for port in ports:
            port.close()


def _ports(config: Config, roles: frozenset[str]) -> list[SharedPort]:
    http, workers = config.http, config.process.workers
    ports = [SharedPort(http.host, http.port, workers)]
    if http.gateway_port is not None and "gateway" in roles:
        ports.append(SharedPort(http.host, http.gateway_port, workers, "--gateway-port"))
    return ports


class Supervisor:
    """Everything that keeps the workers going."""

    def __init__(self, config: Config, url: str, embedded: EmbeddedPostgres | None, ports: list[SharedPort]) -> None:
        self._config = config
        self._url = url
        self._embedded = embedded
        self._ports = ports
        self._clock = SystemClock()
        self._log = get_logger("deskbell.supervisor")
        self._tasks = Tasks(self._log, self._clock)
        self._valkey: EmbeddedValkey | None = None
        self._slots = [
            Slot(number, [port.sockets[number - 1] for port in ports], self._clock)
            for number in range(1, config.process.workers + 1)
        ]
        self._leaving = Leaving()
        self._up = False
        self._trouble: Exception | None = None
        self._news = asyncio.Event()
        self._sums = Sums()
        self._collecting = asyncio.Lock()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._running = Gauge("deskbell_workers", "Workers that listen and answer.", registry=self._registry)
        self._restarts = Counter("deskbell_worker_restarts", "Workers started again.", registry=self._registry)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises StartError when a worker cannot start or does not leave in good order, and
        what starting the rest raises."""
        self._leaving.on_signals(self._tell_to_leave)
        try:
            await migrate(self._url, self._clock, say=self._log.info)
            environ = self._environment()
            if self._embedded is not None:
                self._tasks.start("postgres", partial(self._or_give_up, self._keep_postgres), restart=False)
            if self._valkey is not None:
                self._tasks.start("valkey", self._keep_valkey, restart=True)
            keeping = [
                self._tasks.start(
                    f"worker {slot.number}", partial(self._or_give_up, self._keep, slot, environ), restart=False
                )
                for slot in self._slots
            ]
            while not all(slot.ready for slot in self._slots) and not self._over:
                await self._next_news()
            if not self._over:
                self._up = True
                url = base_url(self._config, self._ports[0].sockets[0])
                click.echo(f"Deskbell listens on {url} (agents: {url}/desk)")
            while not self._over:
                await self._next_news()
            if self._trouble is not None:
                self._leaving.ask()
                self._leaving.ask()
                self._tell_to_leave()
            await self._all_gone(keeping)
            if self._trouble is not None:
                raise self._trouble
        finally:
            for slot in self._slots:
                slot.kill()
            await self._tasks.close()
            if self._valkey is not None:
                self._valkey.stop()

    @property
    def _over(self) -> bool:
        return self._leaving.stop.is_set() or self._trouble is not None

    async def _next_news(self) -> None:
        await self._news.wait()
        self._news.clear()

    def _tell_to_leave(self) -> None:
        for slot in self._slots:
            slot.say(Leave(self._leaving.hurry.is_set()))
        self._news.set()

    async def _all_gone(self, keeping: list[asyncio.Task[None]]) -> None:
        """Wait for the workers' drains, and a while longer; who is still there then will be killed."""
        deadline = self._clock.monotonic() + self._config.sockets.drain_s + FINISH_S + LEAVE_WITHIN_S
        hurried = False
        while not all(task.done() for task in keeping):
            if self._leaving.hurry.is_set() and not hurried:
                hurried = True
                deadline = min(deadline, self._clock.monotonic() + LEAVE_WITHIN_S)
            if self._clock.monotonic() > deadline:
                late = [slot.number for slot in self._slots if slot.pid is not None]
                self._trouble = self._trouble or StartError(f"workers {late} did not leave in time and were killed")
                return
            await asyncio.wait(keeping, timeout=WATCH_S)

    def _environment(self) -> Mapping[str, str]:
        """Of the workers: ours, and where to find what they share."""
        environ = dict(os.environ)
        if self._embedded is not None:
            environ["DESKBELL_DATABASE_URL"] = self._url
        if self._config.redis.url is None:
            log = get_logger("deskbell.valkey")
            self._valkey = EmbeddedValkey(self._config.database.data_dir, log=log.info)
            environ["DESKBELL_REDIS_URL"] = self._valkey.start()
        return environ

    # -- what all share ------------------------------------------------------------------------------------

    async def _keep_postgres(self) -> None:
        assert self._embedded is not None
        await keep_postgres(self._embedded, self._clock, self._log)

    async def _keep_valkey(self) -> None:
        """Start it again whenever it dies. Without it hints are lost and the sweep makes up for them, so a failure to
        is no reason to end: `Tasks` tries again."""
        assert self._valkey is not None
        while True:
            if self._valkey.poll() is not None:
                self._log.error("the embedded Valkey has died; starting it again", last_words=self._valkey.last_words())
                self._valkey.restart()
            await self._clock.sleep(WATCH_S)

    # -- the workers ---------------------------------------------------------------------------------------

    async def _or_give_up(self, keep: Callable[..., Awaitable[None]], *what: object) -> None:
        """Keep something; if that cannot be, all ends."""
        try:
            await keep(*what)
        except Exception as trouble:
            self._trouble = self._trouble or trouble
            self._news.set()

    async def _keep(self, slot: Slot, environ: Mapping[str, str]) -> None:
        """A worker in its place until all leave. Raises StartError when it does not come up the first time."""
        pause = FIRST_PAUSE_S
        while not self._leaving.stop.is_set():
            began = self._clock.monotonic()
            for port in self._ports:
                port.resume(slot.number - 1)
            await slot.start(environ)
            if self._leaving.stop.is_set():
                slot.say(Leave(self._leaving.hurry.is_set()))
            while (said := await slot.hear()) is not None:
                self._heed(slot, said)
            was_ready, status = slot.ready, await slot.ended()
            self._sums.ended(str(slot.number))
            # Told to go by somebody else: a service manager that signals every process, or an operator.
            in_order = status in (0, -signal.SIGTERM)
            if self._leaving.stop.is_set():
                if not in_order:
                    raise StartError(f"worker {slot.number} {how(status)} while it left")
                return
            if not self._up and not in_order:
                raise _failure(slot, status)
            if not was_ready:
                for port in self._ports:
                    port.rest(slot.number - 1)
            if self._clock.monotonic() - began > LONGEST_PAUSE_S:
                pause = FIRST_PAUSE_S
            self._restarts.inc()
            self._log.error(
                "a worker has died; starting it again",
                worker=slot.number,
                how=how(status),
                pause_s=pause,
                **({"last_words": slot.failed.message} if slot.failed is not None else {}),
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._leaving.stop.wait()
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _heed(self, slot: Slot, said: FromWorker) -> None:
        match said:
            case Ready():
                slot.ready = True
                self._news.set()
                if self._up:
                    self._log.info("the worker is back", worker=slot.number, pid=slot.pid)
            case Failed():
                slot.failed = said
            case Numbers(families):
                self._sums.heard(str(slot.number), families)
                slot.numbers_came()
            case PageWanted():
                self._tasks.start("numbers", partial(self._tell_numbers, slot), restart=False)

    async def _tell_numbers(self, slot: Slot) -> None:
        """One page at a time. Who does not answer in time is told by what it said last."""
        async with self._collecting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NUMBERS_WITHIN_S):
                    await asyncio.gather(*(each.ask_numbers() for each in self._slots if each.ready))
            self._running.set(sum(each.ready and each.answered for each in self._slots))
            self._sums.heard("supervisor", families_of(self._registry))
            slot.say(Page(self._sums.page().decode()))


def _failure(slot: Slot, status: int) -> StartError:
    """Why a worker did not come up, in its own words if it had any."""
    if slot.failed is not None:
        return StartError(slot.failed.message, slot.failed.code)
    return StartError(f"worker {slot.number} {how(status)} while it started", max(status, EXIT_FAILED))

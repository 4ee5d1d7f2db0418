"""One of the processes behind `deskbell serve --workers`: a node on inherited sockets, led by a supervisor
(`supervisor.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from server.cli.link import Failed, Leave, Link, NumbersWanted, Page, PageWanted, Ready, for_worker, line_of
from server.cli.link import Numbers as NumbersOf
from server.cli.process import StartError, one_line, run_with_database
from server.cli.serving import Leaving, Listening, serve_node
from server.cli.sums import families_of
from server.clock import SystemClock
from server.domain.errors import Unavailable
from server.tasks import Tasks
from server.telemetry import get_logger

if TYPE_CHECKING:
    from server.cli.link import FromSupervisor
    from server.config import Config
    from server.embedded.postgres import EmbeddedPostgres
    from server.telemetry import Metrics
    from server.wiring import Node

PAGE_WITHIN_S = 5.0


@dataclass(frozen=True)
class Place:
    """Which worker this is, and the descriptors it has inherited: its end of the link, its listening sockets."""

    number: int
    link: int
    all_doors: int
    gateway: int | None

    @classmethod
    def of(cls, option: str) -> Place:
        """From `--as-worker`. Raises StartError for what no supervisor wrote."""
        try:
            number, link, all_doors, *rest = (int(word) for word in option.split(":"))
            for descriptor in (link, all_doors, *rest):
                os.set_inheritable(descriptor, False)
        except (ValueError, OSError):
            raise StartError("--as-worker is for deskbell itself: choose --workers", 2) from None
        return cls(number, link, all_doors, rest[0] if rest else None)

    def __str__(self) -> str:
        """As `--as-worker` takes it."""
        known = (self.number, self.link, self.all_doors, self.gateway)
        return ":".join(str(each) for each in known if each is not None)

    def inherited(self) -> list[int]:
        return [self.link, self.all_doors, *([] if self.gateway is None else [self.gateway])]


def run_worker(config: Config, place: Place, roles: frozenset[str]) -> None:
    """Serve until the supervisor says to leave. What goes wrong at the start is told it instead of the terminal, where
    every worker would say the same."""
    structlog.contextvars.bind_contextvars(worker=place.number)
    # The event loop closes its own: last words are for when there is none any more.
    last_words = os.dup(place.link)

    def tell(message: str, exit_code: int) -> None:
        with contextlib.suppress(OSError):
            os.write(last_words, line_of(Failed(message, exit_code)))

    async def work(url: str, _embedded: EmbeddedPostgres | None) -> None:
        duty = Duty(await Link.open(socket.socket(fileno=place.link), for_worker()))
        gateway = None if place.gateway is None else socket.socket(fileno=place.gateway)
        try:
            await serve_node(
                config,
                url,
                None,
                roles,
                prepare=duty.prepare,
                ready=duty.ready,
                metrics_page=duty.page,
                listening=Listening(socket.socket(fileno=place.all_doors), gateway),
                leaving=duty.leaving,
            )
        finally:
            await duty.close()

    with one_line(tell):
        run_with_database(config, work)


class Duty:
    """What a worker owes its supervisor."""

    def __init__(self, link: Link[FromSupervisor]) -> None:
        self.leaving = Leaving()
        self._link = link
        self._metrics: Metrics | None = None
        self._page: asyncio.Future[bytes] | None = None
        self._tasks = Tasks(get_logger("deskbell.worker"), SystemClock())
        self._tasks.start("link", self._listen, restart=False)

    async def prepare(self, node: Node) -> None:
        self._metrics = node.metrics

    async def ready(self, _node: Node, _base_url: str) -> None:
        self._link.send(Ready())

    async def page(self) -> bytes:
        """/metrics of all workers. Raises Unavailable: numbers of one alone would look like a fall of the sum."""
        if self._page is None:
            self._page = asyncio.get_running_loop().create_future()
            self._link.send(PageWanted())
        try:
            async with asyncio.timeout(PAGE_WITHIN_S):
                return await asyncio.shield(self._page)
        except TimeoutError:
            self._page = None
            raise Unavailable("The numbers of all workers did not come in time.") from None

    async def close(self) -> None:
        """Leave the numbers behind."""
        await self._tasks.close()
        self._say_numbers()
        await self._link.close()

    def _say_numbers(self) -> None:
        self._link.send(NumbersOf(families_of(self._metrics.registry) if self._metrics else []))

    async def _listen(self) -> None:
        while (said := await self._link.read()) is not None:
            match said:
                case Leave(hurry):
                    self.leaving.stop.set()
                    if hurry:
                        self.leaving.hurry.set()
                case NumbersWanted():
                    self._say_numbers()
                case Page(text):
                    waiting, self._page = self._page, None
                    if waiting is not None and not waiting.done():
                        waiting.set_result(text.encode())
        # The supervisor is gone, and with it the databases it keeps. On Linux the kernel has killed us by now; here it
        # is done by hand, because whoever starts the service again needs the ports.
        os._exit(1)

"""The writer alone, without sockets: `python -m tests.benchmarks.writer`.

The full data model on an embedded PostgreSQL with fsync on: users are locked, repeats are looked for, numbers given,
event, summary and heads written, in group commits. Callers wait for their commit before they send the next message, as
sockets do. Between the runs the ceiling is measured: the same number of rows into one bare table with one unique index.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import uvloop

from loadtests import ceilings, meters, report
from loadtests.phone import ids
from server.cli import memory
from server.clock import SystemClock
from server.domain.intents import Message, Post
from server.domain.message import Text, from_struct
from server.embedded.postgres import EmbeddedPostgres, dsn_for
from server.storage import statistics as planner
from server.storage.migrate import migrate
from server.storage.writer import LANES
from tests.server.storage.world import world_on

if TYPE_CHECKING:
    from server.domain.events import Author
    from tests.server.storage.world import World

BODY = "x" * 150
HISTORY = 20
"""Messages of each conversation before it is measured: nobody's log is empty."""


class Caller:
    """Somebody who sends one message after another into one conversation."""

    def __init__(self, world: World, user_id: UUID, conversation_id: UUID, author: Author, seed: int) -> None:
        self._world = world
        self._user_id = user_id
        self._conversation_id = conversation_id
        self._author = author
        self._next = ids(seed)
        self.waited: list[float] = []

    def post(self) -> Post:
        return Post(
            app_id=self._world.app_id,
            user_id=self._user_id,
            conversation_id=self._conversation_id,
            message=Message(UUID(self._next()), self._author, from_struct(Text(text=BODY))),
        )

    async def talk(self, until: float) -> None:
        while (began := time.monotonic()) < until:
            await self._world.writer.append_one(self.post())
            self.waited.append(time.monotonic() - began)


async def measure(url: str, postmaster: int, options: argparse.Namespace) -> dict[str, Any]:
    await migrate(url, SystemClock())
    runs, rows = [], []
    async with world_on(url, lanes=options.lanes) as world:
        callers = await _callers(world, options)
        world.announced.clear()
        world.writer._announce = lambda _written: None
        await planner.refresh(world.database)
        async with world.database.session() as session:
            await session.connection.execute("analyze")
        memory.settle()
        for number in range(options.repeat):
            runs.append(await _run(world, callers, postmaster, options))
            rows.append(await ceilings.bare_insert(url, options.ceiling_seconds))
            sys.stderr.write(f"run {number + 1}: {runs[-1]['messages/s']:,} messages/s, bare {rows[-1]:,.0f} rows/s\n")
    figures = report.medians(runs)
    figures["ceiling: bare rows/s"] = round(statistics.median(rows))
    figures["messages/s to bare rows/s"] = round(
        statistics.median(run["messages/s"] / row for run, row in zip(runs, rows, strict=True)), 3
    )
    return figures


async def _callers(world: World, options: argparse.Namespace) -> list[Caller]:
    places = []
    for number in range(options.conversations):
        user_id = await world.user(f"user-{number}")
        conversation_id, _ = await world.open(user_id)
        places.append((user_id, conversation_id, world.author(user_id)))
    callers = [Caller(world, *places[number % len(places)], number) for number in range(options.callers)]
    for _ in range(HISTORY):
        await world.writer.append([caller.post() for caller in callers[: options.conversations]])
    return callers


async def _run(world: World, callers: list[Caller], postmaster: int, options: argparse.Namespace) -> dict[str, Any]:
    for caller in callers:
        caller.waited.clear()
    commits = world.writer._metrics.commits._value
    before, postgres, own = commits.get(), _postgres_cpu(postmaster), time.process_time()
    began = time.monotonic()
    await asyncio.gather(*[caller.talk(began + options.seconds) for caller in callers])
    took = time.monotonic() - began
    waited = [seconds for caller in callers for seconds in caller.waited]
    return {
        "messages/s": round(len(waited) / took),
        "messages a commit": round(len(waited) / max(1, commits.get() - before), 1),
        "PostgreSQL CPU us/message": round((_postgres_cpu(postmaster) - postgres) / len(waited) * 1e6, 1),
        "our CPU us/message": round((time.process_time() - own) / len(waited) * 1e6, 1),
        "commit ms": report.percentiles(waited),
    }


def _postgres_cpu(postmaster: int) -> float:
    return meters.cost(postmaster).postgres


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    report.add_options(parser)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--callers", type=int, default=600, help="who wait for a commit at the same time")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--lanes", type=int, default=LANES)
    parser.add_argument("--ceiling-seconds", type=float, default=3.0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deskbell-writer-"))
    postgres = EmbeddedPostgres(folder / "data")
    postgres.start()
    try:
        postmaster = int(next(folder.rglob("postmaster.pid")).read_text().split()[0])
        url = dsn_for(postgres.socket_directory, 5432, "deskbell")
        figures = uvloop.run(measure(url, postmaster, options))
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    report.show(f"the writer alone, {options.callers} callers, median of {options.repeat}", figures, options)


if __name__ == "__main__":
    main()

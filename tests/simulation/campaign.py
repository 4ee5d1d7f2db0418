"""Many seeds over several processes, and what came of them."""

from __future__ import annotations

import gc
import multiprocessing
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.known import KNOWN
from tests.simulation.weather import plan_of
from tests.simulation.world import run

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 50


class Found(NamedTuple):
    """A rule that a seed has broken."""

    seed: int
    rule: str
    text: str

    @property
    def known(self) -> bool:
        return self.rule in KNOWN


class Chunk(NamedTuple):
    """What some seeds came to. `virtual`: the seconds they lasted, on their own clocks."""

    seeds: int
    steps: int
    virtual: float
    counts: dict[str, int]
    found: list[Found]


def run_chunk(seeds: range) -> Chunk:
    """Run them one after the other. The same seeds give the same answer anywhere."""
    counts: dict[str, int] = {}
    found: list[Found] = []
    steps, virtual = 0, 0.0
    # A run is one knot of cycles that dies as a whole: collecting between runs is a tenth of the work.
    gc.disable()
    try:
        for seed in seeds:
            finding, world = run(plan_of(seed))
            steps += world.timeline.steps
            virtual += world.now
            for what, count in world.counts.items():
                counts[what] = counts.get(what, 0) + count
            found += [Found(seed, rule, text) for rule, text in world.oracle.notes.items()]
            if finding is not None:
                found.append(Found(seed, finding.rule, finding.text))
    finally:
        gc.enable()
        gc.collect()
    return Chunk(len(seeds), steps, virtual, counts, found)


def chunks(start: int, count: int, jobs: int) -> Iterator[Chunk]:
    """Run `count` seeds from `start` on, over `jobs` processes; chunks come as they are done."""
    parts = [range(at, min(at + CHUNK, start + count)) for at in range(start, start + count, CHUNK)]
    if jobs == 1:
        yield from map(run_chunk, parts)
        return
    # Forked, so that the modules need not be read again; nothing here has threads.
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_chunk, parts)

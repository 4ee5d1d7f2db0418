"""`python -m tests.simulation`: run seeds, or tell the story of one.

    python -m tests.simulation --seeds 100000 --start 0 --jobs 2
    python -m tests.simulation --story 1238

Exits with 1 if a rule is broken; what is listed in `known.KNOWN` is shown and counts only with `--strict`.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.campaign import Found, chunks
from tests.simulation.known import KNOWN
from tests.simulation.shrink import shrunk
from tests.simulation.weather import plan_of
from tests.simulation.world import run

PROGRESS_EVERY_S = 1.0
SHOWN = 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--start", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--strict", action="store_true", help="what is known to be wrong fails as well")
    parser.add_argument("--story", type=int, metavar="SEED", help="run one seed, made smaller if it fails, and tell it")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1 or chosen.jobs < 1:
        parser.error("--seeds and --jobs are at least 1")
    if chosen.story is not None:
        return tell(chosen.story, None)
    return campaign(chosen.start, chosen.seeds, chosen.jobs, chosen.strict)


def campaign(start: int, seeds: int, jobs: int, strict: bool) -> int:
    """Run them, print what was exercised and what was found. Returns the exit code."""
    began = shown = time.monotonic()
    done, steps, virtual = 0, 0, 0.0
    counts: dict[str, int] = {}
    found: list[Found] = []
    for chunk in chunks(start, seeds, jobs):
        done += chunk.seeds
        steps += chunk.steps
        virtual += chunk.virtual
        found += chunk.found
        for what, count in chunk.counts.items():
            counts[what] = counts.get(what, 0) + count
        now = time.monotonic()
        if now - shown >= PROGRESS_EVERY_S and sys.stderr.isatty():
            shown = now
            _progress(done, seeds, now - began, found)
    took = time.monotonic() - began
    if sys.stderr.isatty():
        print(file=sys.stderr)
    _table(counts)
    print(f"\n{done:,} seeds from {start} in {took:.1f} s: {done / took:.1f} seeds/s over {jobs} processes")
    print(f"{steps:,} steps, {virtual / 3600:.1f} hours of virtual time")
    _list("known to be wrong", [each for each in found if each.known])
    fatal = [each for each in found if strict or not each.known]
    _list("broken", [each for each in fatal if not each.known])
    if not fatal:
        print(f"\nno violation that is not known ({len({each.seed for each in found})} seeds show a known one)")
        return 0
    first = min(fatal)
    print(f"\nthe smallest failing seed, {first.seed}, made smaller:\n")
    tell(first.seed, first.rule)
    return 1


def tell(seed: int, rule: str | None) -> int:
    """Print one run line by line; if it fails, a smaller one that fails in the same way. Returns the exit code."""
    plan = plan_of(seed)
    if rule is None:
        finding, world = run(plan)
        rule = finding.rule if finding is not None else next(iter(world.oracle.notes), None)
    if rule is not None:
        smaller = shrunk(plan, rule)
        print(f"{len(plan.acts)} acts made {len(smaller.acts)}; broken: {rule}")
        plan = smaller
    print(plan.climate)
    finding, world = run(plan, tracing=True)
    print("\n".join(world.story or ()))
    for name, text in world.oracle.notes.items():
        print(f"NOTED {name}: {text}")
    return 0 if finding is None and not world.oracle.notes else 1


def _progress(done: int, seeds: int, took: float, found: list[Found]) -> None:
    width = 30
    bar = "#" * (width * done // seeds)
    left = took / done * (seeds - done)
    failing = len({each.seed for each in found if not each.known})
    line = f"[{bar:<{width}}] {done:,}/{seeds:,}  {done / took:.0f} seeds/s  {left:.0f} s left  {failing} failing"
    print(f"\r{line}", end="", file=sys.stderr, flush=True)


def _table(counts: dict[str, int]) -> None:
    """What was exercised, two columns."""
    names = sorted(counts)
    half = (len(names) + 1) // 2
    for row in range(half):
        cells = [f"{counts[name]:>12,}  {name:<36}" for name in names[row::half]]
        print("".join(cells).rstrip())


def _list(title: str, found: list[Found]) -> None:
    if not found:
        return
    print(f"\n{title}:")
    for rule in dict.fromkeys(each.rule for each in sorted(found)):
        those = sorted(each for each in found if each.rule == rule)
        seeds = ", ".join(str(each.seed) for each in those[:SHOWN])
        print(f"  {rule} ({len(those)} seeds, first {seeds})")
        print(f"    {those[0].text}")
        if rule in KNOWN:
            print(f"    {KNOWN[rule]}")


if __name__ == "__main__":
    sys.exit(main())

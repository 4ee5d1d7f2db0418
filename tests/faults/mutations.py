"""The mutation gate: `python -m tests.faults.mutations [--only NAME]`. A checker that cannot fail proves nothing.

Each fault of `planted_node.PLANTS` is planted in all nodes of a cluster of its own; schedules run until the checker
finds what this fault breaks, at most `--schedules` of them. The last line is `7/7` when all were found.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.campaign import campaign
from tests.faults.findings import Kind
from tests.faults.planted_node import PLANTS
from tests.faults.schedule import Size

if TYPE_CHECKING:
    from collections.abc import Callable

MEDIUM = Size(seconds=2.0, users=4, devices=3, heavy=1, light=2, calm=0.5, longest=1.0)
PATIENCE_S = 15.0
MODULE = "tests.faults.planted_node"

SHOWS: dict[str, frozenset[Kind]] = {
    "ack before commit": frozenset({Kind.LOST, Kind.STALE, Kind.MISPLACED}),
    "cursor over a sequence": frozenset({Kind.GAP}),
    "idempotency with a lifetime": frozenset({Kind.DUPLICATE}),
    "no sweep": frozenset({Kind.UNDELIVERED}),
    "push decided by presence": frozenset({Kind.PUSH}),
    "flow control that drops": frozenset({Kind.GAP}),
    "resume off by one": frozenset({Kind.GAP}),
}
"""What must be found for a fault to count as caught; other findings beside it do not matter."""
WITHOUT_REDIS = frozenset({"no sweep"})
"""Where a bus between the nodes would hide the fault until it loses something."""


class Caught(NamedTuple):
    """`seed` of the schedule that showed it, after `schedules`; None: it was not caught."""

    mutation: str
    seed: int | None
    schedules: int
    shown: str


def gate(
    mutation: str,
    *,
    seed: int,
    schedules: int,
    nodes: int = 3,
    size: Size = MEDIUM,
    patience: float = PATIENCE_S,
    say: Callable[[str], None],
) -> Caught:
    """Plant one fault and run schedules until it shows."""
    report = campaign(
        seed,
        schedules,
        nodes=nodes,
        redis=mutation not in WITHOUT_REDIS,
        size=size,
        patience=patience,
        planted=(MODULE, "--mutation", mutation),
        stop_when=SHOWS[mutation],
        say=say,
    )
    for failed, found in report.failed.items():
        for each in found:
            if each.get("kind") in SHOWS[mutation]:
                return Caught(mutation, failed, report.schedules, f"{each['kind']}: {each['message']}")
    return Caught(mutation, None, report.schedules, "not found")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutations", description="See the top of its source.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedules", type=int, default=12, help="at most, for each fault")
    parser.add_argument("--only", choices=sorted(PLANTS), help="one fault")
    parser.add_argument("--verbose", action="store_true", help="every schedule and finding")
    chosen = parser.parse_args(arguments)
    caught = 0
    planted = [chosen.only] if chosen.only else list(PLANTS)
    for mutation in planted:
        say = print if chosen.verbose else lambda _line: None
        result = gate(mutation, seed=chosen.seed, schedules=chosen.schedules, say=say)
        caught += result.seed is not None
        verdict = f"caught by seed {result.seed}" if result.seed is not None else "NOT CAUGHT"
        print(f"{mutation:<28} {verdict} after {result.schedules} schedules: {result.shown}", flush=True)
    print(f"{caught}/{len(planted)}")
    return 0 if caught == len(planted) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The fault campaign: `python -m tests.faults.campaign --seed S --schedules N --nodes 3 [--report FILE]`.

Schedule number i has the seed S + i; `--seed (S + i) --schedules 1` runs it again. The plan of a schedule depends on
its seed alone; how the processes interleave does not, so a failure may need a few tries to show itself again.
Histories of schedules that fail are kept in `--keep`, and `python -m tests.faults.checker FOLDER` judges them again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.cluster import MainThread, running_cluster
from tests.faults.history import save
from tests.faults.report import Report, add_to
from tests.faults.run import PATIENCE_S, Outcome, run
from tests.faults.schedule import FULL, SHORT, Size, schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.cluster import Cluster
    from tests.faults.findings import Kind


def campaign(
    seed: int,
    schedules: int,
    *,
    nodes: int = 3,
    redis: bool = True,
    size: Size = FULL,
    patience: float = PATIENCE_S,
    planted: tuple[str, ...] = (),
    keep: Path | None = None,
    stop_when: frozenset[Kind] = frozenset(),
    say: Callable[[str], None] = print,
) -> Report:
    """Run schedules one after another on one cluster. Call it from the main thread.

    planted: `("module", "--option", …)` to start nodes with instead of the CLI. stop_when: no further
    schedule after one that shows a finding of such a kind.
    """
    main = MainThread()
    result: list[Report | BaseException] = []

    async def work() -> Report:
        # Not the memory disk that other tests use: fsync is on here and shall mean something.
        with tempfile.TemporaryDirectory(prefix="deskbell-faults-") as folder:
            async with running_cluster(main, Path(folder), nodes=nodes, redis=redis, planted=planted) as cluster:
                report = Report(seed, nodes, cluster.versions())
                for number in range(schedules):
                    plan = schedule(seed + number, size, nodes, redis=redis)
                    outcome = await run(cluster, plan, patience)
                    report.take(outcome)
                    _look_at_processes(cluster, report)
                    say(_progress(number + 1, schedules, outcome, report))
                    if outcome.findings or outcome.problems:
                        _tell(outcome, say, keep)
                    if any(each.kind in stop_when for each in outcome.findings):
                        break
                return report

    def thread() -> None:
        try:
            with asyncio.Runner() as runner:
                result.append(runner.run(work()))
        except BaseException as error:
            result.append(error)
        finally:
            main.stop()

    running = threading.Thread(target=thread, name="campaign")
    running.start()
    main.serve()
    running.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _look_at_processes(cluster: Cluster, report: Report) -> None:
    """How processes ended, and what nodes had to complain about."""
    report.exits.clear()
    for code in cluster.drains:
        report.exits[f"drained with exit {code}"] += 1
    for node in cluster.nodes:
        for code in node.deaths:
            report.exits[f"not asked to end, exit {code}"] += 1
    report.logged.clear()
    for node in cluster.nodes:
        for line in node.log.read_text(errors="replace").splitlines():
            report.logged[_event(line)] += 1
    del report.logged[""]


def _event(line: str) -> str:
    """What a line of a node's log is about; empty for what is expected under faults and said as information."""
    try:
        said = json.loads(line)
        level, event = said["level"], str(said["event"])
    except (ValueError, KeyError, TypeError):
        return "" if line.startswith("Deskbell listens") or not line.strip() else f"(text) {line[:80]}"
    return "" if level == "info" else f"{level}: {event[:80]}"


def _progress(done: int, of: int, outcome: Outcome, report: Report) -> str:
    filled = round(20 * done / of)
    faults = ", ".join(fault.kind for fault in outcome.plan.faults)
    verdict = f"{len(outcome.findings)} FINDINGS" if outcome.findings else "ok"
    bar = f"[{'#' * filled}{'.' * (20 - filled)}]"
    parts = " ".join(f"{name} {seconds:.1f}" for name, seconds in outcome.phases.items())
    stopped = f", {outcome.stops} phones stopped for good" if outcome.stops else ""
    return f"{bar} {done}/{of} seed {outcome.plan.seed} {outcome.took:.1f} s ({parts}) {verdict}{stopped}: {faults}"


def _tell(outcome: Outcome, say: Callable[[str], None], keep: Path | None) -> None:
    for problem in outcome.problems:
        say(f"seed {outcome.plan.seed}: {problem}")
    for each in outcome.findings:
        say(f"seed {outcome.plan.seed}: {each}")
    if keep is not None:
        folder = keep / str(outcome.plan.seed)
        save(outcome.histories, folder)
        say(f"histories: {folder}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description="See the top of its source.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedules", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--no-redis", action="store_true", help="nodes share no bus: delivery is by the sweep alone")
    parser.add_argument("--short", action="store_true", help="the small schedules of the test suite")
    parser.add_argument("--report", type=Path, help="JSON file to which this run is added")
    parser.add_argument("--keep", type=Path, help="folder for the histories of schedules that fail")
    chosen = parser.parse_args(arguments)
    report = campaign(
        chosen.seed,
        chosen.schedules,
        nodes=chosen.nodes,
        redis=not chosen.no_redis,
        size=SHORT if chosen.short else FULL,
        keep=chosen.keep,
        say=lambda line: print(line, flush=True),
    )
    print(report.table())
    if chosen.report is not None:
        add_to(chosen.report, report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

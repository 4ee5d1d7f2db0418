"""Drills on a real deployment of three nodes: `python -m tests.drills latency|redis-dead|rolling|storm [--seed S]`.

    latency     a paced load, every message to a phone on another node: how long until `ok`, how long until the event
    redis-dead  the same without Redis: delivery by the sweep, and how soon a revocation closes sockets elsewhere
    rolling     every node is restarted in turn under load: failed sends, order, and the pace of reconnects
    storm       one of three nodes is killed under many sockets: how soon all are back, and what that asks of PostgreSQL

Each prints a table and, with `--report FILE`, writes JSON. Exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.drills.drills import DRILLS
from tests.faults.cluster import NODE_SETTINGS, MainThread, running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

# As in production, unlike the campaign's: only what a load from one machine needs is different.
SETTINGS = {
    "DESKBELL_RATE_LIMIT_SENDS": "off",
    "DESKBELL_LOG_LEVEL": "warning",
    "DESKBELL_LOG_FORMAT": "json",
    "DESKBELL_DATABASE_MAX_CONNECTIONS": "8",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drill", choices=sorted(DRILLS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sockets", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--rate", type=float, default=None, help="messages a second")
    parser.add_argument("--report", type=Path, default=None)
    options = parser.parse_args()
    given = {name: value for name in ("sockets", "seconds", "rate") if (value := getattr(options, name)) is not None}
    result = _on_three_nodes(lambda cluster: DRILLS[options.drill](cluster, options.seed, **given))
    width = max(map(len, result))
    for name, value in result.items():
        sys.stdout.write(f"{name:<{width}}  {value}\n")
    if options.report:
        options.report.write_text(json.dumps(result, indent=2) + "\n")
    raise SystemExit(1 if result["violations"] else 0)


def _on_three_nodes(drill: Callable[[Any], Any]) -> dict[str, Any]:
    """PostgreSQL is started by the main thread, so the loop runs in another one."""
    NODE_SETTINGS.clear()
    NODE_SETTINGS.update(SETTINGS)
    thread_of_postgres = MainThread()
    outcome: list[Any] = []

    async def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="deskbell-drill-") as folder:
            async with running_cluster(thread_of_postgres, Path(folder), nodes=3, redis=True) as cluster:
                found: dict[str, Any] = await drill(cluster)
                return cluster.versions() | found

    def thread() -> None:
        try:
            with asyncio.Runner() as runner:
                outcome.append(runner.run(work()))
        except BaseException as error:
            outcome.append(error)
        finally:
            thread_of_postgres.stop()

    running = threading.Thread(target=thread)
    running.start()
    thread_of_postgres.serve()
    running.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    found: dict[str, Any] = outcome[0]
    return found


if __name__ == "__main__":
    main()

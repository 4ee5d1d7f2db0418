"""What a message and a look cost when the history has grown: `python -m loadtests.grow --up-to 10000000`.

Users with a past are written straight into the database, ten times as many at each step. At each step some of them,
drawn anew, talk in a closed loop, and the pages that people look at are asked for. What counts is each figure to the
one at 10,000 events; CPU is also told per turn of a plain loop measured beside it, because a machine has slow moments.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
import urllib.request
from typing import Any

import uvloop

from loadtests import deliver, report, target
from loadtests.history import EVENTS, History
from loadtests.phone import Mistakes, Phone, clock

FIRST, BASE = 1_000, 10_000
COMPARED = ("server us/message", "PostgreSQL us/message", "inbox ms", "thread ms", "resume ms")


def turn() -> float:
    """Nanoseconds of CPU for a turn of a plain loop, the best of some tries."""
    best = float("inf")
    for _ in range(5):
        began, total = time.process_time(), 0
        for number in range(200_000):
            total += number
        best = min(best, (time.process_time() - began) / 200_000)
    return best * 1e9


async def messages(to: target.Target, talks: list[deliver.Talk], options: argparse.Namespace) -> dict[str, float]:
    """One closed loop."""
    progress, slow = report.Progress(), turn()
    before, began = to.cost(), clock()
    await deliver.all_talk(talks, options.seconds, argparse.Namespace(rate=None), progress, random.Random(0))
    took, spent = clock() - began, to.cost() - before
    slow = (slow + turn()) / 2
    count = max(1, sum(len(talk.answered) for talk in talks))
    for talk in talks:
        talk.answered.clear()
        talk.delivered.clear()
    return {
        "messages/s": count / took,
        "server us/message": spent.server / count * 1e6,
        "PostgreSQL us/message": spent.postgres / count * 1e6,
        "server turns/message": spent.server / count * 1e9 / slow,
        "PostgreSQL turns/message": spent.postgres / count * 1e9 / slow,
    }


def asked(to: target.Target, path: str) -> float:
    """Seconds of one GET as the agent."""
    request = urllib.request.Request(f"{to.url}{path}", headers={"Authorization": f"Bearer {to.agent_token}"})
    began = clock()
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return clock() - began


async def page(to: target.Target, paths: list[str]) -> float:
    """The median of them in milliseconds, one after the other."""
    return statistics.median([await asyncio.to_thread(asked, to, path) for path in paths]) * 1000


async def resume(to: target.Target, people: list[tuple[str, str]], mistakes: Mistakes) -> float:
    """Milliseconds until a phone that is a whole conversation behind has it all; the median."""
    times = []
    for external_id, _ in people:
        phone = Phone(to.sockets, to.token(external_id), mistakes)
        await phone.connect()
        phone.cut()
        await phone.closed.wait()
        phone.usn = max(0, phone.usn - EVENTS)
        began = clock()
        await phone.connect()
        times.append(clock() - began)
        phone.cut()
    return statistics.median(times) * 1000


async def step(to: target.Target, history: History, options: argparse.Namespace, mistakes: Mistakes) -> dict[str, Any]:
    draw = random.Random(options.seed + history.events)
    people = draw.sample(history.users, min(options.conversations, len(history.users)))
    talks = [
        deliver.Talk(to, external_id, mistakes, draw.getrandbits(64), conversation)
        for external_id, conversation in people
    ]
    await asyncio.gather(*[talk.begin() for talk in talks])
    await messages(to, talks, options)  # plans are made, pages read
    figures = report.medians([await messages(to, talks, options) for _ in range(options.repeat)])
    for talk in talks:
        talk.sender.cut()
        talk.listener.cut()
    looked_at = draw.choices(history.users, k=options.looks)
    figures["inbox ms"] = await page(to, ["/admin/v1/conversations?limit=50"] * options.looks)
    figures["thread ms"] = await page(
        to, [f"/admin/v1/conversations/{conversation}/events?limit=50" for _, conversation in looked_at]
    )
    figures["resume ms"] = await resume(to, looked_at, mistakes)
    return {name: round(value, 3) for name, value in figures.items()}


async def run(options: argparse.Namespace) -> int:
    progress, mistakes = report.Progress(), Mistakes()
    steps: dict[int, dict[str, Any]] = {}
    with target.running(options) as to:
        if not to.dsn:
            raise SystemExit("this writes into the database of a server of its own: leave --url away")
        history = History(to.dsn, to.app, options.seed)
        events = FIRST
        while events <= options.up_to:
            size = await history.grow(events, progress)
            progress.done()
            steps[events] = {"MB": round(size / 1e6), **await step(to, history, options, mistakes)}
            _say(f"{events:>12,} events", steps[events])
            events *= 10
    figures = {
        **{f"{events:,} events": found for events, found in steps.items()},
        **_ratios(steps),
        "mistakes": len(mistakes),
        "first mistakes": mistakes[:3],
    }
    title = f"cost by size of history, {options.conversations} conversations, {options.transport}"
    report.show(title, figures, options)
    if options.plot:
        base = steps.get(BASE) or next(iter(steps.values()))
        report.plot(
            options.plot,
            "Cost by size of history, to that at 10,000 events",
            {name: (list(steps), [found[name] / base[name] for found in steps.values()]) for name in COMPARED},
            "events in the database",
            "ratio",
            log=True,
        )
    return 1 if mistakes else 0


def _ratios(steps: dict[int, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each step's figures to those at `BASE`."""
    base = steps.get(BASE)
    if base is None:
        return {}
    names = (*COMPARED, "server turns/message", "PostgreSQL turns/message")
    return {
        f"{events:,} to {BASE:,}": {name: round(found[name] / base[name], 2) for name in names}
        for events, found in steps.items()
        if events > BASE
    }


def _say(what: str, figures: dict[str, Any]) -> None:
    """At once: the last steps take a while."""
    print(what, " ".join(f"{name} {value:,}" for name, value in figures.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--up-to", type=int, default=1_000_000, help="events")
    parser.add_argument("--conversations", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one loop")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--looks", type=int, default=40, help="at each page")
    raise SystemExit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()

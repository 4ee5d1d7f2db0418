"""How fast messages get through, and whether each does: `python -m loadtests.deliver`.

One user a conversation, two devices each. The first sends; a message is *answered* by its `ok` and *delivered* when the
second device has its event. Without `--rate` every sender waits for both before it sends the next (a closed loop: the
most that gets through). With `--rate` messages are due at a pace, whatever the server does, and their times count from
when they were due, so a server that stands still is not measured less often for it (coordinated omission).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
from typing import Any
from uuid import uuid4

import uvloop

from loadtests import ceilings, meters, report, target
from loadtests.phone import Mistakes, Phone, clock, ids

AT_ONCE = 100
SETTLE_S = 30.0


class Talk:
    """One conversation of the user `external_id`: a sender, and the device of the same user that listens. `seed`: of
    its message ids. `conversation`: one that is there already."""

    def __init__(
        self, to: target.Target, external_id: str, mistakes: Mistakes, seed: int, conversation: str | None = None
    ) -> None:
        token = to.token(external_id)
        self.sender = Phone(to.sockets, token, mistakes)
        self.listener = Phone(to.sockets, token, mistakes)
        self.conversation = conversation or str(uuid4())
        self._to_open = conversation is None
        self.mistakes = mistakes
        self.answered: list[float] = []
        self.delivered: list[float] = []
        self._due: dict[str, float] = {}
        self._refs: dict[int, str] = {}
        self._seen: set[str] = set()
        self._next = ids(seed)
        self._idle = asyncio.Event()
        self._idle.set()
        self._waiting = 0
        self.sender.on_ok = self._ok
        self.listener.on_event = self._event

    async def begin(self) -> None:
        await asyncio.gather(self.sender.connect(), self.listener.connect())
        if not self._to_open:
            return
        self.sender.open(self.conversation)
        async with asyncio.timeout(30):
            await self.sender.reached(1)
            await self.listener.reached(1)

    def send(self, due: float) -> None:
        message = self._next()
        self._due[message] = due
        self._waiting += 2
        self._idle.clear()
        self._refs[self.sender.send(self.conversation, message)] = message

    async def idle(self) -> None:
        """Return when everything sent is answered and delivered."""
        await self._idle.wait()

    @property
    def owed(self) -> int:
        return self._waiting

    def _ok(self, ref: int) -> None:
        message = self._refs.pop(ref, None)
        if message is not None:
            self.answered.append(clock() - self._due[message])
            self._settle()

    def _event(self, message: str) -> None:
        if message in self._seen:
            self.mistakes.note(f"message {message} was delivered twice")
            return
        self._seen.add(message)
        due = self._due.get(message)
        if due is None:
            self.mistakes.note(f"message {message} was never sent")
            return
        self.delivered.append(clock() - due)
        self._settle()

    def _settle(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._idle.set()


async def load(to: target.Target, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run."""
    progress, mistakes = report.Progress(), Mistakes()
    talks = [
        Talk(to, f"load-{seed}-{number}", mistakes, seed * 1_000_003 + number)
        for number in range(options.conversations)
    ]
    for start in range(0, len(talks), AT_ONCE):
        await asyncio.gather(*[talk.begin() for talk in talks[start : start + AT_ONCE]])
        progress(f"{start + AT_ONCE} of {len(talks)} conversations open")
    await all_talk(talks, options.warm_up, options, progress, random.Random(seed))
    for talk in talks:
        talk.answered.clear()
        talk.delivered.clear()
    before, own, began = to.cost(), meters.cpu_of(os.getpid()), clock()
    await all_talk(talks, options.seconds, options, progress, random.Random(seed + 1))
    took, spent, own = clock() - began, to.cost() - before, meters.cpu_of(os.getpid()) - own
    progress.done()
    answered = [seconds for talk in talks for seconds in talk.answered]
    delivered = [seconds for talk in talks for seconds in talk.delivered]
    if len(answered) != len(delivered):
        mistakes.note(f"{len(answered)} messages were answered, {len(delivered)} delivered")
    for talk in talks:
        if talk.owed:
            mistakes.note(f"conversation {talk.conversation}: {talk.owed} answers or events never came")
        talk.sender.cut()
        talk.listener.cut()
    count = max(1, len(answered))
    return {
        "messages": len(answered),
        "messages/s": round(len(answered) / took),
        "messages per server CPU s": round(count / spent.server) if spent.server else 0,
        "server CPU us/message": round(spent.server / count * 1e6, 1),
        "PostgreSQL CPU us/message": round(spent.postgres / count * 1e6, 1),
        "generator CPU us/message": round(own / count * 1e6, 1),
        "ok ms": report.percentiles(answered),
        "delivery ms": report.percentiles(delivered),
        "mistakes": len(mistakes),
        "first mistakes": mistakes[:3],
    }


async def all_talk(
    talks: list[Talk], seconds: float, options: argparse.Namespace, progress: report.Progress, rng: random.Random
) -> None:
    until = clock() + seconds
    if options.rate is None:
        await asyncio.gather(*[_closed(talk, until) for talk in talks])
    else:
        await _paced(talks, until, options.rate, progress, rng)
    try:
        async with asyncio.timeout(SETTLE_S):
            await asyncio.gather(*[talk.idle() for talk in talks])
    except TimeoutError:
        return  # what is still owed is a mistake, and counted as one


async def _closed(talk: Talk, until: float) -> None:
    while (now := clock()) < until:
        talk.send(now)
        await talk.idle()


async def _paced(talks: list[Talk], until: float, rate: float, progress: report.Progress, rng: random.Random) -> None:
    """A Poisson stream: independent people do not keep step."""
    due = clock()
    while due < until:
        if (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        rng.choice(talks).send(due)
        progress(f"{until - due:.0f} s to go")
        due += rng.expovariate(rate)


async def run(options: argparse.Namespace) -> int:
    with target.running(options) as to:
        rows: list[float] = []
        runs = []
        for number in range(options.repeat):
            runs.append(await load(to, options, options.seed + number))
            if to.dsn and options.rate is None and options.ceiling_seconds:
                rows.append(await ceilings.bare_insert(to.dsn, options.ceiling_seconds))
        figures = report.medians(runs)
        figures["mistakes"] = sum(run["mistakes"] for run in runs)
        if rows:
            figures["ceiling: bare rows/s"] = round(statistics.median(rows))
            figures["messages/s to bare rows/s"] = round(figures["messages/s"] / statistics.median(rows), 3)
    if options.rate is None and options.ceiling_seconds:
        bare = await ceilings.bare_echo(options.transport, options.conversations, options.ceiling_seconds)
        figures["ceiling: bare echo per server CPU s"] = round(bare)
        figures["per CPU s to bare echo"] = round(figures["messages per server CPU s"] / bare, 3)
    pace = f"{options.rate:g} messages/s" if options.rate else "as fast as it goes"
    title = f"{options.conversations} conversations, {pace}, {options.transport}, median of {options.repeat}"
    report.show(title, figures, options)
    if options.plot:
        report.plot(
            options.plot,
            title,
            {name: _shares(runs[-1][f"{name} ms"]) for name in ("ok", "delivery")},
            "share of messages",
            "ms",
        )
    return 1 if figures["mistakes"] else 0


def _shares(figures: dict[str, float]) -> tuple[list[float], list[float]]:
    return [0.5, 0.99, 0.999], [figures["p50"], figures["p99"], figures["p99.9"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=None, help="messages a second; none: a closed loop")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--ceiling-seconds", type=float, default=3.0, help="0: no ceilings")
    raise SystemExit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()

"""Whether memory stays where it is while people come and go: `python -m loadtests.churn --minutes 20`.

Some hundred phones at a time; each stays a random while, opens a conversation or goes on with its own, says something
and leaves, every third without a goodbye. The server's memory (PSS) is read every few seconds; what counts is the
median of its last minute to that of its fourth, when everything that is made once is there. People return unless
`--new-users`: then nobody does, and whatever is kept for each of them shows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from typing import Any
from uuid import uuid4

import uvloop

from loadtests import report, target
from loadtests.idle import more_files
from loadtests.phone import Mistakes, Phone, clock

ANSWERED_WITHIN_S = 30.0


class Crowd:
    """Who may come: each is one phone, in one conversation, and here once at a time."""

    def __init__(self, to: target.Target, options: argparse.Namespace, mistakes: Mistakes) -> None:
        self._to = to
        self._mistakes = mistakes
        self._most = None if options.new_users else options.users
        self._away: list[tuple[Phone, str]] = []
        self.made = 0
        self.visits = 0
        self.messages = 0
        self._rng = random.Random(options.seed)

    async def keep_coming(self, until: float, stay: float) -> None:
        while clock() < until:
            phone, conversation = self._next()
            try:
                await self._visit(phone, conversation, min(self._rng.expovariate(1 / stay), max(0.0, until - clock())))
            except (OSError, TimeoutError) as error:
                self._mistakes.note(f"device {phone.device[:8]}: {error!r}")
                phone.cut()
                continue  # it does not come again: what it has is not known
            if self._most is not None:
                self._away.append((phone, conversation))

    def _next(self) -> tuple[Phone, str]:
        if self._most is not None and self.made >= self._most and self._away:
            place = self._rng.randrange(len(self._away))
            self._away[place], self._away[-1] = self._away[-1], self._away[place]
            return self._away.pop()
        self.made += 1
        return Phone(self._to.sockets, self._to.token(f"churn-{self.made}"), self._mistakes), str(uuid4())

    async def _visit(self, phone: Phone, conversation: str, stay: float) -> None:
        await phone.connect()
        self.visits += 1
        said = self._rng.randint(1, 4)
        expected = phone.usn + said
        if phone.usn == 0:
            phone.open(conversation)
            expected += 1
        for _ in range(said):
            phone.send(conversation, str(uuid4()))
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            await phone.reached(expected)
        self.messages += said
        await asyncio.sleep(stay)
        if self._rng.randrange(3):
            phone.leave()
        else:
            phone.cut()
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            await phone.closed.wait()


async def load(to: target.Target, options: argparse.Namespace) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    progress, mistakes = report.Progress(), Mistakes()
    crowd = Crowd(to, options, mistakes)
    began = clock()
    until = began + options.minutes * 60
    coming = [asyncio.ensure_future(crowd.keep_coming(until, options.stay)) for _ in range(options.sockets)]
    samples: list[tuple[float, float]] = []
    while clock() < until:
        await asyncio.sleep(options.every)
        samples.append(((clock() - began) / 60, to.memory() / 2**20))
        progress(f"{samples[-1][0]:.1f} of {options.minutes:g} min, {samples[-1][1]:.1f} MB, {crowd.visits:,} visits")
    await asyncio.gather(*coming)
    progress.done()
    figures: dict[str, Any] = {"visits": crowd.visits, "users": crowd.made, "messages": crowd.messages}
    if to.pid:
        early = _median(samples, options.warm_minutes, options.warm_minutes + options.window_minutes)
        late = _median(samples, options.minutes - options.window_minutes, float("inf"))
        figures |= {"MB early": round(early, 1), "MB late": round(late, 1), "late to early": round(late / early, 3)}
        if late > early * options.most:
            mistakes.note(f"memory grew to {late / early:.3f} times what it was, {options.most:g} is allowed")
    return {**figures, "mistakes": len(mistakes), "first mistakes": mistakes[:3]}, samples


def _median(samples: list[tuple[float, float]], start: float, end: float) -> float:
    return statistics.median(size for minute, size in samples if start <= minute <= end)


async def run(options: argparse.Namespace) -> int:
    with target.running(options) as to:
        figures, samples = await load(to, options)
    title = f"{options.sockets:,} phones at a time, coming and going for {options.minutes:g} min, {options.transport}"
    report.show(title, figures, options)
    if options.plot:
        minutes, sizes = [minute for minute, _ in samples], [size for _, size in samples]
        report.plot(options.plot, title, {"memory of the server": (minutes, sizes)}, "minutes", "MB (PSS)")
    return 1 if figures["mistakes"] else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--sockets", type=int, default=300, help="phones at a time")
    parser.add_argument("--stay", type=float, default=5.0, help="seconds a phone stays, on average")
    parser.add_argument("--users", type=int, default=5000, help="who return")
    parser.add_argument("--new-users", action="store_true", help="nobody returns")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two looks at the memory")
    parser.add_argument("--warm-minutes", type=float, default=3.0, help="before memory is compared")
    parser.add_argument("--window-minutes", type=float, default=1.0, help="of which the medians are")
    parser.add_argument("--most", type=float, default=1.05, help="late to early that is allowed")
    options = parser.parse_args()
    if options.warm_minutes + 2 * options.window_minutes > options.minutes:
        parser.error("--minutes must hold --warm-minutes and two times --window-minutes")
    more_files(options.sockets + 80)
    raise SystemExit(uvloop.run(run(options)))


if __name__ == "__main__":
    main()

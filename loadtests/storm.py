"""Everybody comes back at once: `python -m loadtests.storm --sockets 10000`.

Phones are connected and up to date; then all lose the network in the same moment, while the app writes to some of them.
They come back as the protocol asks: with their cursor, after a random moment, and where the node says 503 after the
time it names and a random part of that. The node lets in what it does by default (`DESKBELL_ADMIT_SOCKETS`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

import uvloop
from picows import WSError, WSHandshakeError

from loadtests import ceilings, report, target
from loadtests.idle import more_files
from loadtests.phone import Mistakes, Phone, clock

AT_ONCE = 100
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
WITHIN_S = 300.0
OPENED, WRITTEN = 1, 2
"""Events of a phone that has opened a conversation; more when the app has written to it (it opens one of its own)."""
ADMITTED = "500/1"
"""The default of the server; the other load tests switch it off."""


class Returning:
    """A phone that comes back."""

    def __init__(self, to: target.Target, external_id: str, mistakes: Mistakes, rng: random.Random) -> None:
        self.external_id = external_id
        self.phone = Phone(to.sockets, to.token(external_id), mistakes)
        self.knocks = self.refused = 0
        self._rng = rng

    async def come(self) -> None:
        """Try until everything is here."""
        pause = FIRST_PAUSE_S
        while True:
            self.knocks += 1
            try:
                await self.phone.connect()
            except WSHandshakeError as refused:
                self.refused += 1
                asked = float(refused.response.headers.get("Retry-After", "1")) if refused.response else pause
                await asyncio.sleep(asked * self._rng.uniform(1, 2))
            except (OSError, WSError, TimeoutError):
                self.phone.cut()
                await asyncio.sleep(self._rng.uniform(0, pause))
                pause = min(pause * 2, LONGEST_PAUSE_S)
            else:
                return

    async def settle(self) -> None:
        """Come, and open a conversation: again, under the same id, if the socket was lost in between."""
        conversation = str(uuid4())
        while self.phone.usn < OPENED:
            await self.come()
            self.phone.open(conversation)
            arrived = asyncio.ensure_future(self.phone.reached(OPENED))
            lost = asyncio.ensure_future(self.phone.closed.wait())
            async with asyncio.timeout(WITHIN_S):
                await asyncio.wait([arrived, lost], return_when=asyncio.FIRST_COMPLETED)
            for waiting in (arrived, lost):
                waiting.cancel()
            if not self.phone.usn:
                self.phone.mistakes.note(
                    f"{self.external_id} lost its socket while it opened: {self.phone.closed_with}"
                )


def write(to: target.Target, external_id: str) -> None:
    """A message of the app's server, tried again for as long as the node asks for that."""
    request = urllib.request.Request(
        f"{to.url}/v1/users/{external_id}/messages",
        data=json.dumps({"body": {"kind": "text", "text": "Your ride is on its way"}}).encode(),
        headers={
            "Authorization": f"Bearer {to.server_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": str(uuid4()),
        },
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
                return
        except urllib.error.HTTPError as busy:
            if busy.code not in (429, 503):
                raise
            time.sleep(float(busy.headers.get("Retry-After", "1")))


async def load(to: target.Target, options: argparse.Namespace) -> dict[str, Any]:
    progress, mistakes, rng = report.Progress(), Mistakes(), random.Random(options.seed)
    everybody = [Returning(to, f"storm-{number}", mistakes, rng) for number in range(options.sockets)]
    for start in range(0, len(everybody), AT_ONCE):
        some = everybody[start : start + AT_ONCE]
        await asyncio.gather(*[each.settle() for each in some])
        progress(f"{start + len(some):,} of {len(everybody):,} connected")
    again = sum(each.knocks - each.refused - 1 for each in everybody)
    for each in everybody:
        each.knocks = each.refused = 0
    told = rng.sample(everybody, int(len(everybody) * options.told))
    before, began, times = to.cost(), clock(), list[float]()

    async def back(each: Returning) -> None:
        await asyncio.sleep(rng.uniform(0, FIRST_PAUSE_S))
        await each.come()
        times.append(clock() - began)
        progress(f"{len(times):,} of {len(everybody):,} are back")

    for each in everybody:
        each.phone.cut()
    writing = asyncio.create_task(_write_to(to, [each.external_id for each in told]))
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*[back(each) for each in everybody])
    spent = to.cost() - before
    await writing
    for each in told:
        try:
            async with asyncio.timeout(30):
                await each.phone.reached(OPENED + WRITTEN)
        except TimeoutError:
            mistakes.note(f"{each.external_id} was written to and has {each.phone.usn} events")
    owed = {each.external_id: OPENED + WRITTEN for each in told}
    for each in everybody:
        if each.phone.usn != owed.get(each.external_id, OPENED):
            mistakes.note(f"{each.external_id} has {each.phone.usn} events")
    progress.done()
    knocks = sum(each.knocks for each in everybody)
    return {
        "sockets": len(everybody),
        "connected again in the set-up": again,
        "sockets/s": round(len(everybody) / max(times)),
        "back after ms": report.percentiles(times),
        "knocks refused with 503": sum(each.refused for each in everybody),
        "knocks a phone": round(knocks / len(everybody), 2),
        "written to meanwhile": len(told),
        "server CPU us/socket": round(spent.server / len(everybody) * 1e6),
        "PostgreSQL CPU us/socket": round(spent.postgres / len(everybody) * 1e6),
        "sockets per server CPU s": round(len(everybody) / spent.server) if spent.server else 0,
        "mistakes": len(mistakes),
        "first mistakes": mistakes[:3],
        "times": sorted(times),
    }


async def _write_to(to: target.Target, external_ids: list[str]) -> None:
    """Eight at a time."""
    left = iter(external_ids)

    async def some() -> None:
        for external_id in left:
            await asyncio.to_thread(write, to, external_id)

    await asyncio.gather(*[some() for _ in range(8)])


async def run(options: argparse.Namespace) -> int:
    with target.running(options, DESKBELL_ADMIT_SOCKETS=options.admit) as to:
        figures = await load(to, options)
    times = figures.pop("times")
    if options.ceiling_sockets:
        bare = await ceilings.bare_accepts(options.transport, options.ceiling_sockets)
        figures["ceiling: bare accepts per server CPU s"] = round(bare)
        figures["per CPU s to bare accepts"] = round(figures["sockets per server CPU s"] / bare, 3)
    title = f"{options.sockets:,} phones come back, {options.transport}"
    report.show(title, figures, options)
    if options.plot:
        shares = [number / len(times) * 100 for number in range(1, len(times) + 1)]
        report.plot(options.plot, title, {"back": (times, shares)}, "seconds after the network was lost", "% of phones")
    return 1 if figures["mistakes"] else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--told", type=float, default=0.1, help="share of them that is written to meanwhile")
    parser.add_argument("--admit", default=ADMITTED, help="DESKBELL_ADMIT_SOCKETS of the node")
    parser.add_argument("--ceiling-sockets", type=int, default=2000, help="of the bare server; 0: no ceiling")
    options = parser.parse_args()
    more_files(options.sockets + 200)
    raise SystemExit(uvloop.run(run(options)))


if __name__ == "__main__":
    main()

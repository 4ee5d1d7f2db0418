"""What a waiting phone costs: `python -m loadtests.idle --sockets 20000`.

Phones connect, say hello, are brought up to date and wait. Memory is what the server's processes have to themselves
(PSS), before and after, a connection; measured once more when every tenth phone has opened a conversation and said
something.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
from typing import Any
from uuid import uuid4

import uvloop

from loadtests import report, target
from loadtests.phone import Mistakes, Phone, clock

AT_ONCE = 100
SAMPLED = 500
WARM = 50
SETTLE_S = 3.0


async def connected(
    to: target.Target,
    sockets: int,
    mistakes: Mistakes,
    progress: report.Progress,
    sizes: list[tuple[int, float]] | None = None,
) -> list[Phone]:
    """`sizes`: the server's memory in MB is noted there by the number of sockets."""
    phones = [Phone(to.sockets, to.token(f"idle-{number}"), mistakes) for number in range(sockets)]
    for start in range(0, sockets, AT_ONCE):
        await asyncio.gather(*[phone.connect() for phone in phones[start : start + AT_ONCE]])
        progress(f"{start + AT_ONCE:,} of {sockets:,} connected")
        if sizes is not None and start % SAMPLED == 0:
            sizes.append((start + AT_ONCE, to.memory() / 2**20))
    return phones


async def load(to: target.Target, options: argparse.Namespace) -> dict[str, Any]:
    progress, mistakes = report.Progress(), Mistakes()
    await connected(to, WARM, mistakes, progress)  # what is made once is not a connection's
    await asyncio.sleep(SETTLE_S)
    before, began = to.memory(), clock()
    sizes: list[tuple[int, float]] = []
    phones = await connected(to, options.sockets, mistakes, progress, sizes)
    took = clock() - began
    await asyncio.sleep(SETTLE_S)
    waiting = to.memory() - before
    idle, began = to.cost(), clock()
    await asyncio.sleep(options.seconds)
    idle_share = (to.cost() - idle).server / (clock() - began)
    for phone in phones[::10]:
        conversation = str(uuid4())
        phone.open(conversation)
        phone.send(conversation, str(uuid4()))
    for phone in phones[::10]:
        async with asyncio.timeout(60):
            await phone.reached(2)
    await asyncio.sleep(SETTLE_S)
    progress.done()
    return {
        "sockets": len(phones),
        "connected/s": round(len(phones) / took),
        "KB a socket": round(waiting / len(phones) / 1024, 1),
        "KB a socket after talking": round((to.memory() - before) / len(phones) / 1024, 1),
        "CPU share while idle": round(idle_share, 3),
        "mistakes": len(mistakes),
        "first mistakes": mistakes[:3],
        "sizes": sizes,
    }


async def run(options: argparse.Namespace) -> int:
    with target.running(options) as to:
        figures = await load(to, options)
    sizes = figures.pop("sizes")
    title = f"{options.sockets:,} idle phones, {options.transport}"
    report.show(title, figures, options)
    if options.plot:
        numbers, megabytes = zip(*sizes, strict=True)
        report.plot(options.plot, title, {"server": (numbers, megabytes)}, "sockets", "memory of the server, MB (PSS)")
    return 1 if figures["mistakes"] else 0


def more_files(wanted: int) -> None:
    """Raise the limit of open files for this process and the server it starts. Ends with a clear line if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise SystemExit(f"{wanted:,} open files are needed and {hard:,} allowed: raise it with `ulimit -Hn`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="to look at the CPU while nothing happens")
    options = parser.parse_args()
    more_files(options.sockets + 80)
    raise SystemExit(uvloop.run(run(options)))


if __name__ == "__main__":
    main()

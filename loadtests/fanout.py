"""One event to many who watch: `python -m loadtests.fanout --watchers 1000`.

An agent's desk on every socket, all watching one conversation; its customer writes one message after the other, each
when everybody has the one before. The ceiling is a bare server of the same transport that sends every frame it gets to
all.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any
from uuid import uuid4

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from loadtests import meters, report, target
from loadtests.idle import more_files
from loadtests.phone import BODY, Mistakes, Phone, clock, ids

AT_ONCE = 50


class Round:
    """Wait until `size` have heard."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heard = 0
        self._all = asyncio.Event()

    def begin(self) -> None:
        self._heard = 0
        self._all.clear()

    def hear(self) -> None:
        self._heard += 1
        if self._heard == self._size:
            self._all.set()

    async def over(self) -> None:
        async with asyncio.timeout(30):
            await self._all.wait()


class Watcher(WSListener):
    """A desk that watches one conversation; or, without a token, somebody at the bare server."""

    def __init__(self, token: str, conversation: str, around: Round, mistakes: Mistakes) -> None:
        self._token = token
        self._conversation = conversation
        self._round = around
        self._mistakes = mistakes
        self.seq = 0
        self.ready = asyncio.Event()
        self.socket: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.socket = transport
        if self._token:
            transport.send(WSMsgType.TEXT, msgspec.json.encode({"t": "hello", "token": self._token}))
        else:
            self.ready.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        data = frame.get_payload_as_bytes()
        if not self._token:
            self._round.hear()
            return
        heard: dict[str, Any] = msgspec.json.decode(data)
        match heard["t"]:
            case "welcome":
                watch = {"t": "watch", "ref": 1, "conversation": self._conversation, "seq": 1}
                transport.send(WSMsgType.TEXT, msgspec.json.encode(watch))
            case "ok":
                self.ready.set()
            case "event":
                if self.seq and heard["seq"] != self.seq + 1:
                    self._mistakes.note(f"seq {heard['seq']} after {self.seq}")
                self.seq = heard["seq"]
                self._round.hear()
            case "error":
                self._mistakes.note(str(heard))


async def gathered(url: str, watchers: list[Watcher], progress: report.Progress) -> None:
    for start in range(0, len(watchers), AT_ONCE):
        for watcher in watchers[start : start + AT_ONCE]:
            await ws_connect(lambda watcher=watcher: watcher, url)
        for watcher in watchers[start : start + AT_ONCE]:
            async with asyncio.timeout(30):
                await watcher.ready.wait()
        progress(f"{start + AT_ONCE} of {len(watchers)} watch")


async def load(to: target.Target, options: argparse.Namespace) -> dict[str, Any]:
    progress, mistakes, conversation = report.Progress(), Mistakes(), str(uuid4())
    customer = Phone(to.sockets, to.token("fanout"), mistakes)
    await customer.connect()
    customer.open(conversation)
    await customer.reached(1)
    around, next_id = Round(options.watchers), ids(options.seed)
    watchers = [Watcher(to.agent_token, conversation, around, mistakes) for _ in range(options.watchers)]
    await gathered(f"{to.sockets}/v1/desk", watchers, progress)

    async def one() -> None:
        around.begin()
        customer.send(conversation, next_id())
        await around.over()

    for _ in range(5):
        await one()
    before, began, events = to.cost(), clock(), 0
    waited = []
    while clock() < began + options.seconds:
        sent = clock()
        await one()
        waited.append(clock() - sent)
        events += 1
    spent = to.cost() - before
    progress.done()
    return {
        "watchers": options.watchers,
        "events": events,
        "frames/s": round(events * options.watchers / (clock() - began)),
        "frames per server CPU s": round(events * options.watchers / max(spent.server, 0.01)),
        "until all have it ms": report.percentiles(waited),
        "mistakes": len(mistakes),
        "first mistakes": mistakes[:3],
    }


async def bare(transport: str, options: argparse.Namespace) -> float:
    """Frames a second of CPU of a server that does nothing but send each frame it gets to all."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests.echo", transport, "all", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = f"ws://127.0.0.1:{int(await process.stdout.readline())}/"
        around = Round(options.watchers)
        watchers = [Watcher("", "", around, Mistakes()) for _ in range(options.watchers)]
        await gathered(url, watchers, report.Progress())
        frame = b'{"t":"event","conversation":"%s","body":{"kind":"text","text":"%s"}}' % (
            str(uuid4()).encode(),
            BODY.encode() + b"x" * 120,
        )
        before, until, events = meters.cpu_of(process.pid), clock() + options.ceiling_seconds, 0
        while clock() < until:
            around.begin()
            assert watchers[0].socket is not None
            watchers[0].socket.send(WSMsgType.TEXT, frame)
            await around.over()
            events += 1
        return float(events * options.watchers) / meters.spent(process.pid, before)
    finally:
        process.kill()
        await process.wait()


async def run(options: argparse.Namespace) -> int:
    with target.running(options) as to:
        figures = await load(to, options)
    if options.ceiling_seconds:
        ceiling = await bare(options.transport, options)
        figures["ceiling: bare frames per CPU s"] = round(ceiling)
        figures["to the ceiling"] = round(figures["frames per server CPU s"] / ceiling, 3)
    report.show(f"one event to {options.watchers:,} watchers, {options.transport}", figures, options)
    return 1 if figures["mistakes"] else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--ceiling-seconds", type=float, default=5.0, help="0: no ceiling")
    options = parser.parse_args()
    more_files(options.watchers + 1000)
    raise SystemExit(uvloop.run(run(options)))


if __name__ == "__main__":
    main()

"""Actions whose workers are killed: `python -m tests.faults.actions [--presses 500] [--kills 20] [--seed 1]`.

Real worker processes on a PostgreSQL with fsync, killed with SIGKILL wherever they are; an endpoint that honours the
key and now and then loses a call, cuts the connection after it has refunded, answers 500 after it, or is not done yet.
Every press must be refunded exactly once, be `done` in the end, and have left one coupon and one `done` in its thread.
Prints what it counted; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import msgspec
import uvloop

from server.clock import SystemClock
from server.config import Config
from server.domain.action import State
from server.domain.transaction import Transaction
from server.embedded.postgres import EmbeddedPostgres, dsn_for
from server.services.action_definitions import Wanted
from server.services.directory import Place
from server.services.people import Facts
from server.storage import log
from server.telemetry import configure_logging
from server.wiring import Node
from tests.faults.webhooks import SECRET, WORKERS, start_worker
from tests.support.provider_server import ProviderServer, Request
from tests.support.refunds import Refunds

if TYPE_CHECKING:
    from server.domain.agents import Agent
    from tests.support.provider_server import Answer

CUSTOMERS = 25
TROUBLES = ("lost", "cut", "broken", "pending")
TROUBLE = 0.3
PATIENCE_S = 300.0
"""After the last press: leases of the killed run out, and what is unknown is asked again."""


class Slow(Refunds):
    """Takes a while, so that workers are killed in the middle of calls."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__(lambda _key: luck.choice(TROUBLES) if luck.random() < TROUBLE else None)
        self._luck = luck

    async def handle(self, request: Request) -> Answer:
        await asyncio.sleep(self._luck.random() * 0.5)
        answer = await super().handle(request)
        await asyncio.sleep(self._luck.random() * 0.5)
        return answer


async def press(node: Node, agent: Agent, app_id: UUID, presses: int, rest_s: float) -> list[UUID]:
    places = []
    for number in range(CUSTOMERS):
        name = f"customer {number}"
        await node.services.people.put(app_id, name, Facts())
        user = await node.services.people.find(app_id, name)
        ride = Transaction(id="ride", version=1, kind="ride")
        await node.services.context.put_transaction(app_id, name, ride)
        place = Place(app_id, user.user_id, uuid4())
        await node.services.messaging.open(place, user.author)
        places.append(place)
    pressed = []
    for number in range(presses):
        made = await node.services.actions.press(
            agent, places[number % CUSTOMERS].conversation_id, "refund", parameters={}, transaction="ride"
        )
        pressed.append(made.listed.action.action_id)
        await asyncio.sleep(rest_s)
    return pressed


async def open_ones(node: Node, agent: Agent) -> int:
    """How many of the newest are not settled, up to a page of each state."""
    found = 0
    for state in (State.PENDING, State.UNKNOWN):
        found += len(await node.services.actions.list_actions(agent, None, state.value, None, 200))
    return found


async def count_thread(node: Node, agent: Agent, pressed: list[UUID]) -> tuple[int, Counter[str]]:
    """Coupons, and `done` events by action."""
    coupons, done = 0, Counter[str]()
    seen: set[UUID] = set()
    for action_id in pressed:
        action = (await node.services.actions.find(agent, action_id)).action
        if action.conversation_id in seen:
            continue
        seen.add(action.conversation_id)
        after = 0
        while events := await log.after_seq(
            node.database, action.app_id, action.user_id, action.conversation_id, after, 500
        ):
            after = events[-1].seq
            for event in events:
                body = msgspec.json.decode(event.body)
                coupons += body.get("kind") == "coupon"
                if event.kind == "action.updated" and body["action"]["state"] == "done":
                    done[body["action"]["id"]] += 1
    return coupons, done


async def run(url: str, folder: Path, options: argparse.Namespace) -> bool:
    luck = random.Random(options.seed)
    app = Slow(luck)
    config = Config.load({"HOME": str(folder), "DESKBELL_ALLOW_PRIVATE_TARGETS": "127.0.0.0/8"})
    node = await Node.open(config, SystemClock(), url, SECRET, frozenset())
    output = folder / "workers.log"
    workers = [start_worker(url, output) for _ in range(WORKERS)]
    began = time.monotonic()
    kills = 0
    try:
        app_id = (await node.services.apps.create("Kestrel")).app.app_id
        agent = await node.services.agents.by_token(
            (await node.services.agents.create("noor@example.org", app_id)).token
        )
        async with ProviderServer(app.handle).listening() as server:
            wanted = Wanted(
                name="refund",
                title="Refund",
                url=f"http://127.0.0.1:{server.port}/refund",
                kinds=["ride"],
                allow_parallel=True,
            )
            app.secret = (await node.services.action_definitions.create(app_id, wanted)).secret
            rest_s = options.kills * 1.5 / options.presses
            pressing = asyncio.ensure_future(press(node, agent, app_id, options.presses, rest_s))
            deadline = None
            while deadline is None or (time.monotonic() < deadline and await open_ones(node, agent)):
                await asyncio.sleep(luck.uniform(0.5, 2.0))
                if kills < options.kills:
                    victim = luck.randrange(WORKERS)
                    workers[victim].kill()
                    workers[victim].wait()
                    workers[victim] = start_worker(url, output)
                    kills += 1
                if pressing.done() and deadline is None:
                    deadline = time.monotonic() + PATIENCE_S
            pressed = await pressing
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    keys = [str(action_id) for action_id in pressed]
    states = Counter([(await node.services.actions.find(agent, each)).action.state.value for each in pressed])
    coupons, done = await count_thread(node, agent, pressed)
    await node.close()
    held = app.effects == dict.fromkeys(keys, 1) and done == dict.fromkeys(keys, 1) and coupons == len(keys)
    sys.stdout.write(
        f"presses {len(keys)}, kills {kills}, calls {app.calls.total()}, refunded {len(app.effects)}, more than once "
        f"{sum(times > 1 for times in app.effects.values())}, states {dict(states)}, done events {done.total()}, "
        f"coupons {coupons}, {time.monotonic() - began:.0f} s\n"
    )
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    configure_logging("error", "console")
    with tempfile.TemporaryDirectory(prefix="deskbell-actions-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder) / "data", log=lambda _line: None)
        server.start()
        try:
            url = dsn_for(server.socket_directory, 5432, "deskbell")
            held = uvloop.run(run(url, Path(folder), options))
        finally:
            server.stop()
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()

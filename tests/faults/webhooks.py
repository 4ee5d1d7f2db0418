"""Webhooks whose workers are killed: `python -m tests.faults.webhooks [--events 10000] [--kills 20] [--seed 1]`.

Real worker processes on a PostgreSQL with fsync, killed with SIGKILL wherever they are; a receiver that now and then
answers 500 or cuts the connection. Every event must arrive at least once, and those of one conversation in order: first
seen in order, and a repeat only of the newest one. Prints what it counted; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import msgspec
import uvloop
from standardwebhooks import Webhook

from server.clock import SystemClock
from server.config import Config
from server.domain.events import Author, AuthorType
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.embedded.postgres import EmbeddedPostgres, dsn_for
from server.services.directory import Place
from server.services.people import Facts
from server.telemetry import configure_logging
from server.wiring import Node
from tests.end_to_end.deskbell_process import COMMAND, REPOSITORY, clean_environment, free_port
from tests.support.provider_server import Answer, Drop, ProviderServer, Request

if TYPE_CHECKING:
    from server.services.webhooks import Made

WORKERS = 3
CONVERSATIONS = 200
SECRET = "a secret key of the fault runs, long enough"
TROUBLE = 0.01
"""The share of calls that are answered 500, and of those whose connection is cut."""
PATIENCE_S = 240.0
"""After the last event: leases of the killed run out, and failed calls are repeated."""


class Receiver:
    """Keeps what it accepted, by conversation, in the order of arrival."""

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self.secret = ""
        self.calls = 0
        self.seqs: dict[str, list[int]] = defaultdict(list)
        self.ids: set[str] = set()

    async def handle(self, request: Request) -> Answer:
        self.calls += 1
        body = msgspec.json.decode(request.body)
        Webhook(self.secret).verify(request.body, request.headers)
        trouble = self._luck.random()
        if trouble < TROUBLE:
            return Answer(500, b"")
        self.seqs[body["data"]["conversation"]].append(body["data"]["event"]["seq"])
        self.ids.add(body["id"])
        if trouble < 2 * TROUBLE:
            raise Drop  # accepted, and they will not know
        await asyncio.sleep(self._luck.random() * 0.02)
        return Answer(204, b"")

    def violations(self) -> list[str]:
        found = []
        for conversation, seqs in self.seqs.items():
            first = list(dict.fromkeys(seqs))
            if first != list(range(2, len(first) + 2)):
                found.append(f"{conversation}: first seen as {first}")
            if any(later < earlier for earlier, later in itertools.pairwise(seqs)):
                found.append(f"{conversation}: something older came after something newer: {seqs}")
        return found


def start_worker(url: str, log: Path) -> subprocess.Popen[bytes]:
    environment = clean_environment(
        DESKBELL_DATABASE_URL=url,
        DESKBELL_SECRET_KEY=SECRET,
        DESKBELL_ALLOW_PRIVATE_TARGETS="127.0.0.0/8",
        DESKBELL_LOG_LEVEL="warning",
    )
    command = [*COMMAND, "serve", "--roles", "workers", "--port", str(free_port())]
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)


async def write(node: Node, app_id: UUID, events: int) -> None:
    places = []
    for number in range(CONVERSATIONS):
        await node.services.people.put(app_id, f"customer {number}", Facts())
        user = await node.services.people.find(app_id, f"customer {number}")
        place = Place(app_id, user.user_id, uuid4())
        await node.services.messaging.open(place, author(place))
        places.append(place)
    for number in range(0, events, CONVERSATIONS):
        batch = places[: events - number]
        await asyncio.gather(*[node.services.messaging.post(place, words(place)) for place in batch])
        await asyncio.sleep(0.4)


def author(place: Place) -> Author:
    return Author(AuthorType.USER, str(place.user_id))


def words(place: Place) -> Message:
    return Message(uuid4(), author(place), from_struct(Text(text="hello")))


async def run(url: str, log: Path, options: argparse.Namespace) -> bool:
    luck = random.Random(options.seed)
    receiver = Receiver(luck)
    config = Config.load({"HOME": str(log.parent), "DESKBELL_ALLOW_PRIVATE_TARGETS": "127.0.0.0/8"})
    node = await Node.open(config, SystemClock(), url, SECRET, frozenset())
    workers = [start_worker(url, log) for _ in range(WORKERS)]
    began = time.monotonic()
    kills = 0
    try:
        app_id = (await node.services.apps.create("Kestrel")).app.app_id
        async with ProviderServer(receiver.handle).listening() as server:
            hook = f"http://127.0.0.1:{server.port}/"
            made: Made = await node.services.webhooks.create(app_id, hook, ["message.created"], None)
            receiver.secret = made.secret
            writing = asyncio.ensure_future(write(node, app_id, options.events))
            deadline = None
            while len(receiver.ids) < options.events and (deadline is None or time.monotonic() < deadline):
                await asyncio.sleep(luck.uniform(0.5, 2.0))
                if kills < options.kills:
                    victim = luck.randrange(WORKERS)
                    workers[victim].kill()
                    workers[victim].wait()
                    workers[victim] = start_worker(url, log)
                    kills += 1
                if writing.done() and deadline is None:
                    await writing
                    deadline = time.monotonic() + PATIENCE_S
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        await node.close()
    missing = options.events - len(receiver.ids)
    violations = receiver.violations()
    taken = sum(map(len, receiver.seqs.values()))
    sys.stdout.write(
        f"events {options.events}, kills {kills}, calls {receiver.calls}, accepted {taken}, "
        f"repeated {taken - len(receiver.ids)}, missing {missing}, out of order {len(violations)}, "
        f"{time.monotonic() - began:.0f} s\n" + "".join(f"{line}\n" for line in violations[:10])
    )
    return not missing and not violations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    configure_logging("error", "console")
    with tempfile.TemporaryDirectory(prefix="deskbell-webhooks-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder) / "data", log=lambda _line: None)
        server.start()
        try:
            url = dsn_for(server.socket_directory, 5432, "deskbell")
            held = uvloop.run(run(url, Path(folder) / "workers.log", options))
        finally:
            server.stop()
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()

"""From a customer's message to an app's own server: the real outbox, worker and HTTP client, over real sockets
(docs/webhooks.md)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest
from standardwebhooks import Webhook

from server.clock import SystemClock
from server.config import Config
from server.domain.events import Author, AuthorType
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.services import webhook_delivery
from server.services.directory import Place
from server.services.people import Facts
from server.tasks import Tasks
from server.telemetry import get_logger
from server.wiring import Node
from server.workers import webhook_outbox
from server.workers.webhook_outbox import WebhookOutbox
from tests.support.provider_server import Answer, Drop, ProviderServer, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.services.webhooks import Made

SECRET = "a secret key for tests, long enough"
FINE = Answer(204, b"")


class Receiver:
    """An app's server. Keeps what it accepted; `judge` answers instead where it has an answer."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.secret: str | None = None
        self.under_way = 0
        self.most_under_way = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.answers: list[Answer | Exception] = []

    async def handle(self, request: Request) -> Answer:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.hold.wait()
            if self.secret is not None:
                Webhook(self.secret).verify(request.body, request.headers)
            answer = self.answers.pop(0) if self.answers else FINE
            if isinstance(answer, Exception):
                raise answer
            if answer.status < 300:
                self.got.append(msgspec.json.decode(request.body))
            return answer
        finally:
            self.under_way -= 1

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with ProviderServer(self.handle).listening() as server:
            yield f"http://127.0.0.1:{server.port}/hook"

    async def has(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many different events were accepted."""
        async with asyncio.timeout(30):
            while len({body["id"] for body in self.got}) < count:
                await asyncio.sleep(0.02)
        return self.got


class Town:
    """A node whose workers run, an app, and customers who write."""

    def __init__(self, node: Node, app_id: UUID) -> None:
        self.node = node
        self.app_id = app_id

    async def hook(self, url: str, *events: Any) -> Made:
        return await self.node.services.webhooks.create(self.app_id, url, list(events or ["message.created"]), None)

    async def opened(self, external_id: str = "blanca") -> Place:
        await self.node.services.people.put(self.app_id, external_id, Facts())
        user = await self.node.services.people.find(self.app_id, external_id)
        place = Place(self.app_id, user.user_id, uuid4())
        await self.node.services.messaging.open(place, self.author(place))
        return place

    async def say(self, place: Place, text: str) -> None:
        message = Message(uuid4(), self.author(place), from_struct(Text(text=text)))
        await self.node.services.messaging.post(place, message)

    def author(self, place: Place) -> Author:
        return Author(AuthorType.USER, str(place.user_id))


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    config = Config.load({"HOME": str(tmp_path), "DESKBELL_ALLOW_PRIVATE_TARGETS": "127.0.0.0/8"})
    node = await Node.open(config, SystemClock(), database_url, SECRET, frozenset({"workers"}))
    try:
        made = await node.services.apps.create("Kestrel")
        yield Town(node, made.app.app_id)
    finally:
        await node.close()


async def test_a_message_reaches_the_app_signed(town: Town) -> None:
    receiver = Receiver()
    async with receiver.listening() as url:
        made = await town.hook(url, "conversation.opened", "message.created")
        receiver.secret = made.secret
        place = await town.opened()
        await town.say(place, "Where is my umbrella?")
        got = await receiver.has(2)
    assert [body["type"] for body in got] == ["conversation.opened", "message.created"]
    assert got[1]["data"]["event"]["body"]["text"] == "Where is my umbrella?"


async def test_a_private_address_is_not_called_unless_allowed(database_url: str, tmp_path: Path) -> None:
    config = Config.load({"HOME": str(tmp_path)})
    node = await Node.open(config, SystemClock(), database_url, SECRET, frozenset({"workers"}))
    receiver = Receiver()
    try:
        town = Town(node, (await node.services.apps.create("Kestrel")).app.app_id)
        async with receiver.listening() as url:
            made = await town.hook(url.replace("http://127.0.0.1", "https://localhost"))
            await town.say(await town.opened(), "hello")
            async with asyncio.timeout(30):
                while True:
                    found = await node.services.webhooks.list_deliveries(
                        town.app_id, made.endpoint.endpoint_id, None, None, 10
                    )
                    if found[0].attempts:
                        break
                    await asyncio.sleep(0.02)
        assert "not a public address (loopback)" in str(found[0].error)
        assert receiver.most_under_way == 0
    finally:
        await node.close()


async def test_a_failure_is_repeated_with_the_same_id(town: Town) -> None:
    receiver = Receiver()
    receiver.answers = [Answer(500), Drop()]
    async with receiver.listening() as url:
        made = await town.hook(url)
        await town.say(await town.opened(), "hello")
        await asyncio.sleep(0)
        endpoint = made.endpoint.endpoint_id
        async with asyncio.timeout(30):
            while not receiver.got:
                # Time does not pass for us: a replay tries what waits at once.
                for waiting in await town.node.services.webhooks.list_deliveries(
                    town.app_id, endpoint, "pending", None, 10
                ):
                    await town.node.services.webhooks.replay(town.app_id, endpoint, waiting.event_id)
                await asyncio.sleep(0.05)
    assert len({body["id"] for body in receiver.got}) == 1


async def test_a_slow_endpoint_delays_neither_messages_nor_others(town: Town) -> None:
    slow, quick = Receiver(), Receiver()
    slow.hold.clear()
    async with slow.listening() as slow_url, quick.listening() as quick_url:
        await town.hook(slow_url)
        places = [await town.opened(f"customer {number}") for number in range(40)]
        for place in places:
            await town.say(place, "to the slow one")
        async with asyncio.timeout(30):
            while slow.under_way < webhook_outbox.PER_ENDPOINT:
                await asyncio.sleep(0.02)
        await town.hook(quick_url)
        for place in places:
            await town.say(place, "to both")
        got = await quick.has(40)
        assert {body["data"]["event"]["body"]["text"] for body in got} == {"to both"}
        assert slow.most_under_way == webhook_outbox.PER_ENDPOINT
        slow.hold.set()
        await slow.has(80)


async def test_conversations_do_not_wait_for_each_other_and_keep_their_order(town: Town) -> None:
    receiver = Receiver()
    async with receiver.listening() as url:
        await town.hook(url)
        places = [await town.opened(f"customer {number}") for number in range(20)]
        for number in range(15):
            await asyncio.gather(*[town.say(place, str(number)) for place in places])
        got = await receiver.has(300)
    assert len(got) == 300
    for texts in by_conversation(got).values():
        assert texts == [str(number) for number in range(15)]


async def test_whatever_dies_nothing_is_lost_and_order_is_kept(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers, killed again and again wherever they are: between claim, call, answer and writing it down."""
    monkeypatch.setattr(webhook_delivery, "LEASE", timedelta(seconds=0.4))
    luck = random.Random(20261127)
    receiver = Receiver()
    node = town.node

    async def take_a_while(request: Request) -> Answer:
        answer = await receiver.handle(request)
        await asyncio.sleep(luck.random() * 0.01)  # so that some die after it was accepted and before they know
        return answer

    def another() -> Tasks:
        tasks = Tasks(get_logger("tests"), node.clock)
        WebhookOutbox(node.webhook_outbox._delivery, node.clock, node.metrics, get_logger("tests")).start(tasks)
        return tasks

    async with ProviderServer(take_a_while).listening() as server:
        made = await town.hook(f"http://127.0.0.1:{server.port}/")
        places = [await town.opened(f"customer {number}") for number in range(12)]
        workers = [another() for _ in range(3)]
        for number in range(40):
            await asyncio.gather(*[town.say(place, str(number)) for place in places])
            if number % 2:
                victim = luck.randrange(3)
                await workers[victim].close()
                workers[victim] = another()
        got = await receiver.has(480)
        async with asyncio.timeout(30):
            while await node.services.webhooks.list_deliveries(
                town.app_id, made.endpoint.endpoint_id, "pending", None, 1
            ):
                await asyncio.sleep(0.05)
        for worker in workers:
            await worker.close()
    assert len({body["id"] for body in got}) == 480
    for texts in by_conversation(got).values():
        assert list(dict.fromkeys(texts)) == [str(number) for number in range(40)]
    # A repeat comes in its place: nothing older after something newer but the repeated one itself.
    for texts in by_conversation(got).values():
        numbers = [int(text) for text in texts]
        assert all(later >= earlier for earlier, later in itertools.pairwise(numbers))


def by_conversation(got: list[dict[str, Any]]) -> dict[str, list[str]]:
    texts = defaultdict(list)
    for body in got:
        texts[body["data"]["conversation"]].append(body["data"]["event"]["body"]["text"])
    return texts

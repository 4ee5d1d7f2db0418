"""The services on a real database, wired as `server.wiring` does, with a clock that the test moves.

async with running_services(database_url) as world:
    app = await world.app()
    ada = await world.user(app, "ada")
    place = await world.opened(ada, "Where is my ride?")
    await world.say(place, world.agent_author, "On its way.")
"""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from push.recording import RecordingSender
from server.bus.memory import MemoryBus
from server.domain.agents import Agent, Role
from server.domain.events import Author, AuthorType
from server.domain.identity import Claims
from server.domain.ids import AGENT_TOKEN_PREFIX, new_id, new_secret, secret_hash, user_id_of
from server.domain.intents import Message
from server.domain.message import MessageBody, Text, from_struct
from server.domain.people import DeviceInfo
from server.domain.transaction import Transaction
from server.gateway.translate import event_json
from server.services.action_calls import ActionCalls
from server.services.action_definitions import ActionDefinitions
from server.services.actions import Actions
from server.services.agents import Agents
from server.services.announcements import announce
from server.services.apps import Apps
from server.services.context import Context
from server.services.conversations import Conversations
from server.services.directory import Directory, Place
from server.services.health import Health
from server.services.identity import Identity
from server.services.messaging import Messaging
from server.services.notifications import Notifications
from server.services.people import Facts, People
from server.services.rates import Rates
from server.services.reading import Reading
from server.services.vault import Vault
from server.services.webhook_delivery import WebhookDelivery
from server.services.webhooks import Webhooks
from server.storage import agents as agent_rows
from server.storage.database import Database
from server.storage.writer import Writer
from server.tasks import Tasks
from server.telemetry import Metrics, get_logger
from tests.support.clock import FakeClock
from tests.support.outgoing import ScriptedOutgoing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from uuid import UUID

    from push.sender import Sender
    from server.bus.interface import Channel, Hint
    from server.domain.message import Body
    from server.domain.numbering import Numbered
    from server.domain.people import EndUser
    from server.services.apps import NewApp
    from server.storage.batch import Written
    from server.storage.people import Hold

SECRET_KEY = "a key of the tests, long enough to be one"
PUSH_GRACE = timedelta(seconds=4)
PUSH_LEASE = timedelta(seconds=30)


class ListeningBus(MemoryBus):
    """The memory bus, which also keeps whatever was published, heard by anyone or not."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[Channel, Hint]] = []

    def reaches(self, channel: Channel) -> bool:
        return True

    def publish(self, hints: Sequence[tuple[Channel, Hint]]) -> None:
        self.published += hints
        super().publish(hints)


@dataclass(kw_only=True)
class World:
    """Everything a door could call, and short ways to make what a test is not about."""

    database: Database
    clock: FakeClock
    bus: ListeningBus
    metrics: Metrics
    tasks: Tasks
    writer: Writer
    vault: Vault
    directory: Directory
    identity: Identity
    apps: Apps
    agents: Agents
    people: People
    messaging: Messaging
    conversations: Conversations
    context: Context
    reading: Reading
    notifications: Notifications
    outgoing: ScriptedOutgoing
    webhooks: Webhooks
    webhook_delivery: WebhookDelivery
    actions: Actions
    action_definitions: ActionDefinitions
    action_calls: ActionCalls
    health: Health
    recording: RecordingSender
    written: list[Written] = field(default_factory=list)
    """Every batch that was committed, in the order in which it was announced."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    agent_author = Author(AuthorType.AGENT, "11111111-1111-4111-8111-111111111111", "Robin")

    def id(self) -> UUID:
        """A fresh id, as a client would make it."""
        return new_id(self.clock.now())

    async def app(self, name: str = "Kestrel") -> NewApp:
        return await self.apps.create(name)

    async def user(self, app: NewApp, external_id: str = "ada", name: str | None = None) -> EndUser:
        """A user who is known, without a device."""
        await self.people.put(app.app.app_id, external_id, Facts(name=name) if name else Facts())
        return await self.people.find(app.app.app_id, external_id)

    async def agent(self, *apps: NewApp, name: str = "Robin", role: Role = Role.AGENT) -> Agent:
        """An agent with a token but no password, because hashing one costs 50 ms."""
        now = self.clock.now()
        token = new_secret(AGENT_TOKEN_PREFIX)
        wanted = Agent(agent_id=new_id(now), email=f"{name.lower()}.{next(self._numbers)}@example.com", name=name)
        async with self.database.transaction() as tx:
            made = await agent_rows.upsert(tx, wanted, None, now)
            for app in apps:
                await agent_rows.put_membership(tx, app.app.app_id, made.agent_id, role, now)
            await agent_rows.insert_token(tx, secret_hash(token), made.agent_id, "token", now, None)
        return await self.agents.by_token(token)

    async def device(
        self,
        user: EndUser,
        token: str | None = None,
        *,
        device_id: UUID | None = None,
        platform: str = "android",
        provider: str = "fcm",
        foreground: timedelta | None = None,
        locale: str | None = None,
        attempt: int | None = None,
    ) -> tuple[UUID, Hold]:
        """A device of `user` that has said hello, and has registered a push `token` if there is one."""
        device = DeviceInfo(device_id=device_id or self.id(), platform=platform, locale=locale, attempt=attempt)
        _, hold, _ = await self.people.say_hello(self.claims(user), device, foreground)
        if token is not None:
            await self.people.register_push_token(user.app_id, user.user_id, device.device_id, provider, token)
        return device.device_id, hold

    def claims(self, user: EndUser) -> Claims:
        """What a verified token of `user` says now."""
        return Claims(
            app_id=user.app_id,
            external_id=user.external_id,
            issued_at=self.clock.now(),
            expires_at=self.clock.now() + timedelta(hours=1),
        )

    def place(self, user: EndUser, conversation_id: UUID | None = None) -> Place:
        return Place(user.app_id, user.user_id, conversation_id or self.id())

    async def opened(
        self, user: EndUser, words: str | None = None, *, topic: str | None = None, transaction: str | None = None
    ) -> Place:
        """A conversation of `user`, with a first message or without."""
        place = self.place(user)
        first = self.message(user.author, words) if words is not None else None
        await self.messaging.open(place, user.author, topic=topic, transaction_id=transaction, first=first)
        return place

    async def say(self, place: Place, author: Author, words: str | Body, message_id: UUID | None = None) -> Numbered:
        return await self.messaging.post(place, self.message(author, words, message_id))

    def message(self, author: Author, words: str | Body, message_id: UUID | None = None) -> Message:
        return Message(message_id or self.id(), author, text(words) if isinstance(words, str) else from_struct(words))


def text(words: str) -> MessageBody:
    return from_struct(Text(text=words))


def ride(transaction_id: str = "ride-1", version: int = 1, status: str = "completed") -> Transaction:
    return Transaction(id=transaction_id, version=version, kind="ride", status=status, title=f"Ride {transaction_id}")


def author_of(app_id: UUID, external_id: str, name: str | None = None) -> Author:
    """The author that a user who is not in the database yet will be."""
    return Author(AuthorType.USER, str(user_id_of(app_id, external_id)), name)


@asynccontextmanager
async def running_services(
    url: str,
    *,
    clock: FakeClock | None = None,
    senders: Mapping[str, Sender] | None = None,
    send_burst: int | None = None,
    send_seconds: float = 1.0,
    login_burst: int | None = 10,
    login_seconds: float = 300.0,
    grace: timedelta = PUSH_GRACE,
    lease: timedelta = PUSH_LEASE,
    preview: bool = True,
    secret_key: str = SECRET_KEY,
) -> AsyncIterator[World]:
    """Connect to the migrated database at `url`, start the writer and the bus, and stop all of it at the end.

    `senders` None: every provider records. `send_burst` None: no limit.
    """
    clock = clock or FakeClock()
    log = get_logger("tests")
    database = await Database.connect(url, min_connections=1, max_connections=8)
    metrics = Metrics()
    tasks = Tasks(log, clock)
    bus = ListeningBus()
    written: list[Written] = []

    def committed(batch: Written) -> None:
        written.append(batch)
        announce(bus, batch)

    writer = Writer(database, clock, metrics, log, announce=committed, push_grace=grace)
    vault = Vault(secret_key)
    directory = Directory(database)
    recording = RecordingSender(log)
    notifications = Notifications(
        database,
        senders if senders is not None else dict.fromkeys(("fcm", "apns", "webpush"), recording),
        clock,
        metrics,
        log,
        lease=lease,
        preview=preview,
    )
    outgoing = ScriptedOutgoing()
    delivery = WebhookDelivery(database, outgoing, vault, clock, metrics, log, wire=event_json, luck=lambda: 0.0)
    calls = ActionCalls(database, writer, outgoing, vault, clock, metrics, log, luck=lambda: 0.0)
    world = World(
        database=database,
        clock=clock,
        bus=bus,
        metrics=metrics,
        tasks=tasks,
        writer=writer,
        vault=vault,
        directory=directory,
        identity=Identity(database, vault, clock),
        apps=Apps(database, vault, clock),
        agents=Agents(database, clock, Rates(clock, login_burst, login_seconds, "attempts to log in")),
        people=People(database, bus, clock),
        messaging=Messaging(database, writer, directory, bus, Rates(clock, send_burst, send_seconds, "messages")),
        conversations=Conversations(database, writer, directory),
        context=Context(database, writer, clock),
        reading=Reading(database),
        notifications=notifications,
        outgoing=outgoing,
        webhooks=Webhooks(database, outgoing, vault, clock, ()),
        webhook_delivery=delivery,
        actions=Actions(database, writer, directory, clock),
        action_definitions=ActionDefinitions(database, vault, clock, ()),
        action_calls=calls,
        health=Health(database, bus, notifications, delivery, calls, clock),
        recording=recording,
        written=written,
    )
    writer.start(tasks)
    await bus.start(lambda _channel, _hint: None)
    try:
        yield world
    finally:
        await tasks.close()
        await bus.close()
        await database.close()

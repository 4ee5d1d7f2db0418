"""Builds a node: the only place that names adapters, so everything else can be read without knowing them.

`Node.open` connects what the configuration asks for; `Node.close` lets go of it in the reverse order.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from admin_api.app import ApiDoors, Services, create_app
from admin_api.auth import cookie_of
from push.fcm import FcmSender
from push.recording import RecordingSender
from server.bus.memory import MemoryBus
from server.bus.redis import RedisBus
from server.config import ConfigError
from server.gateway.acks import AckBook
from server.gateway.asgi import AsgiDoors
from server.gateway.doors import Doors
from server.gateway.drain import drain
from server.gateway.house import House
from server.gateway.hub import Hub
from server.gateway.picows import Port
from server.gateway.presence import Presence
from server.gateway.queue import Queue
from server.gateway.sweep import Sweep
from server.gateway.translate import event_json
from server.outgoing.late import LateOutgoing
from server.services.action_calls import ActionCalls
from server.services.action_definitions import ActionDefinitions
from server.services.actions import Actions
from server.services.agents import Agents
from server.services.announcements import announce
from server.services.apps import Apps
from server.services.context import Context
from server.services.conversations import Conversations
from server.services.directory import Directory
from server.services.health import Health
from server.services.identity import Identity
from server.services.messaging import Messaging
from server.services.notifications import Notifications
from server.services.people import People
from server.services.rates import Rates
from server.services.reading import Reading
from server.services.vault import Vault
from server.services.waiting import Waiting
from server.services.webhook_delivery import WebhookDelivery
from server.services.webhooks import Webhooks
from server.storage.database import Database
from server.storage.migrate import migrate
from server.storage.writer import Writer
from server.tasks import Tasks
from server.telemetry import Metrics, get_logger
from server.workers.actions import ActionWorker
from server.workers.housekeeping import Housekeeping
from server.workers.push_outbox import PushOutbox
from server.workers.retention import Retention
from server.workers.statistics import Statistics
from server.workers.webhook_outbox import WebhookOutbox
from server.workers.webhook_retention import WebhookRetention

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from typing import Any

    from starlette.applications import Starlette

    from push.sender import Sender
    from server.bus.interface import Bus
    from server.clock import Clock
    from server.config import Config
    from server.outgoing.interface import Outgoing
    from server.storage.batch import Written

ROLES = ("gateway", "api", "workers")
LOGIN_BURST, LOGIN_SECONDS = 10, 300.0
"""Attempts to log in with one e-mail address."""


class Node:
    """One running Deskbell process, without the HTTP server around it."""

    def __init__(
        self, config: Config, clock: Clock, database: Database, secret_key: str, roles: frozenset[str]
    ) -> None:
        self.config = config
        self.clock = clock
        self.database = database
        self.roles = roles
        self.log = get_logger("deskbell")
        self.metrics = Metrics()
        self.tasks = Tasks(self.log, clock)
        self.bus = _bus(config, clock, self.metrics)
        self.writer = Writer(
            database,
            clock,
            self.metrics,
            self.log,
            announce=self._announce,
            push_grace=timedelta(seconds=config.push.grace_s),
        )
        vault = Vault(secret_key)
        directory = Directory(database)
        sends = config.limits.rate_limit_sends
        self.outgoing = LateOutgoing(lambda: _outgoing(config, clock))
        self.senders = _senders(config, get_logger("deskbell.push"))
        self.services = Services(
            identity=Identity(database, vault, clock),
            apps=Apps(database, vault, clock),
            agents=Agents(database, clock, Rates(clock, LOGIN_BURST, LOGIN_SECONDS, "attempts to log in")),
            people=People(database, self.bus, clock),
            messaging=Messaging(
                database,
                self.writer,
                directory,
                self.bus,
                Rates(clock, sends.burst if sends else None, sends.seconds if sends else 1.0, "messages"),
            ),
            conversations=Conversations(database, self.writer, directory),
            context=Context(database, self.writer, clock),
            notifications=Notifications(
                database,
                self.senders,
                clock,
                self.metrics,
                self.log,
                lease=timedelta(seconds=config.push.lease_s),
                preview=config.push.preview,
            ),
            webhooks=Webhooks(database, self.outgoing, vault, clock, config.network.allow_private_targets),
            actions=Actions(database, self.writer, directory, clock),
            action_definitions=ActionDefinitions(database, vault, clock, config.network.allow_private_targets),
        )
        self.hub = Hub(self.bus, Presence(self.bus, clock, secrets.token_hex(6)))
        self.acks = AckBook(self.services.people, clock)
        self.house = House(
            config=config,
            clock=clock,
            tasks=self.tasks,
            metrics=self.metrics,
            log=get_logger("deskbell.gateway"),
            hub=self.hub,
            acks=self.acks,
            identity=self.services.identity,
            people=self.services.people,
            messaging=self.services.messaging,
            conversations=self.services.conversations,
            reading=Reading(database),
            agents=self.services.agents,
            waiting=Waiting(database, clock),
        )
        admit = config.sockets.admit
        self.doors = Doors(
            self.house,
            Rates(clock, admit.burst if admit else None, admit.seconds if admit else 1.0, "new sockets"),
            cookie_of,
        )
        self.queue = Queue(self.house)
        self.sweep = Sweep(self.house)
        self.outbox = PushOutbox(self.services.notifications, clock, self.metrics, get_logger("deskbell.push"))
        log = get_logger("deskbell.webhooks")
        delivery = WebhookDelivery(database, self.outgoing, vault, clock, self.metrics, log, wire=event_json)
        self.webhook_outbox = WebhookOutbox(delivery, clock, self.metrics, log)
        log = get_logger("deskbell.actions")
        calls = ActionCalls(database, self.writer, self.outgoing, vault, clock, self.metrics, log)
        self.action_worker = ActionWorker(calls, clock, self.metrics, log)
        self.health = Health(database, self.bus, self.services.notifications, delivery, calls, clock)

    @classmethod
    async def open(cls, config: Config, clock: Clock, url: str, secret_key: str, roles: frozenset[str]) -> Node:
        """Bring the database to this build's schema, connect, and start what runs in the background."""
        log = get_logger("deskbell")
        await migrate(url, clock, say=log.info)
        database = await Database.connect(
            url,
            min_connections=config.database.min_connections,
            max_connections=config.database.max_connections,
        )
        try:
            node = cls(config, clock, database, secret_key, roles)
            await node.services.apps.check_vault()
        except BaseException:
            await database.close()
            raise
        await node._start()
        return node

    async def _start(self) -> None:
        await self.health.look_at_database()
        self.writer.start(self.tasks)
        await self.bus.start(self.hub.receive)
        if "gateway" in self.roles:
            self.acks.start(self.tasks)
            self.sweep.start()
            self.queue.start()
        if "workers" in self.roles:
            self.outbox.start(self.tasks)
            self.webhook_outbox.start(self.tasks)
            self.action_worker.start(self.tasks)
            WebhookRetention(self.database, self.clock).start(self.tasks)
            Housekeeping(self.services.agents, self.clock).start(self.tasks)
            Statistics(self.database, self.clock).start(self.tasks)
            if self.config.retention.days is not None:
                keep = timedelta(days=self.config.retention.days)
                Retention(self.database, self.clock, get_logger("deskbell.retention"), keep).start(self.tasks)
        self.log.info("started", roles=sorted(self.roles), **self.health.database)

    def app(
        self,
        version: str,
        demo_session: Callable[[], Awaitable[dict[str, Any]]] | None = None,
        metrics_page: Callable[[], Awaitable[bytes]] | None = None,
    ) -> Starlette:
        """The HTTP and WebSocket doors of this node."""
        return create_app(
            ApiDoors(
                services=self.services,
                config=self.config,
                clock=self.clock,
                metrics=self.metrics,
                log=get_logger("deskbell.api"),
                sockets=AsgiDoors(self.doors),
                readiness=self._readiness,
                demo_session=demo_session,
                metrics_page=metrics_page,
                version=version,
                database_info=lambda: self.health.database,
            )
        )

    def port(self, most_bytes: int) -> Port:
        """The WebSocket doors once more, for a port of their own. `most_bytes`: of one message."""
        return Port(self.doors, most_bytes)

    async def drain(self, hurry: asyncio.Event | None = None) -> None:
        """Not ready any more; ask the sockets to leave, wait for what is under way, and close them. `hurry` ends the
        waiting."""
        await drain(self.house, hurry)

    async def close(self) -> None:
        """Write what waits, stop the background, let go of connections."""
        await self.writer.close()
        await self.acks.flush()
        await self.tasks.close()
        await self.bus.close()
        for sender in {id(sender): sender for sender in self.senders.values()}.values():
            await sender.close()
        await self.outgoing.close()
        await self.database.close()

    async def _readiness(self) -> dict[str, str]:
        reasons = await self.health.reasons()
        if self.house.draining:
            reasons["drain"] = "this node is going away"
        if "gateway" in self.roles and self.sweep.late > 0:
            reasons["sweep"] = f"the sweep is {self.sweep.late:.1f} s late"
        return reasons

    def _announce(self, written: Written) -> None:
        announce(self.bus, written)


def _bus(config: Config, clock: Clock, metrics: Metrics) -> Bus:
    """In the process for one node, Redis between several. Raises ConfigError for a URL that Redis' client refuses."""
    if config.redis.url is None:
        return MemoryBus()
    try:
        return RedisBus(config.redis.url, clock, metrics.registry, get_logger("deskbell.bus"))
    except ValueError as problem:
        raise ConfigError(f"DESKBELL_REDIS_URL: its value will not do: {problem}") from None


def _outgoing(config: Config, clock: Clock) -> Outgoing:
    """Calls to the apps' own servers; imported here because it takes a third of a second."""
    from server.outgoing.aiohttp import AiohttpOutgoing

    return AiohttpOutgoing(clock, config.network.allow_private_targets)


def _senders(config: Config, log: Any) -> dict[str, Sender]:
    """A sender for each provider; without credentials it records and logs."""
    recording = RecordingSender(log)
    senders: dict[str, Sender] = {"fcm": recording, "apns": recording, "webpush": recording}
    if config.push.fcm_credentials is not None:
        senders["fcm"] = FcmSender(config.push.fcm_credentials, endpoint=config.push.fcm_endpoint)
    return senders

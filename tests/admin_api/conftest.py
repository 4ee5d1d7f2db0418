"""The whole HTTP application over a real database, called in the process; two apps that must not see each other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from admin_api.app import ApiDoors, create_app
from server.clock import SystemClock
from server.config import Config
from server.domain.events import Author, AuthorType
from server.domain.ids import user_id_of
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.services.directory import Place
from server.services.people import Facts
from server.storage.database import Database
from server.telemetry import get_logger
from server.wiring import Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

    from server.domain.numbering import Numbered

BASE = "http://desk.test"
SECRET_KEY = "a secret key for tests, long enough"


@dataclass
class Tenant:
    """One app with a server key, and one agent who works for it."""

    app: UUID
    name: str
    server_key: str
    agent: UUID
    email: str
    token: str
    password: str


class Site:
    """A node's application, and clients for it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.app = self.application()
        self.clients: list[httpx.AsyncClient] = []

    def doors(self, **other: Any) -> ApiDoors:
        """What wiring gives to the application, with `other` instead of some of it."""
        doors = ApiDoors(
            services=self.node.services,
            config=self.node.config,
            clock=self.node.clock,
            metrics=self.node.metrics,
            log=get_logger("test"),
            chat=no_socket,
            desk=no_socket,
            readiness=no_reasons,
            demo_session=None,
            version="1.2.3",
            database_info=lambda: {"version": "18"},
        )
        return dataclasses.replace(doors, **other)

    def application(self, **other: Any) -> Starlette:
        return create_app(self.doors(**other))

    def client(self, token: str | None = None, *, app: Any = None, base: str = BASE) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        transport = httpx.ASGITransport(app or self.app)
        client = httpx.AsyncClient(transport=transport, base_url=base, headers=headers)
        self.clients.append(client)
        return client

    async def tenant(self, name: str) -> Tenant:
        services = self.node.services
        made = await services.apps.create(name)
        email = f"{name.lower()}-{uuid4().hex[:8]}@example.org"
        agent = await services.agents.create(email, made.app.app_id, name=f"Agent of {name}", password=f"{name} enters")
        return Tenant(
            made.app.app_id, name, made.server_key, agent.agent.agent_id, email, agent.token, f"{name} enters"
        )

    async def open(
        self,
        tenant: Tenant,
        external_id: str,
        text: str = "Hello",
        *,
        topic: str | None = None,
        ride: str | None = None,
    ) -> UUID:
        """The user opens a conversation; returns its id."""
        place = await self.place(tenant, external_id)
        author = Author(AuthorType.USER, str(place.user_id))
        first = Message(uuid4(), author, from_struct(Text(text=text)))
        await self.node.services.messaging.open(place, author, topic=topic, transaction_id=ride, first=first)
        return place.conversation_id

    async def write(self, tenant: Tenant, external_id: str, conversation: UUID, text: str) -> Numbered:
        """The user writes."""
        place = await self.place(tenant, external_id, conversation)
        author = Author(AuthorType.USER, str(place.user_id))
        return await self.node.services.messaging.post(place, Message(uuid4(), author, from_struct(Text(text=text))))

    async def place(self, tenant: Tenant, external_id: str, conversation: UUID | None = None) -> Place:
        await self.node.services.people.put(tenant.app, external_id, Facts())
        return Place(tenant.app, user_id_of(tenant.app, external_id), conversation or uuid4())


async def no_socket(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("no test here opens a socket")


async def no_reasons() -> dict[str, str]:
    return {}


@pytest.fixture
async def site(database_url: str, tmp_path: Any) -> AsyncIterator[Site]:
    config = Config.load({"DESKBELL_DATA_DIR": str(tmp_path)})
    database = await Database.connect(database_url)
    node = Node(config, SystemClock(), database, SECRET_KEY, frozenset())
    node.writer.start(node.tasks)
    await node.bus.start(node.hub.receive)
    site = Site(node)
    yield site
    for client in site.clients:
        await client.aclose()
    await node.close()


@pytest.fixture
async def kestrel(site: Site) -> Tenant:
    return await site.tenant("Kestrel")


@pytest.fixture
async def other(site: Site) -> Tenant:
    return await site.tenant("Other")


@pytest.fixture
def server(site: Site, kestrel: Tenant) -> httpx.AsyncClient:
    """The app's own server."""
    return site.client(kestrel.server_key)


@pytest.fixture
def desk(site: Site, kestrel: Tenant) -> httpx.AsyncClient:
    """The agent, by token."""
    return site.client(kestrel.token)

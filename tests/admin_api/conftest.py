"""The whole HTTP application over a real database, called in the process; tenants that must not meet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from admin_api.app import ApiDoors, create_app
from server.clock import SystemClock
from server.config import Config
from server.domain.agents import Agent, Role
from server.domain.events import Author, AuthorType
from server.domain.ids import AGENT_TOKEN_PREFIX, new_id, new_secret, secret_hash, user_id_of
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.services.directory import Place
from server.services.people import Facts
from server.storage import agents
from server.storage.database import Database
from server.storage.migrate import migrate
from server.telemetry import get_logger
from server.wiring import Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette
    from starlette.types import Receive, Scope, Send

    from server.domain.numbering import Numbered
    from tests.support.postgres import PostgresForTests

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
            sockets=no_socket,
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
        """An app and an agent with a token. The agent has no password: hashing one takes longer than most tests."""
        made = await self.node.services.apps.create(name)
        app_id, now, token = made.app.app_id, self.node.clock.now(), new_secret(AGENT_TOKEN_PREFIX)
        email = f"{name.lower()}-{uuid4().hex[:8]}@example.org"
        agent = Agent(agent_id=new_id(now), email=email, name=f"Agent of {name}")
        async with self.node.database.transaction() as session:
            await agents.upsert(session, agent, None, now)
            await agents.put_membership(session, app_id, agent.agent_id, Role.AGENT, now)
            await agents.insert_token(session, secret_hash(token), agent.agent_id, "token", now, None)
        return Tenant(app_id, name, made.server_key, agent.agent_id, email, token)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for all tests here, since they share a node; each has tenants of its own instead."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def node(postgres: PostgresForTests, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    config = Config.load({"DESKBELL_DATA_DIR": str(tmp_path_factory.mktemp("admin_api"))})
    with postgres.fresh_database() as url:
        await migrate(url, SystemClock())
        node = Node(config, SystemClock(), await Database.connect(url), SECRET_KEY, frozenset())
        node.writer.start(node.tasks)
        await node.bus.start(node.hub.receive)
        yield node
        await node.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site(node: Node) -> AsyncIterator[Site]:
    site = Site(node)
    yield site
    for client in site.clients:
        await client.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def kestrel(site: Site) -> Tenant:
    return await site.tenant("Kestrel")


@pytest_asyncio.fixture(loop_scope="session")
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

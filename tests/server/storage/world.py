"""A database with one app and users, and a writer over it: what storage tests stand on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from server.clock import SystemClock
from server.domain.events import Author, AuthorType
from server.domain.ids import user_id_of
from server.domain.intents import Message, Open, Post
from server.domain.message import Text, from_struct
from server.storage import apps, conversations, log, people
from server.storage.apps import App
from server.storage.database import Database
from server.storage.writer import Writer
from server.tasks import Tasks
from server.telemetry import Metrics, get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.domain.numbering import Numbered
    from server.storage.batch import Written

AGENT = Author(AuthorType.AGENT, str(uuid4()), "Robin")


class World:
    """`announced` holds what the writer told after each commit."""

    def __init__(self, database: Database, writer: Writer, app_id: UUID) -> None:
        self.database = database
        self.writer = writer
        self.app_id = app_id
        self.announced: list[Written] = []

    async def user(self, external_id: str = "ada") -> UUID:
        user_id = user_id_of(self.app_id, external_id)
        async with self.database.session() as session:
            await people.ensure(session, self.app_id, user_id, external_id, SystemClock().now(), name=external_id)
        return user_id

    def author(self, user_id: UUID) -> Author:
        return Author(AuthorType.USER, str(user_id))

    def message(self, author: Author, text: str = "hi", message_id: UUID | None = None) -> Message:
        return Message(message_id or uuid4(), author, from_struct(Text(text=text)))

    def opening(
        self,
        user_id: UUID,
        conversation_id: UUID | None = None,
        text: str | None = "help",
        transaction: str | None = None,
    ) -> Open:
        author = self.author(user_id)
        return Open(
            app_id=self.app_id,
            user_id=user_id,
            conversation_id=conversation_id or uuid4(),
            author=author,
            transaction_id=transaction,
            message=self.message(author, text) if text else None,
        )

    def post(
        self,
        user_id: UUID,
        conversation_id: UUID,
        message: Message | None = None,
        *,
        after: UUID | None = None,
        expected_seq: int | None = None,
    ) -> Post:
        return Post(
            app_id=self.app_id,
            user_id=user_id,
            conversation_id=conversation_id,
            message=message or self.message(self.author(user_id)),
            after=after,
            expected_seq=expected_seq,
        )

    async def open(self, user_id: UUID, **options: str | None) -> tuple[UUID, Numbered]:
        conversation_id = uuid4()
        opening = self.opening(user_id, conversation_id, **options)
        return conversation_id, await self.writer.append_one(opening)


@contextlib.asynccontextmanager
async def world_on(url: str, *, lanes: int = 2) -> AsyncIterator[World]:
    """Build it on a migrated database; everything is closed at the end."""
    clock = SystemClock()
    log = get_logger("test")
    database = await Database.connect(url, min_connections=1, max_connections=8)
    tasks = Tasks(log, clock)
    announced: list[Written] = []
    writer = Writer(database, clock, Metrics(), log, announce=announced.append, lanes=lanes)
    writer.start(tasks)
    app_id = uuid4()
    try:
        async with database.session() as session:
            await apps.insert_app(session, App(app_id, "Test"), clock.now())
        world = World(database, writer, app_id)
        world.announced = announced
        yield world
    finally:
        await writer.close()
        await tasks.close()
        await database.close()


async def log_of(world: World, user_id: UUID) -> list[int]:
    return [event.usn or 0 for event in (await log.after_usn(world.database, world.app_id, user_id, 0, 10_000)).events]


async def seqs_of(world: World, user_id: UUID, conversation_id: UUID) -> list[int]:
    events = await log.after_seq(world.database, world.app_id, user_id, conversation_id, 0, 10_000)
    return [event.seq for event in events]


async def summary(world: World, user_id: UUID, conversation_id: UUID) -> conversations.Listed:
    found = await conversations.find(world.database, world.app_id, user_id, conversation_id)
    assert found is not None
    return found

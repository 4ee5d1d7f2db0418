"""Summaries of conversations, as a phone lists them and as the desk does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from server.domain.events import Author, AuthorType
from server.storage.rows import conversation_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record

    from server.domain.conversation import Conversation
    from server.storage.database import Database, Session


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A summary with the names one reads beside it. `context` is the snapshot's JSON, where it was asked for."""

    conversation: Conversation
    external_id: str
    user_name: str | None
    assignee: Author | None
    context: bytes | None = None


class InboxQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which conversations; None is any. `by_updated`: last touched first, else last opened first.

    `after`: the sort time and the id of the last one seen.
    """

    apps: list[UUID]
    status: str | None = None
    assignee: UUID | None = None
    unassigned: bool = False
    topic: str | None = None
    tag: str | None = None
    text: str | None = None
    by_updated: bool = False
    after: tuple[datetime, UUID] | None = None
    limit: int = 50


def _listed(row: Record, context: bytes | None = None) -> Listed:
    assignee = row["assignee"]
    return Listed(
        conversation=conversation_of(row),
        external_id=row["external_id"],
        user_name=row["user_name"],
        assignee=(
            Author(AuthorType.AGENT, str(assignee), row["assignee_name"], row["assignee_avatar"]) if assignee else None
        ),
        context=context,
    )


async def locate(database: Database, conversation_id: UUID) -> tuple[UUID, UUID] | None:
    """The app and the user a conversation belongs to. It never changes, so it may be cached for ever."""
    row = await database.row("find_directory", conversation_id)
    return (row["app_id"], row["user_id"]) if row else None


async def find(database: Database, app_id: UUID, user_id: UUID, conversation_id: UUID) -> Listed | None:
    row = await database.row("find_conversation", app_id, user_id, conversation_id)
    return _listed(row) if row else None


async def find_many(database: Database, places: Sequence[tuple[UUID, UUID, UUID]]) -> list[Listed]:
    """Summaries of (app, user, conversation)."""
    columns = [[place[column] for place in places] for column in range(3)]
    return [_listed(row) for row in await database.rows("find_conversations", *columns)]


async def list_of_user(session: Session, app_id: UUID, user_id: UUID, limit: int) -> list[Listed]:
    """A user's conversations with their snapshots, the last touched first."""
    rows = await session.rows("list_user_conversations", app_id, user_id, limit)
    return [_listed(row, row["context"]) for row in rows]


async def list_inbox(database: Database, query: InboxQuery) -> list[Listed]:
    at, last = query.after or (None, None)
    async with database.transaction() as session:
        # One plan for all filters, set or not, is one for none: PostgreSQL would read every conversation of the app.
        await session.value("plan_for_these_values")
        rows = await session.rows(
            "list_inbox_by_updated" if query.by_updated else "list_inbox_by_opened",
            query.apps,
            query.status,
            query.assignee,
            query.unassigned,
            query.topic,
            query.tag,
            query.text,
            at,
            last,
            query.limit,
        )
    return [_listed(row) for row in rows]


async def find_snapshot(database: Database, app_id: UUID, user_id: UUID, conversation_id: UUID) -> bytes | None:
    """The frozen context as JSON."""
    body: bytes | None = await database.value("find_snapshot", app_id, user_id, conversation_id)
    return body


async def touched_since(
    database: Database, apps: list[UUID], since: datetime, limit: int
) -> list[tuple[UUID, UUID, UUID, int]]:
    """(app, user, conversation, rev) of what has changed in the inboxes of `apps`."""
    rows = await database.rows("list_touched_since", apps, since, limit)
    return [(row["app_id"], row["user_id"], row["conversation_id"], row["rev"]) for row in rows]


async def heads(database: Database, places: Sequence[tuple[UUID, UUID, UUID]]) -> dict[UUID, int]:
    """The newest `seq` of each (app, user, conversation)."""
    columns = [[place[column] for place in places] for column in range(3)]
    return {row["conversation_id"]: row["seq"] for row in await database.rows("sweep_conversations", *columns)}

"""Letting go of words that are old enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.storage import people

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from server.storage.database import Database

Place = tuple["UUID", "UUID", "UUID"]


async def expired(database: Database, before: datetime, limit: int) -> list[Place]:
    """(app, user, conversation) that are resolved and were last touched before `before`."""
    rows = await database.rows("list_expired_conversations", before, limit)
    return [(row["app_id"], row["user_id"], row["conversation_id"]) for row in rows]


async def trim(database: Database, place: Place, before: datetime) -> bool:
    """Trim one conversation; False if it was touched meanwhile. The user is locked, so nothing is numbered now."""
    async with database.transaction() as tx:
        await people.lock(tx, place[0], place[1])
        if not await tx.run("trim_conversation", *place, before):
            return False
        newest = await tx.value("trim_events", *place)
        await tx.run("trim_snapshot", *place)
        await tx.run("trim_actions", *place)
        await tx.run("raise_trimmed_usn", place[0], place[1], newest)
        return True

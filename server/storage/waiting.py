"""Who waits for an answer, read."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

    from server.storage.database import Database


class Wait(msgspec.Struct, frozen=True):
    """One who waits. `p50_s`, `p90_s`: how long answers took lately; None when too few are known."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    position: int
    p50_s: int | None
    p90_s: int | None


async def queue(database: Database, app_id: UUID, limit: int) -> list[tuple[UUID, UUID]]:
    """(user, conversation) of those who wait, the longest first."""
    rows = await database.rows("list_waiting", app_id, limit)
    return [(row["user_id"], row["conversation_id"]) for row in rows]


async def recent_waits(database: Database, app_id: UUID, since: datetime, limit: int) -> list[int]:
    """Seconds that the newest answers took."""
    return [row["last_wait_s"] for row in await database.rows("list_recent_waits", app_id, since, limit)]

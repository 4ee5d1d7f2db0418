"""Actions, read; claimed and looked at by workers. They are written by `storage.batch`, because a step is an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec

from server.domain.action import Action
from server.storage.action_rows import action_of

if TYPE_CHECKING:
    from datetime import datetime

    from asyncpg import Record

    from server.storage.database import Database

_NEWEST = UUID(int=2**128 - 1)


class Listed(msgspec.Struct, frozen=True):
    """An action with the names of those who asked for it and decided."""

    action: Action
    requested_name: str | None
    decided_name: str | None


class Claimed(NamedTuple):
    """Ours while the claim `token` holds."""

    app_id: UUID
    user_id: UUID
    action_id: UUID
    definition_id: UUID
    token: UUID


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a call depends on. `sealed`: the secrets, encrypted, newest first."""

    action: Action
    url: str
    sealed: list[bytes]
    external_id: str
    requested_name: str | None
    requested_avatar: str | None
    decided_name: str | None


def _listed(row: Record) -> Listed:
    return Listed(action_of(row), row["requested_name"], row["decided_name"])


async def find(database: Database, action_id: UUID, apps: list[UUID]) -> Listed | None:
    """In one of `apps`."""
    row = await database.row("find_action", action_id, apps)
    return _listed(row) if row else None


async def list_of_apps(
    database: Database, apps: list[UUID], states: list[str], before: UUID | None, limit: int
) -> list[Listed]:
    """Newest first."""
    return [_listed(row) for row in await database.rows("list_actions", apps, states, before or _NEWEST, limit)]


async def list_of_conversation(
    database: Database, app_id: UUID, user_id: UUID, conversation_id: UUID, before: UUID | None, limit: int
) -> list[Listed]:
    """Newest first."""
    rows = await database.rows("list_conversation_actions", app_id, user_id, conversation_id, before or _NEWEST, limit)
    return [_listed(row) for row in rows]


async def claim(
    database: Database, now: datetime, until: datetime, token: UUID, busy: list[UUID], limit: int
) -> list[Claimed]:
    """Take up to `limit` that are due, none of the definitions in `busy`."""
    rows = await database.rows("claim_actions", now, token, until, busy, limit)
    return [Claimed(row["app_id"], row["user_id"], row["action_id"], row["definition_id"], token) for row in rows]


async def look(database: Database, claimed: Claimed, now: datetime) -> Look | None:
    """None if it is not ours any more."""
    row = await database.row(
        "look_before_action", claimed.app_id, claimed.user_id, claimed.action_id, claimed.token, now
    )
    if row is None:
        return None
    return Look(
        action=action_of(row),
        url=row["url"],
        sealed=row["sealed"],
        external_id=row["external_id"],
        requested_name=row["requested_name"],
        requested_avatar=row["requested_avatar"],
        decided_name=row["decided_name"],
    )


async def oldest_due(database: Database, now: datetime) -> datetime | None:
    """Since when something is due that nobody works on."""
    due: datetime | None = await database.value("oldest_action", now)
    return due

"""What apps let their agents do, and the secrets with which it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from server.domain.action import Definition
from server.domain.transaction import Amount
from server.domain.webhook import MOST_SECRETS, OVERLAP

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record

    from server.storage.database import Database, Session

_object = msgspec.json.Decoder(dict)
_encode = msgspec.json.Encoder().encode


def _definition(row: Record) -> Definition:
    value = row["limit_value"]
    return Definition(
        app_id=row["app_id"],
        definition_id=row["definition_id"],
        name=row["name"],
        title=row["title"],
        url=row["url"],
        kinds=row["kinds"],
        parameters=_object.decode(row["parameters"]),
        amount_limit=Amount(value, row["limit_currency"]) if value is not None else None,
        over_limit=row["over_limit"],
        approval=row["approval"],
        allow_parallel=row["allow_parallel"],
        enabled=row["enabled"],
        made_as=row["made_as"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


async def lock_app(session: Session, app_id: UUID) -> None:
    """Until the end of the transaction nobody else changes the app's definitions."""
    await session.value("lock_app", app_id)


async def count(session: Session, app_id: UUID) -> int:
    return int(await session.value("count_action_definitions", app_id))


async def insert(session: Session, definition: Definition) -> None:
    limit = definition.amount_limit
    await session.run(
        "insert_action_definition",
        definition.definition_id,
        definition.app_id,
        definition.name,
        definition.title,
        definition.url,
        definition.kinds,
        _encode(definition.parameters),
        limit.value if limit else None,
        limit.currency if limit else None,
        definition.over_limit,
        definition.approval,
        definition.allow_parallel,
        definition.enabled,
        definition.made_as,
        definition.created_at,
    )


async def find(source: Database | Session, app_id: UUID, definition_id: UUID) -> Definition | None:
    row = await source.row("find_action_definition", app_id, definition_id)
    return _definition(row) if row else None


async def find_by_name(source: Database | Session, app_id: UUID, name: str) -> Definition | None:
    row = await source.row("find_action_definition_by_name", app_id, name)
    return _definition(row) if row else None


async def list_definitions(database: Database, app_id: UUID, after: UUID | None, limit: int) -> list[Definition]:
    return [_definition(row) for row in await database.rows("list_action_definitions", app_id, after, limit)]


async def put(session: Session, definition: Definition) -> None:
    """Write what the app may change."""
    limit = definition.amount_limit
    await session.run(
        "put_action_definition",
        definition.app_id,
        definition.definition_id,
        definition.title,
        definition.url,
        definition.kinds,
        _encode(definition.parameters),
        limit.value if limit else None,
        limit.currency if limit else None,
        definition.over_limit,
        definition.approval,
        definition.allow_parallel,
        definition.enabled,
        definition.updated_at,
    )


async def delete(database: Database, app_id: UUID, definition_id: UUID, at: datetime) -> bool:
    """It cannot be pressed any more. It stays with its secrets for what was pressed before."""
    return bool(await database.run("delete_action_definition", app_id, definition_id, at))


async def add_secret(session: Session, definition_id: UUID, secret_id: UUID, sealed: bytes, at: datetime) -> None:
    """The newest one from now on; the ones before sign on beside it for a while."""
    await session.run("insert_action_secret", secret_id, definition_id, sealed, at)
    await session.run("retire_action_secrets", definition_id, secret_id, at + OVERLAP)
    await session.run("drop_action_secrets", definition_id, at, MOST_SECRETS)


async def list_secrets(session: Session, definition_id: UUID, at: datetime) -> list[bytes]:
    """Those that are valid, encrypted, newest first."""
    return [row["sealed"] for row in await session.rows("list_action_secrets", definition_id, at)]

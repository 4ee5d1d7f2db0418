"""Endpoints of webhooks, their secrets, and what an app reads of its deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from server.domain.webhook import MOST_SECRETS, OVERLAP

if TYPE_CHECKING:
    from asyncpg import Record

    from server.storage.database import Database, Session


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`enabled` is the app's wish; `paused_at` ours, after a day of failures. `reason`: why it is off, in words.
    `made_as`: a digest of what was asked for when it was made."""

    app_id: UUID
    endpoint_id: UUID
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    reason: str | None
    paused_at: datetime | None
    failing_since: datetime | None
    made_as: bytes
    created_at: datetime
    updated_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event at one endpoint. `next_at` None: it waits for an earlier one, or for nothing."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    endpoint_id: UUID
    event_id: UUID
    type: str
    seq: int | None
    state: str
    attempts: int
    status: int | None
    error: str | None
    tried_at: datetime | None
    next_at: datetime | None
    created_at: datetime


def _endpoint(row: Record) -> Endpoint:
    return Endpoint(**{name: row[name] for name in Endpoint.__struct_fields__})


def _delivery(row: Record) -> Delivery:
    first = row["state"] == "pending" and row["place"] == row["done"] + 1
    named = {name: row[name] for name in Delivery.__struct_fields__ if name != "next_at"}
    return Delivery(**named, next_at=row["due_at"] if first and not row["claimed"] else None)


async def insert(session: Session, endpoint: Endpoint) -> bool:
    """False if its id was that of one that is deleted."""
    return bool(
        await session.run(
            "insert_webhook",
            endpoint.endpoint_id,
            endpoint.app_id,
            endpoint.url,
            endpoint.events,
            endpoint.description,
            endpoint.made_as,
            endpoint.created_at,
        )
    )


async def lock_app(session: Session, app_id: UUID) -> None:
    """Until the end of the transaction nobody else changes the app's endpoints."""
    await session.value("lock_app", app_id)


async def count(session: Session, app_id: UUID) -> int:
    return int(await session.value("count_webhooks", app_id))


async def find(source: Database | Session, app_id: UUID, endpoint_id: UUID) -> Endpoint | None:
    row = await source.row("find_webhook", app_id, endpoint_id)
    return _endpoint(row) if row else None


async def list_endpoints(database: Database, app_id: UUID, after: UUID | None, limit: int) -> list[Endpoint]:
    return [_endpoint(row) for row in await database.rows("list_webhooks", app_id, after, limit)]


async def put(session: Session, endpoint: Endpoint, at: datetime, *, resumed: bool) -> Endpoint | None:
    """Write what the app may choose. `resumed`: begin anew with it, whatever its past; what waits is due now."""
    if resumed:
        await session.run("resume_webhooks", endpoint.endpoint_id, at)
    row = await session.row(
        "put_webhook",
        endpoint.app_id,
        endpoint.endpoint_id,
        endpoint.url,
        endpoint.events,
        endpoint.description,
        endpoint.enabled,
        at,
        resumed,
    )
    return _endpoint(row) if row else None


async def delete(session: Session, app_id: UUID, endpoint_id: UUID, at: datetime) -> bool:
    """Nothing is called or signed any more; what is left of it goes later (workers/webhook_retention.py)."""
    if not await session.run("delete_webhook", app_id, endpoint_id, at):
        return False
    await session.run("drop_webhook_secrets", endpoint_id, at, 0)
    return True


async def announce_change(session: Session) -> None:
    """Every batch that begins after the commit knows what is wanted now."""
    await session.run("bump_webhooks")


async def database_time(database: Database) -> datetime:
    at: datetime = await database.value("database_time")
    return at


async def is_older_under_way(database: Database, moment: datetime) -> bool:
    """Whether a transaction that began before `moment` is not over yet: it may write without knowing of the change."""
    return bool(await database.value("older_transactions", moment))


async def add_secret(session: Session, endpoint_id: UUID, secret_id: UUID, sealed: bytes, at: datetime) -> None:
    """The newest one from now on; the ones before sign on beside it for a while."""
    await session.run("insert_webhook_secret", secret_id, endpoint_id, sealed, at)
    await session.run("retire_webhook_secrets", endpoint_id, secret_id, at + OVERLAP)
    await session.run("drop_webhook_secrets", endpoint_id, at, MOST_SECRETS)


async def list_secrets(source: Database | Session, endpoint_id: UUID, at: datetime) -> list[bytes]:
    """Those that are valid, encrypted, newest first."""
    return [row["sealed"] for row in await source.rows("list_webhook_secrets", endpoint_id, at)]


async def note_success(database: Database, endpoint_id: UUID) -> None:
    await database.run("note_webhook_success", endpoint_id)


async def note_failure(
    database: Database,
    endpoint_id: UUID,
    at: datetime,
    *,
    held_until: datetime | None,
    failing_before: datetime,
    failures: int,
    reason: str,
) -> datetime | None:
    """One more failure. Paused, with `reason`, if nothing but failures was seen since `failing_before` and there were
    `failures` of them. Returns since when it is paused."""
    paused: datetime | None = await database.value(
        "note_webhook_failure", endpoint_id, at, held_until, failing_before, failures, reason
    )
    return paused


async def disable(database: Database, endpoint_id: UUID, reason: str) -> None:
    """The endpoint does not want to be called any more."""
    async with database.transaction() as tx:
        if await tx.run("disable_webhook", endpoint_id, reason):
            await announce_change(tx)


async def list_deliveries(
    database: Database, endpoint_id: UUID, states: list[str], before: UUID | None, limit: int
) -> list[Delivery]:
    """Newest first."""
    rows = await database.rows("list_webhook_deliveries", endpoint_id, states, before or UUID(int=2**128 - 1), limit)
    return [_delivery(row) for row in rows]


async def find_delivery(database: Database, endpoint_id: UUID, event_id: UUID) -> Delivery | None:
    row = await database.row("find_webhook_delivery", endpoint_id, event_id)
    return _delivery(row) if row else None


async def replay(database: Database, delivery: Delivery, at: datetime) -> bool:
    """Once more, at the end of its lane; one that waits is due now. False if its state is another one by now."""
    place = (delivery.app_id, delivery.user_id, delivery.conversation_id, delivery.endpoint_id)
    values = (delivery.event_id, at, delivery.state == "pending")
    return bool(await database.run("replay_webhook", *place, *values))


async def list_ids(database: Database) -> list[UUID]:
    """Of all endpoints there are, deleted ones too."""
    return [row["endpoint_id"] for row in await database.rows("list_webhook_ids")]


async def list_deleted(database: Database, before: datetime) -> list[UUID]:
    return [row["endpoint_id"] for row in await database.rows("list_deleted_webhooks", before)]


async def forget(database: Database, endpoint_id: UUID) -> None:
    """The row of a deleted one, when nothing else is left of it."""
    await database.run("forget_webhook", endpoint_id)

"""Transactions, read. They are written by `storage.writer`, because a new version is an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.storage.rows import transaction_of

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from server.domain.transaction import Transaction
    from server.storage.database import Database, Session


async def list_newest(
    source: Database | Session,
    app_id: UUID,
    user_id: UUID,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> list[tuple[datetime, Transaction]]:
    """Newest first, each with the time it is sorted by. `after`: that time and the id of the last one seen."""
    at, last = after or (None, None)
    rows = await source.rows("list_transactions", app_id, user_id, at, last, limit)
    return [(row["recency"], transaction_of(row)) for row in rows]


async def find_many(database: Database, app_id: UUID, user_id: UUID, ids: list[str]) -> list[Transaction]:
    return [transaction_of(row) for row in await database.rows("find_transactions", app_id, user_id, ids)]

"""Keeping the planner's picture of young tables true.

A connection keeps the plan of a prepared statement until the statistics of its tables change. Plans made while a table
was empty read it from end to end, and autovacuum looks only once a minute: long enough for a new installation to become
slow in its first minute of load (decision 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.storage.database import Database


async def refresh(database: Database) -> list[str]:
    """Let PostgreSQL look at the tables that have changed a lot; returns their names. A table that somebody else is
    looking at is passed over. Raises Unavailable."""
    async with database.session() as session:
        stale = [row["relname"] for row in await session.rows("list_stale_statistics")]
        for table in stale:
            await session.connection.execute(f'analyze (skip_locked) "{table}"')
    return stale

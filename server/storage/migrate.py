"""Brings a database to the schema this build needs: plain SQL files, numbered, checksummed, each in a transaction.

Many nodes may start at once: they take turns on an advisory lock, *polled* because a blocking one deadlocks with
`CREATE INDEX CONCURRENTLY` (the waiting session holds a snapshot that the index build waits for).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING

import asyncpg
import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from asyncpg import Record

    from server.clock import Clock

LOCK_KEY = 0x6465736B_62656C6C  # "deskbell"
LOCK_POLL_S = 0.05
FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")


class MigrationError(Exception):
    """The database cannot be brought to this build's schema; `str()` is one line that says what to do."""


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> list[Migration]:
    """The migrations of this build, in order. Raises ValueError for a gap or an odd file name."""
    folder = resources.files("server.storage") / "sql" / "migrations"
    found = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        match = FILE.match(file.name)
        if not match:
            raise ValueError(f"{file.name} is not called like a migration (0001_name.sql)")
        found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("the migrations are not numbered 1, 2, 3 …")
    return found


async def migrate(
    url: str, clock: Clock, *, say: Callable[[str], None] = lambda _line: None, known: Sequence[Migration] | None = None
) -> int:
    """Apply what is missing and return how many were applied.

    Raises MigrationError when the database is newer than this build, or when a file differs from what was applied.
    """
    known = load_migrations() if known is None else known
    connection = await asyncpg.connect(url)
    try:
        async with _turn(connection, clock, say):
            await connection.execute(
                "create table if not exists schema_migration (number integer primary key, name text not null,"
                " checksum text not null, applied_at timestamptz not null)"
            )
            rows = await connection.fetch("select number, name, checksum from schema_migration order by number")
            pending = _pending(known, [(row["number"], row["name"], row["checksum"]) for row in rows])
            for migration in pending:
                say(f"migrating the database: {migration.number:04} {migration.name}")
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute(
                        "insert into schema_migration values ($1, $2, $3, $4)",
                        migration.number,
                        migration.name,
                        migration.checksum,
                        clock.now(),
                    )
            return len(pending)
    finally:
        await connection.close()


def _pending(known: Sequence[Migration], applied: list[tuple[int, str, str]]) -> list[Migration]:
    for number, name, checksum in applied:
        if number > len(known):
            raise MigrationError(
                f"The database is newer than this build (it has migration {number:04}_{name}, this build ends at"
                f" {len(known):04}). Start the newer Deskbell, or restore an older database."
            )
        if known[number - 1].checksum != checksum:
            raise MigrationError(
                f"Migration {number:04}_{name} was changed after it was applied. Put the file back as it was released;"
                " changes go into a new migration."
            )
    return list(known[len(applied) :])


@asynccontextmanager
async def _turn(
    connection: asyncpg.Connection[Record], clock: Clock, say: Callable[[str], None]
) -> AsyncIterator[None]:
    waited = False
    while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY):
        if not waited:
            say("another node is migrating the database; waiting for it")
            waited = True
        await clock.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.is_closed():
            await asyncio.shield(connection.fetchval("select pg_advisory_unlock($1)", LOCK_KEY))

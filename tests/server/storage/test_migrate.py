"""Migrations: they end in exactly `schema.sql`, many nodes may run them at once, and nothing odd is applied."""

from __future__ import annotations

import asyncio
import re
from importlib import resources

import asyncpg
import pytest

from server.clock import SystemClock
from server.storage.migrate import LOCK_KEY, Migration, MigrationError, load_migrations, migrate

SCHEMA = (resources.files("server.storage") / "sql" / "schema.sql").read_text(encoding="utf-8")
CATALOG = """
select 'column' as what, table_name || '.' || column_name as name,
    concat_ws(' ', data_type, is_nullable, column_default, character_maximum_length) as detail
from information_schema.columns where table_schema = 'public'
union all
select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'public'::regnamespace
union all
select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
order by 1, 2, 3
"""


async def catalog(url: str) -> list[tuple[str, str, str]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(CATALOG)
    finally:
        await connection.close()
    return [tuple(row) for row in rows if "schema_migration" not in row["name"]]


async def test_schema_sql_is_what_the_migrations_make(database_url: str, empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(SCHEMA)
    await connection.close()

    made, written = await catalog(database_url), await catalog(empty_database)

    assert made == written
    assert len(made) > 100


async def test_six_nodes_at_once(empty_database: str) -> None:
    said: list[str] = []

    applied = await asyncio.gather(*[migrate(empty_database, SystemClock(), say=said.append) for _ in range(6)])

    assert sorted(applied) == [0] * 5 + [len(load_migrations())]
    assert sum(line.startswith("migrating") for line in said) == len(load_migrations())


async def test_a_node_waits_for_another_that_migrates(empty_database: str) -> None:
    holder = await asyncpg.connect(empty_database)
    await holder.fetchval("select pg_advisory_lock($1)", LOCK_KEY)
    waiting = asyncio.Event()
    task = asyncio.ensure_future(migrate(empty_database, SystemClock(), say=lambda _line: waiting.set()))
    async with asyncio.timeout(10):
        await waiting.wait()
        assert not task.done()
        await holder.fetchval("select pg_advisory_unlock($1)", LOCK_KEY)
        assert await task == len(load_migrations())
    await holder.close()


async def test_a_newer_database_is_refused(database_url: str) -> None:
    newer = [*load_migrations(), Migration(len(load_migrations()) + 1, "future", "create table future (x integer)")]
    await migrate(database_url, SystemClock(), known=newer)

    with pytest.raises(MigrationError, match="newer than this build"):
        await migrate(database_url, SystemClock())


async def test_a_changed_migration_is_refused(database_url: str) -> None:
    first, *rest = load_migrations()

    with pytest.raises(MigrationError, match="0001_initial was changed"):
        await migrate(database_url, SystemClock(), known=[Migration(1, first.name, first.sql + " "), *rest])


async def test_a_migration_that_fails_leaves_nothing_behind(database_url: str) -> None:
    number = len(load_migrations()) + 1
    broken = Migration(number, "broken", "create table half (x integer); select 1 / 0")
    before = await catalog(database_url)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database_url, SystemClock(), known=[*load_migrations(), broken])

    assert await catalog(database_url) == before
    assert await migrate(database_url, SystemClock()) == 0


def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))
    assert all(re.fullmatch(r"\w+", migration.name) for migration in load_migrations())

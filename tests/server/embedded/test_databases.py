"""The databases of a test run, and the small protocol client they and the supervisor use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from server.embedded.wire import NO_SUCH_DATABASE, Connection, Refusal
from tests.server.embedded.test_start import ask
from tests.support.postgres import PostgresForTests, running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def databases() -> Iterator[PostgresForTests]:
    with running_postgres() as server:
        yield server
    assert not server.data_dir.exists()


def test_each_gets_its_own_copy_of_the_template(databases: PostgresForTests) -> None:
    prepared: list[str] = []

    def prepare(dsn: str) -> None:
        prepared.append(dsn)
        asyncio.run(ask(dsn, "CREATE TABLE t AS SELECT 1 AS x"))

    for _ in range(2):
        template = databases.template("prepared", prepare)
        with databases.fresh_database(template) as dsn:
            assert asyncio.run(ask(dsn, "SELECT count(*) FROM t")) == 1
            asyncio.run(ask(dsn, "INSERT INTO t VALUES (2)"))
    assert prepared == [databases.dsn("prepared")]


def test_a_template_that_could_not_be_prepared_is_not_kept(databases: PostgresForTests) -> None:
    def fail(dsn: str) -> None:
        raise ValueError(dsn)

    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            databases.template("broken", fail)


async def test_a_database_goes_even_when_it_is_still_used(databases: PostgresForTests) -> None:
    with databases.fresh_database() as dsn:
        connection = await asyncpg.connect(dsn)
        name = await connection.fetchval("SELECT current_database()")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    assert databases.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == []


def test_rows_and_refusals(databases: PostgresForTests, tmp_path: Path) -> None:
    assert databases.execute("SELECT 'ä', NULL, 3 UNION ALL SELECT '', 'x', 4") == [["ä", None, "3"], ["", "x", "4"]]
    with pytest.raises(Refusal, match="SQLSTATE 42601") as caught:
        databases.execute("SELEKT")
    assert caught.value.sqlstate == "42601"
    with pytest.raises(Refusal) as refused:
        databases.execute("SELECT 1", database="nowhere")
    assert refused.value.sqlstate == NO_SUCH_DATABASE
    with pytest.raises(OSError, match="No such file"):
        Connection(tmp_path, 5432, user="deskbell", database="deskbell")


def test_a_connection_outlives_an_error_and_not_its_server(databases: PostgresForTests) -> None:
    socket_directory = databases.data_dir / "postgres"
    with Connection(socket_directory, 5432, user="deskbell", database="postgres") as connection:
        with pytest.raises(Refusal):
            connection.query("SELECT 1/0")
        assert connection.query("SELECT 1") == [["1"]]
        with pytest.raises((Refusal, OSError)):
            connection.query("SELECT pg_terminate_backend(pg_backend_pid())")

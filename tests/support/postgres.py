"""A real PostgreSQL for a test run, and a fresh database for each test that wants one.

Plain functions and context managers, so that any fixture (synchronous or not, of any scope) can use them:

    @pytest.fixture(scope="session")
    def postgres() -> Iterator[PostgresForTests]:
        with running_postgres() as server:
            yield server

    @pytest.fixture
    def database_dsn(postgres: PostgresForTests) -> Iterator[str]:
        with postgres.fresh_database() as dsn:
            yield dsn

With a template the migrations run once a session: `postgres.template("deskbell_schema", migrate_dsn)`, then
`postgres.fresh_database(template="deskbell_schema")`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from server.embedded.postgres import EmbeddedPostgres, dsn_for
from server.embedded.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The server itself is production's; only what protects a disk against losing power is off, for this directory is
# thrown away.
_THROWAWAY = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "autovacuum": "off"}


def memory_place() -> Path | None:
    """Where memory serves as a disk, has room and may run programs; None (the usual temporary directory) elsewhere.

    Tests kill processes, not machines: what they write need not reach a disk, which others keep busy.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        return None
    status = os.statvfs(memory)
    roomy = status.f_bavail * status.f_frsize > 2**30
    return memory if roomy and not status.f_flag & os.ST_NOEXEC else None


class PostgresForTests:
    """A running server. `version` is like `18.6`."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()

    @property
    def version(self) -> str:
        return self._server.version

    @property
    def data_dir(self) -> Path:
        return self._server.data_dir

    def dsn(self, database: str = "deskbell") -> str:
        """For asyncpg. `deskbell` is the database that the embedded server makes; better take a fresh one."""
        return dsn_for(self._server.socket_directory, 5432, database)

    def execute(self, sql: str, *, database: str = "postgres") -> list[list[str | None]]:
        """One statement outside of any driver, as superuser; rows as text."""
        with Connection(
            self._server.socket_directory, 5432, user="deskbell", database=database, timeout=60
        ) as connection:
            return connection.query(sql)

    def template(self, name: str, prepare: Callable[[str], None]) -> str:
        """Make the database `name` once and let `prepare(dsn)` fill it; returns `name`. `prepare` must close"
        " its connections."""
        if name not in self._templates:
            self.execute(f'CREATE DATABASE "{name}"')
            try:
                prepare(self.dsn(name))
            except BaseException:
                self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                raise
            self._templates.add(name)
        return name

    def create_database(self, template: str = "template1") -> str:
        """A new database's name: a copy of `template`, to which nobody may be connected meanwhile."""
        name = f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Also when connections are still open: they are ended."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextlib.contextmanager
    def fresh_database(self, template: str = "template1") -> Iterator[str]:
        """The DSN of a database that is nobody else's and is dropped afterwards."""
        name = self.create_database(template)
        try:
            yield self.dsn(name)
        finally:
            self.drop_database(name)


@contextlib.contextmanager
def running_postgres(log: Callable[[str], None] = print) -> Iterator[PostgresForTests]:
    """Start a server in a temporary directory (on the main thread), stop it and remove everything at the end.

    Raises `EmbeddedError` when there is none to start: a test run without PostgreSQL fails, it does not skip.
    """
    directory = Path(tempfile.mkdtemp(prefix="deskbell-test-", dir=memory_place()))
    try:
        server = EmbeddedPostgres(directory, log=log, settings=_THROWAWAY)
        server.start()
        try:
            yield PostgresForTests(server)
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)

"""The connections to PostgreSQL, and how values cross them.

JSON columns are bytes on our side: they are written and sent on as they are, without being parsed on the way.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from server.domain.errors import Unavailable
from server.storage.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[Record] | PoolConnectionProxy[Record]

# What means "the server is not there (yet, or any more)" and not "the statement is wrong".
LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.TooManyConnectionsError,
    asyncpg.exceptions.InternalClientError,
)

JSONB_VERSION = b"\x01"
IDLE_S = 5.0
"""A process that stands still in the middle of a transaction holds the rows of its users, and whoever else writes for
one of them waits. After this long PostgreSQL ends its connection; it will find out when it goes on. Below the time in
which every request is answered (gateway/connection.py)."""


class Session:
    """Named queries on one connection."""

    __slots__ = ("_queries", "connection")

    def __init__(self, connection: Connection, queries: dict[str, str]) -> None:
        self.connection = connection
        self._queries = queries

    async def rows(self, name: str, *values: Any) -> list[Record]:
        return await self.connection.fetch(self._queries[name], *values)

    async def row(self, name: str, *values: Any) -> Record | None:
        return await self.connection.fetchrow(self._queries[name], *values)

    async def value(self, name: str, *values: Any) -> Any:
        return await self.connection.fetchval(self._queries[name], *values)

    async def run(self, name: str, *values: Any) -> int:
        """Execute and return how many rows were touched."""
        status = await self.connection.execute(self._queries[name], *values)
        return int(status.rpartition(" ")[2])


class Database:
    """A pool of connections. Every method raises Unavailable when PostgreSQL cannot be reached."""

    def __init__(self, pool: asyncpg.Pool[Record]) -> None:
        self.pool = pool
        self._queries = {query.name: query.sql for query in load_queries().values()}

    @classmethod
    async def connect(
        cls, url: str, *, min_connections: int = 2, max_connections: int = 12, idle_s: float = IDLE_S
    ) -> Database:
        """Open the pool. `idle_s`: how long a transaction may stand still.

        Raises whatever asyncpg raises if the first connection fails.
        """
        pool = await asyncpg.create_pool(
            url,
            min_size=min_connections,
            max_size=max_connections,
            init=prepare_connection,
            # A pooled connection is given back clean: we use no session state, so there is nothing to reset.
            reset=_nothing,
            max_inactive_connection_lifetime=300,
            statement_cache_size=500,
            max_cached_statement_lifetime=0,
            server_settings={
                "application_name": "deskbell",
                "timezone": "UTC",
                "jit": "off",
                "idle_in_transaction_session_timeout": str(int(idle_s * 1000)),
            },
        )
        return cls(pool)

    async def close(self) -> None:
        """Give connections in use five seconds, then cut."""
        try:
            async with asyncio.timeout(5):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection for several statements, each its own transaction."""
        try:
            async with self.pool.acquire(timeout=10) as connection:
                yield Session(connection, self._queries)
        except LOST as error:
            raise Unavailable(f"The database cannot be reached ({type(error).__name__}); try again.") from error

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[Session]:
        """One transaction; `snapshot`: read-only, and every statement sees the same moment."""
        options: dict[str, Any] = {"isolation": "repeatable_read", "readonly": True} if snapshot else {}
        async with self.session() as session, session.connection.transaction(**options):
            yield session

    async def rows(self, name: str, *values: Any) -> list[Record]:
        async with self.session() as session:
            return await session.rows(name, *values)

    async def row(self, name: str, *values: Any) -> Record | None:
        async with self.session() as session:
            return await session.row(name, *values)

    async def value(self, name: str, *values: Any) -> Any:
        async with self.session() as session:
            return await session.value(name, *values)

    async def run(self, name: str, *values: Any) -> int:
        async with self.session() as session:
            return await session.run(name, *values)


async def prepare_connection(connection: Connection) -> None:
    """Teach a connection that JSON is bytes."""
    for name, encode, decode in (
        ("json", bytes, bytes),
        ("jsonb", lambda value: JSONB_VERSION + value, lambda value: bytes(value[1:])),
    ):
        await connection.set_type_codec(name, encoder=encode, decoder=decode, schema="pg_catalog", format="binary")


async def _nothing(_connection: object) -> None:
    return None

"""A TCP proxy in front of Redis that makes connections deaf: they stay open and nothing comes back on them.

A real subscriber connection has failed like this (Centrifugo #1189). The proxy tells connections apart by what the
client has said on them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SUBSCRIBES = b"SUBSCRIBE\r\n"


class DeafProxy:
    """In front of the Redis at `port`. `deafen()` and `partition()` concern what is open now, and what comes until
    `heal()`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._partitioned = False
        self._stalled = asyncio.Event()
        self._stalled.set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._subscribers: set[asyncio.StreamWriter] = set()
        self.accepted = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def deafen(self) -> None:
        """What Redis says to open subscriber connections disappears; new connections are well."""
        self._deaf |= self._subscribers

    def stall(self) -> None:
        """Nothing is read from Redis for subscriber connections: Redis has to keep what it cannot get rid of."""
        self._stalled.clear()

    def partition(self) -> None:
        """Whatever anybody says disappears, on new connections as well."""
        self._partitioned = True

    def heal(self) -> None:
        """New connections are well; open ones from which something is missing stay as they are."""
        self._partitioned = False
        self._stalled.set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[DeafProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._target, limit=4096)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._to_redis(reader, to_redis, writer))
                    both.create_task(self._from_redis(from_redis, writer))
            finally:
                to_redis.transport.abort()
        except* OSError:
            pass
        finally:
            self._tasks.discard(task)
            self._subscribers.discard(writer)
            self._deaf.discard(writer)
            writer.transport.abort()

    async def _to_redis(
        self,
        reader: asyncio.StreamReader,
        to_redis: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65_536):
            if self._partitioned:
                self._deaf.add(client)
            if client in self._deaf and self._partitioned:
                continue
            if SUBSCRIBES in data:
                self._subscribers.add(client)
            to_redis.write(data)
            await to_redis.drain()
        raise ConnectionResetError("the client is gone")

    async def _from_redis(self, from_redis: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while True:
            if client in self._subscribers:
                await self._stalled.wait()
            data = await from_redis.read(65_536)
            if not data:
                raise ConnectionResetError("Redis is gone")
            if self._partitioned:
                self._deaf.add(client)
            if client not in self._deaf:
                client.write(data)
                await client.drain()

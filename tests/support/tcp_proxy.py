"""A TCP proxy that misbehaves on request: cuts, refuses, swallows, holds back, cuts instead of answering.

async with TcpProxy("127.0.0.1", port).listening() as proxy:
    ... connect to proxy.port ...
    proxy.cut()                 # every connection is reset
    proxy.mode = Mode.BLACKHOLE # bytes disappear, connections stay open
    proxy.mend()                # all is well again; connections that lost bytes are reset
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 64 * 1024


class Mode(StrEnum):
    """What happens to bytes from now on, on open connections and on new ones."""

    PASS = "pass"
    HOLD = "hold"
    """Nothing moves; when it is mended everything arrives, late."""
    BLACKHOLE = "blackhole"
    """Both ends think that they are connected; what they send is lost. Mending resets them."""
    DEAF = "deaf"
    """The same, but only for what the server sends: the client is heard."""
    CUT_ANSWERS = "cut_answers"
    """The client is heard; the first byte that would come back resets the connection instead."""
    REFUSE = "refuse"
    """New connections are closed at once; open ones go on."""


class _Pair:
    """One connection: the client's end and the server's end."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.lost = False

    def reset(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class TcpProxy:
    """In front of `host:port`, which may go away and come back. `connections`: how many were accepted so far."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moving = asyncio.Event()
        self._moving.set()
        self._mode = Mode.PASS
        self.port = 0
        self.connections = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[TcpProxy]:
        """Serve until the block is left; then everything still open is reset."""
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.HOLD:
            self._moving.clear()
        else:
            self._moving.set()

    def cut(self) -> int:
        """Reset every open connection. Returns how many."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def mend(self) -> None:
        """All is well again. A connection from which bytes were lost can only be reset."""
        self.mode = Mode.PASS
        for pair in [pair for pair in self._pairs if pair.lost]:
            pair.reset()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.REFUSE:
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            return
        pair = _Pair(writer, to_server)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(pair, reader, to_server, from_server=False))
                both.create_task(self._pump(pair, from_server, writer, from_server=True))
        finally:
            self._pairs.discard(pair)
            pair.reset()

    async def _pump(
        self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        """Carry bytes one way until either end is gone; then the other way ends as well, unless nobody could tell."""
        lost = False
        try:
            while data := await source.read(CHUNK):
                await self._moving.wait()
                if self._swallows(from_server):
                    lost = pair.lost = True
                if lost:
                    continue  # later bytes cannot arrive before the missing ones, and those never come
                if self._mode is Mode.CUT_ANSWERS and from_server:
                    break
                sink.write(data)
                await sink.drain()
        except OSError:
            pass  # one end was reset, which is how connections end here
        if lost or self._swallows(from_server):
            pair.lost = True  # the other end must not learn of it: it keeps a socket with nobody behind it
        else:
            pair.reset()

    def _swallows(self, from_server: bool) -> bool:
        return self._mode is Mode.BLACKHOLE or (self._mode is Mode.DEAF and from_server)

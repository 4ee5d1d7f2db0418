"""The proxy loses, holds back and cuts exactly what it is told to: a fault that does not happen proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.support.tcp_proxy import Mode, TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WITHIN_S = 10.0


class Talk:
    """A client behind the proxy and the server it talks to, which keeps what it hears."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy = proxy
        self.heard = bytearray()
        self.writers: list[asyncio.StreamWriter] = []
        self.clients: list[asyncio.StreamWriter] = []
        self.changed = asyncio.Condition()
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1000):
                self.heard += data
                await self._tell()
        self.ended += 1
        writer.transport.abort()
        await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def hears(self, data: bytes) -> None:
        async with asyncio.timeout(WITHIN_S), self.changed:
            await self.changed.wait_for(lambda: bytes(self.heard) == data)

    async def hears_the_end(self) -> None:
        async with asyncio.timeout(WITHIN_S), self.changed:
            await self.changed.wait_for(lambda: self.ended == 1)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self.clients.append(writer)
        return reader, writer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.open()
        writer.write(b"a")
        await self.hears(b"a")
        return reader, writer


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    made: list[Talk] = []
    server = await asyncio.start_server(lambda reader, writer: made[0].serve(reader, writer), "127.0.0.1", 0)
    proxy = TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1])
    made.append(Talk(proxy))
    async with proxy.listening():
        yield made[0]
    for writer in [*made[0].clients, *made[0].writers]:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def _ends(reader: asyncio.StreamReader) -> bool:
    """The connection is closed or reset."""
    async with asyncio.timeout(WITHIN_S):
        try:
            return await reader.read(1000) == b""
        except ConnectionError:
            return True


async def test_it_carries_both_ways(talk: Talk) -> None:
    reader, writer = await talk.connect()
    talk.writers[0].write(b"back")
    assert await reader.readexactly(4) == b"back"
    writer.write(b"more")
    await talk.hears(b"amore")
    assert talk.proxy.connections == 1
    writer.transport.abort()
    await talk.hears_the_end()


async def test_cut_resets_both_ends(talk: Talk) -> None:
    reader, _ = await talk.connect()
    assert talk.proxy.cut() == 1
    assert await _ends(reader)
    await talk.hears_the_end()


async def test_what_is_held_arrives_when_it_is_mended(talk: Talk) -> None:
    _, writer = await talk.connect()
    talk.proxy.mode = Mode.HOLD
    writer.write(b"b")
    talk.proxy.mend()
    await talk.hears(b"ab")


async def test_a_black_hole_keeps_connections_open_and_mending_resets_them(talk: Talk) -> None:
    reader, writer = await talk.connect()
    talk.proxy.mode = Mode.BLACKHOLE
    writer.write(b"lost")
    talk.writers[0].write(b"lost")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    talk.proxy.mend()
    assert await _ends(reader)
    await talk.hears_the_end()
    assert bytes(talk.heard) == b"a"


async def test_the_server_does_not_learn_of_an_end_inside_a_black_hole(talk: Talk) -> None:
    _, writer = await talk.connect()
    talk.proxy.mode = Mode.BLACKHOLE
    writer.transport.abort()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), talk.changed:
            await talk.changed.wait_for(lambda: talk.ended == 1)
    talk.proxy.mend()
    await talk.hears_the_end()


async def test_deaf_loses_only_what_the_server_says(talk: Talk) -> None:
    reader, writer = await talk.connect()
    talk.proxy.mode = Mode.DEAF
    talk.writers[0].write(b"lost")
    writer.write(b"b")
    await talk.hears(b"ab")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(1)
    talk.proxy.mend()
    assert await _ends(reader)


async def test_an_answer_cuts_and_the_request_is_heard(talk: Talk) -> None:
    reader, writer = await talk.connect()
    talk.proxy.mode = Mode.CUT_ANSWERS
    writer.write(b"b")
    await talk.hears(b"ab")
    talk.writers[0].write(b"answer")
    assert await _ends(reader)


async def test_refused_connections_end_and_open_ones_go_on(talk: Talk) -> None:
    _, writer = await talk.connect()
    talk.proxy.mode = Mode.REFUSE
    reader, _ = await talk.open()
    assert await _ends(reader)
    writer.write(b"b")
    await talk.hears(b"ab")

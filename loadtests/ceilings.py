"""What the same machine does at best, measured in the same run: rows into one table, frames over bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from loadtests import meters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BATCH = 150
LANES = 4


async def bare_insert(dsn: str, seconds: float) -> float:
    """Rows a second into one table with one unique index, `BATCH` in one statement and transaction, over `LANES`
    connections: the row of a message as it is stored, column by column, and nothing else of the model."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop table if exists ceiling")
    await connection.execute("create table ceiling (like event, primary key (client_id))")
    await connection.close()
    written = 0
    until = time.monotonic() + seconds

    async def lane() -> None:
        nonlocal written
        connection = await asyncpg.connect(dsn)
        statement = await connection.prepare("insert into ceiling select * from unnest($1::written_event[])")
        app, user, conversation, now = uuid4(), uuid4(), uuid4(), datetime.now(UTC)
        place, digest, body = (app, user, conversation), bytes(16), '{"kind":"text","text":"%s"}' % ("x" * 150)
        author = ("message", "user", str(user), None, None)
        while time.monotonic() < until:
            await statement.fetch([(*place, seq, seq, *author, uuid4(), digest, body, now) for seq in range(BATCH)])
            written += BATCH
        await connection.close()

    began = time.monotonic()
    await asyncio.gather(*[lane() for _ in range(LANES)])
    rate = written / (time.monotonic() - began)
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop table ceiling")
    await connection.close()
    return rate


class Bouncer(WSListener):
    """A client of the bare server: sends a frame, waits for its two echoes, sends the next."""

    def __init__(self, frame: bytes, until: float) -> None:
        self._frame = frame
        self._until = until
        self._heard = 0
        self.over = asyncio.Event()

    @property
    def bounced(self) -> int:
        return self._heard // 2

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, self._frame)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard += 1
        if self._heard % 2:
            return
        if time.monotonic() < self._until:
            transport.send(WSMsgType.TEXT, self._frame)
        else:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.over.set()


async def bare_accepts(transport: str, sockets: int) -> float:
    """Sockets a second of server CPU for a bare server that takes each, hears one frame from it and answers twice, as
    `hello` is answered by `welcome` and `synced`."""
    async with _bare(transport) as (pid, url):
        before = meters.cpu_of(pid)
        for start in range(0, sockets, 100):
            some = [Bouncer(_FRAME, 0.0) for _ in range(min(100, sockets - start))]
            await asyncio.gather(*[ws_connect(lambda bouncer=bouncer: bouncer, url) for bouncer in some])
            await asyncio.gather(*[bouncer.over.wait() for bouncer in some])
        return sockets / meters.spent(pid, before)


async def bare_echo(transport: str, sockets: int, seconds: float) -> float:
    """Frames a second of server CPU for a bare server that sends each back twice, as `ok` and the event at a second
    device are two frames out for one in: the same transport and sizes, no work."""
    async with _bare(transport) as (pid, url):
        before, until = meters.cpu_of(pid), time.monotonic() + seconds
        bouncers = [Bouncer(_FRAME, until) for _ in range(sockets)]
        for bouncer in bouncers:
            await ws_connect(lambda bouncer=bouncer: bouncer, url)
        await asyncio.gather(*[bouncer.over.wait() for bouncer in bouncers])
        return sum(bouncer.bounced for bouncer in bouncers) / meters.spent(pid, before)


_FRAME = b'{"t":"send","ref":1,"conversation":"%s","id":"%s","body":{"kind":"text","text":"%s"}}' % (
    str(uuid4()).encode(),
    str(uuid4()).encode(),
    b"x" * 150,
)


@contextlib.asynccontextmanager
async def _bare(transport: str) -> AsyncIterator[tuple[int, str]]:
    """A bare server: its pid and where it is."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests.echo", transport, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process.pid, f"ws://127.0.0.1:{int(await process.stdout.readline())}/v1/chat"
    finally:
        process.kill()
        await process.wait()

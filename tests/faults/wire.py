"""A client's WebSocket without politeness: no deflate, no pings of its own, writes at once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import websockets
from websockets.asyncio.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk_protocol.codec import Codec

OPEN_WITHIN_S = 8.0


async def dial(url: str, codec: Codec) -> websockets.ClientConnection:
    """Connect. Raises OSError, TimeoutError or WebSocketException."""
    async with asyncio.timeout(OPEN_WITHIN_S):
        return await connect(
            url,
            subprotocols=[websockets.Subprotocol(codec.subprotocol)],
            compression=None,
            ping_interval=None,
            close_timeout=0.2,
            proxy=None,
            max_size=None,
            open_timeout=None,
        )


def put(socket: websockets.ClientConnection, data: str | bytes) -> None:
    """Write one message, without waiting; a socket that is gone is noticed by whoever reads from it."""
    with contextlib.suppress(websockets.WebSocketException, OSError):
        if isinstance(data, str):
            socket.protocol.send_text(data.encode())
        else:
            socket.protocol.send_binary(data)
        socket.send_data()


async def until(true: Callable[[], bool], within: float) -> bool:
    """Ask again until it holds; False when it did not in time."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True

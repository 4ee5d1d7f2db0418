"""What is particular to a socket that uvicorn lends. What all transports promise: tests/contracts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.contracts.socket_stage import Stage, over_asgi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with over_asgi() as running:
        yield running


async def test_a_peer_that_reads_nothing_does_not_keep_its_socket(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    borrowed: Any = receiver.transport
    protocol = borrowed._protocol
    protocol.close_timeout = 0.05
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a WriteTransport by its type
    while receiver.transport.buffered < 1024 * 1024:
        receiver.transport.send("x" * 100_000)
        await asyncio.sleep(0)
    receiver.transport.close(4001, "stalled")
    async with asyncio.timeout(10):
        while not protocol.disconnected:
            await asyncio.sleep(0.01)
    await receiver.gone()
    peer.cut()


async def test_the_headers_of_the_handshake_are_let_go(stage: Stage) -> None:
    peer, receiver = await stage.peer("Cookie: " + "x" * 4000)
    borrowed: Any = receiver.transport
    assert ("cookie", "x" * 4000) in receiver.headers
    assert borrowed._protocol.scope["headers"] == []
    assert not borrowed._protocol.request.headers
    peer.cut()
    await receiver.gone()

"""What is particular to the sockets' own port. What both transports promise: tests/contracts."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING

import pytest

from server.gateway.picows import CHOKED_BYTES, PATIENCE_TICKS
from tests.contracts.socket_stage import PATIENCE_S, Stage, frame, handshake, over_picows, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEXT, PING = 0x1, 0x9


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with over_picows() as running:
        yield running


async def test_what_comes_with_the_handshake_is_not_lost(stage: Stage) -> None:
    peer, receiver = await stage.peer(ahead=frame(TEXT, b"one") + frame(TEXT, b"two"))
    assert await receiver.got(2) == ["one", "two"]
    peer.cut()


@pytest.mark.parametrize(
    "request_line", [b"POST /v1/chat HTTP/1.1", b"GET /v1/chat HTTP/1.0", b"GET /v1/chat", b"\x16\x03\x01"]
)
async def test_other_http_is_answered_400(stage: Stage, request_line: bytes) -> None:
    status, _, _ = await stage.ask(request_line + b"\r\nHost: desk.example\r\n\r\n")
    assert status == 400
    assert stage.hall.asked == 0


async def test_a_handshake_of_more_than_16_kib_is_cut_off(stage: Stage) -> None:
    request = handshake("X-Long: " + "x" * 40_000)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await stage.ask(request)
    assert stage.hall.asked == 0


async def test_a_peer_that_does_not_answer_our_goodbye_is_cut_off_by_the_wheel(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    for _ in range(PATIENCE_TICKS * 2):
        receiver.transport.tick()  # alive: nothing happens
    receiver.transport.close(4001, "stalled")
    assert await peer.close_code() == 4001
    for _ in range(PATIENCE_TICKS):
        receiver.transport.tick()
    await asyncio.sleep(0.05)
    assert not receiver.closed
    receiver.transport.tick()
    await peer.ended()
    await receiver.gone()


async def test_a_peer_that_reads_nothing_is_cut_off_as_well(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a WriteTransport by its type
    while receiver.transport.buffered < CHOKED_BYTES:
        receiver.transport.send("x" * 100_000)
        await asyncio.sleep(0)
    receiver.transport.close(4001, "stalled")
    for _ in range(PATIENCE_TICKS + 1):
        receiver.transport.tick()
    await receiver.gone()
    peer.cut()


async def test_who_does_not_take_answers_is_not_read_from(stage: Stage) -> None:
    """Else a peer that only asks would fill our memory with what it asked for."""
    peer, receiver = await stage.peer()
    receiver.on_message = lambda _frame: receiver.transport.send("y" * 100_000)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a WriteTransport by its type
    for number in range(2000):
        peer.write(frame(TEXT, str(number).encode()))
        if number % 50 == 0:
            await asyncio.sleep(0)
    await until(lambda: receiver.transport.buffered > CHOKED_BYTES)
    await asyncio.sleep(0.1)
    assert len(receiver.frames) < 2000
    assert receiver.transport.buffered < CHOKED_BYTES + 1000 * 100_000
    peer.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def read() -> None:
        while True:
            await peer.read_frame()

    reading = asyncio.ensure_future(read())
    await receiver.got(2000)
    reading.cancel()
    assert receiver.frames == [str(number) for number in range(2000)]
    peer.cut()


async def test_a_mistake_of_ours_is_logged_and_closes_with_1011(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    peer, receiver = await stage.peer()

    def fail(_frame: str | bytes) -> None:
        raise ValueError("a mistake of ours")

    receiver.on_message = fail
    with caplog.at_level(logging.ERROR):
        peer.write(frame(TEXT, b"x"))
        assert await peer.close_code() == 1011
    peer.cut()
    await receiver.gone()
    assert "a mistake of ours" in caplog.text


async def test_a_mistake_of_the_peer_is_not_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        peer, receiver = await stage.peer()
        peer.write(frame(TEXT, b"x", masked=False))
        assert await peer.close_code() == 1002
        peer.cut()
        await receiver.gone()
    assert caplog.text == ""


async def test_a_socket_that_ended_leaves_nothing_for_the_garbage_collector(stage: Stage) -> None:
    """Cycles would keep the memory of many sockets until some later collection, which then takes long."""
    peer, receiver = await stage.peer()
    peer.write(frame(PING, b"x") + frame(TEXT, b"x"))
    await receiver.got(1)
    transport = weakref.ref(receiver.transport)
    peer.cut()
    await receiver.gone()
    gc.collect()
    gc.disable()
    try:
        stage.hall.receivers.clear()
        del receiver
        async with asyncio.timeout(PATIENCE_S):
            while transport() is not None:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()

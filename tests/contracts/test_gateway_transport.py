"""What server/gateway/transport.py promises, over real sockets, for every implementation. A new one joins by adding a
stage to `STAGES`. The whole node behind the same sockets: test_transport.py."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from websockets.exceptions import ConnectionClosed

from server.cli.serving import MESSAGE_BYTES
from tests.contracts.socket_stage import Stage, frame, until

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
# Where framing changes its shape, and where the implementations change their way of sending.
SIZES = (0, 1, 125, 126, 999, 1000, 4096, 8191, 8192, 8193, 65_535, 65_536, MESSAGE_BYTES)


# -- frames ----------------------------------------------------------------------------------------------------


async def test_text_is_str_and_binary_is_bytes_both_ways_in_every_size(stage: Stage) -> None:
    client, receiver = await stage.connect()
    sent: list[str | bytes] = [kind for size in SIZES for kind in ("x" * size, b"y" * size)]
    sent.append("é€😀" * 400)
    for message in sent:
        await client.send(message)
    assert await receiver.got(len(sent)) == sent
    for message in sent:
        receiver.transport.send(message)
    assert [await client.recv() for _ in sent] == sent
    await client.close()


async def test_many_sends_in_one_turn_arrive_in_order(stage: Stage) -> None:
    client, receiver = await stage.connect()
    sent = [f"{number:06}" + "z" * (number * 37 % 12_000 if number % 3 else 0) for number in range(600)]
    for message in sent:
        receiver.transport.send(message)

    assert [await client.recv() for _ in sent] == sent
    await client.close()


async def test_a_message_in_fragments_is_one_message(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    words = "größer €".encode()
    pieces = [frame(CONTINUATION, bytes([byte]), fin=False) for byte in words]
    pieces[0] = frame(TEXT, words[:1], fin=False)
    peer.write(frame(PING, b"between").join([*pieces, frame(CONTINUATION)]))
    peer.write(frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, b"b"))

    assert await receiver.got(2) == ["größer €", b"ab"]
    assert await peer.read_frame() == (PONG, b"between")
    peer.cut()


@pytest.mark.parametrize("piece", [MESSAGE_BYTES + 1, MESSAGE_BYTES // 2, 1000])
async def test_a_message_beyond_the_limit_closes_with_1009(stage: Stage, piece: int) -> None:
    peer, receiver = await stage.peer()
    whole = b"x" * (MESSAGE_BYTES + 1)
    pieces = [whole[start : start + piece] for start in range(0, len(whole), piece)]
    for number, part in enumerate(pieces):
        last = number == len(pieces) - 1
        peer.write(frame(CONTINUATION if number else BINARY, part, fin=last))

    assert await peer.close_code() == 1009
    assert receiver.frames == []
    peer.cut()
    await receiver.gone()


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"\xff\xfe"),
        frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"),
        frame(TEXT, b"\xed\xa0\x80"),
    ],
    ids=["one frame", "fragments", "a surrogate"],
)
async def test_text_that_is_not_utf_8_closes_with_1007(stage: Stage, data: bytes) -> None:
    peer, receiver = await stage.peer()
    peer.write(frame(TEXT, b"good") + data + frame(TEXT, b"too late"))

    assert await peer.close_code() == 1007
    assert receiver.frames == ["good"]
    peer.cut()
    await receiver.gone()


@pytest.mark.parametrize(
    "data",
    [
        frame(0x3, b"{}"),
        frame(0xB),
        frame(TEXT, b"{}", flags=0x40),
        frame(CONTINUATION, b"x"),
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
        frame(PING, b"x", fin=False),
        frame(PING, b"x" * 126),
        frame(TEXT, b"x", masked=False),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, (1006).to_bytes(2, "big")),
        frame(CLOSE, (1005).to_bytes(2, "big")),
        frame(CLOSE, (999).to_bytes(2, "big")),
        frame(CLOSE, (5000).to_bytes(2, "big")),
    ],
    ids=[
        "a reserved opcode",
        "a reserved control opcode",
        "a reserved bit",
        "a continuation of nothing",
        "a message inside a message",
        "a fragmented ping",
        "a long ping",
        "no mask",
        "a close of one byte",
        "close 1006",
        "close 1005",
        "close 999",
        "close 5000",
    ],
)
async def test_broken_framing_closes_with_1002(stage: Stage, data: bytes) -> None:
    peer, receiver = await stage.peer()
    peer.write(data)

    assert await peer.close_code() == 1002
    peer.cut()
    await receiver.gone()
    assert receiver.frames == []
    assert receiver.closed == 1


# -- the end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"), [(4000, "the node is going away"), (4401, "log­ged out €"), (4400, "x" * 123)]
)
async def test_a_close_reaches_the_client_after_what_was_sent(stage: Stage, code: int, reason: str) -> None:
    client, receiver = await stage.connect()
    for number in range(50):
        receiver.transport.send(f"{number}" * 500)
    receiver.transport.close(code, reason)
    receiver.transport.close(4001, "a second one is harmless")
    receiver.transport.send("too late")
    receiver.transport.ping()
    assert [await client.recv() for _ in range(50)] == [f"{number}" * 500 for number in range(50)]
    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
    await receiver.gone()
    receiver.transport.send("nobody is there")
    receiver.transport.ping()
    receiver.transport.close(4000, "still harmless")
    receiver.transport.pause()
    receiver.transport.resume()
    receiver.transport.tick()
    assert receiver.closed == 1


async def test_frames_after_our_goodbye_do_not_keep_the_socket_open(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    receiver.transport.close(4409, "replaced")
    for _ in range(100):
        peer.write(frame(TEXT, b"x" * 1000))
    assert await peer.close_code() == 4409
    peer.write(frame(CLOSE, (4409).to_bytes(2, "big")))
    await peer.ended()
    await receiver.gone()
    assert receiver.frames == []


async def test_a_close_while_reading_is_paused(stage: Stage) -> None:
    client, receiver = await stage.connect()
    receiver.on_message = lambda _frame: receiver.transport.pause()
    for number in range(20):
        await client.send(str(number))
    await receiver.got(1)
    receiver.transport.close(4001, "stalled")
    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001
    await receiver.gone()
    assert receiver.closed == 1


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_client_that_says_goodbye(stage: Stage, code: int) -> None:
    peer, receiver = await stage.peer()
    peer.write(frame(TEXT, b"last words") + frame(CLOSE, code.to_bytes(2, "big") + b"bye"))

    assert await peer.close_code() == code
    await peer.ended()
    await receiver.gone()
    assert receiver.frames == ["last words"]
    assert receiver.closed == 1


async def test_a_goodbye_without_a_code(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    peer.write(frame(CLOSE))
    opcode, _ = await peer.read_frame()
    assert opcode == CLOSE
    await peer.ended()
    await receiver.gone()


@pytest.mark.parametrize("how", ["reset", "end of stream"])
async def test_a_peer_that_vanishes(stage: Stage, how: str) -> None:
    peer, receiver = await stage.peer()
    peer.write(frame(TEXT, b"here"))
    await receiver.got(1)
    if how == "reset":
        peer.cut()
    else:
        peer.writer.write_eof()
    await receiver.gone()
    receiver.transport.send("nobody")
    assert receiver.closed == 1
    peer.cut()


async def test_a_peer_that_vanishes_while_we_write(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    for _ in range(200):
        receiver.transport.send("x" * 100_000)
    peer.cut()
    for _ in range(200):
        receiver.transport.send("x" * 100_000)
        await asyncio.sleep(0)
    await receiver.gone()
    assert receiver.closed == 1


# -- alive -----------------------------------------------------------------------------------------------------


async def test_our_ping_is_answered_and_heard(stage: Stage) -> None:
    client, receiver = await stage.connect()
    receiver.transport.ping()
    if stage.control:
        await until(lambda: receiver.heard == 1)
    await client.close()


async def test_a_ping_of_the_peer_is_answered_and_heard(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    peer.write(frame(PING, b"are you there?") + frame(PING))

    assert await peer.read_frame() == (PONG, b"are you there?")
    assert await peer.read_frame() == (PONG, b"")
    peer.write(frame(PONG, b"unasked"))
    if stage.control:
        await until(lambda: receiver.heard == 3)
    peer.cut()


# -- backpressure ----------------------------------------------------------------------------------------------


async def test_a_reader_that_does_not_read_is_seen_in_buffered(stage: Stage) -> None:
    client, receiver = await stage.connect(buffer=16 * 1024, max_queue=1)
    message = "x" * 50_000
    count = 0
    while receiver.transport.buffered < 2 * 1024 * 1024:
        receiver.transport.send(message)
        count += 1
        await asyncio.sleep(0)
        assert count < 1000
    assert receiver.transport.buffered <= count * 50_010
    for _ in range(count):
        assert await client.recv() == message
    await until(lambda: receiver.transport.buffered == 0, lambda: receiver.transport.buffered)
    await client.send("and on")
    assert await receiver.got(1) == ["and on"]
    await client.close()


async def test_paused_nothing_is_handed_over_and_then_all_of_it_in_order(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    receiver.on_message = lambda _frame: receiver.transport.pause()
    peer.write(b"".join(frame(TEXT, str(number).encode()) for number in range(100)))
    await receiver.got(1)
    await asyncio.sleep(0.05)
    assert receiver.frames == ["0"]
    receiver.transport.resume()
    await receiver.got(2)
    await asyncio.sleep(0.05)
    assert receiver.frames == ["0", "1"]
    receiver.on_message = lambda _frame: None
    receiver.transport.resume()

    assert await receiver.got(100) == [str(number) for number in range(100)]
    peer.cut()


async def test_paused_the_peer_has_to_wait(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    receiver.on_message = lambda _frame: receiver.transport.pause()
    written = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            while written < 64 * 1024 * 1024:
                peer.write(frame(TEXT, b"x" * 50_000))
                written += 50_000
                await peer.writer.drain()
    assert written < 32 * 1024 * 1024
    assert len(receiver.frames) == 1
    receiver.on_message = lambda _frame: None
    receiver.transport.resume()
    await receiver.got(written // 50_000)
    peer.cut()
    await receiver.gone()


async def test_a_peer_that_goes_while_reading_is_paused(stage: Stage) -> None:
    peer, receiver = await stage.peer()
    receiver.on_message = lambda _frame: receiver.transport.pause()
    peer.write(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(CLOSE, (1000).to_bytes(2, "big")))
    await receiver.got(1)
    receiver.on_message = lambda _frame: None
    receiver.transport.resume()
    await peer.close_code()
    await receiver.gone()
    assert receiver.closed == 1
    peer.cut()

"""What a connection may expect of its socket (`server/gateway/transport.py`), over each server and real TCP."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from sdk_protocol import frames
from sdk_protocol.codec import JSON as WIRE
from server.cli.serving import MESSAGE_BYTES, _listen, _Server, _server_config
from tests.end_to_end.rawsocket import JSON, MSGPACK, RawSocket, Refused
from tests.server.gateway.phone import House, house_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from websockets.http11 import Response

    from server.gateway.connection import Connection

ASGI, PLAIN, PICOWS = "asgi", "plain asgi", "picows"
"""Under our uvicorn, under any other ASGI server, on a port of its own."""


class Site:
    """A node that listens; `connections` are those it holds."""

    def __init__(self, house: House, url: str) -> None:
        self.house = house
        self.url = url

    @property
    def connections(self) -> list[Connection[Any]]:
        return list(self.house.node.house.connections)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.005)

    async def hello(self, codec: Any = JSON) -> tuple[RawSocket, Connection[Any]]:
        """A socket of a new user that is live, and the connection that serves it."""
        before = set(self.connections)
        socket = await RawSocket.open(self.url, "/v1/chat", codec)
        await self.until(lambda: len(self.connections) > len(before))
        (connection,) = set(self.connections) - before
        device = {"id": str(uuid4()), "platform": "ios"}
        token = await self.house.token(f"user-{uuid4().hex}")
        await socket.send({"t": "hello", "token": token, "device": device, "foreground": True})
        await socket.wait_for(lambda frame: frame["t"] == "synced", "synced")
        return socket, connection


@contextlib.asynccontextmanager
async def listening(kind: str, house: House) -> AsyncIterator[Site]:
    sock = _listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    if kind == PICOWS:
        port = house.node.port(MESSAGE_BYTES)
        await port.listen(sock, 100)
        yield Site(house, url)
        port.close()
        return
    config = _server_config(house.node.app("test"))
    if kind == PLAIN:
        config.ws = "websockets-sansio"
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    await server.listening.wait()
    yield Site(house, url)
    server.should_exit = True
    await serving


@pytest.fixture(params=[ASGI, PLAIN, PICOWS])
async def site(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with (
        house_on(database_url, tmp_path, DESKBELL_ADMIT_SOCKETS="50/1") as house,
        listening(request.param, house) as made,
    ):
        yield made
        await RawSocket.drop_all()
        await made.until(lambda: not made.connections)


async def refusal(site: Site, path: str) -> Response:
    """What a handshake is answered that is not let in; once, without coming back."""
    with pytest.raises(InvalidStatus) as refused:
        await connect("ws" + site.url.removeprefix("http") + path, compression=None)
    return refused.value.response


@pytest.mark.parametrize(
    ("offered", "answered"),
    [([], None), (["deskbell.v1.json"], "deskbell.v1.json"), (["x", "deskbell.v1.msgpack"], "deskbell.v1.msgpack")],
)
@pytest.mark.parametrize("path", ["/v1/chat", "/v1/desk"])
async def test_the_first_subprotocol_that_is_spoken(
    site: Site, path: str, offered: list[str], answered: str | None
) -> None:
    socket = await RawSocket.open(site.url, path, offered=offered)
    assert socket.connection.subprotocol == answered
    assert "permessage-deflate" not in str(socket.connection.response)
    await socket.close()
    await site.until(lambda: not site.connections)


async def test_only_unknown_subprotocols_are_refused_in_http(site: Site) -> None:
    with pytest.raises(Refused) as refused:
        await RawSocket.open(site.url, "/v1/chat", offered=["chat", "deskbell.v9.json"])
    assert refused.value.status == 400
    assert not site.connections


async def test_another_path_is_no_door(site: Site) -> None:
    with pytest.raises(Refused) as refused:
        await RawSocket.open(site.url, "/v1/else")
    assert refused.value.status in (403, 404)


async def test_too_many_at_once_are_refused_in_http(site: Site) -> None:
    opened = [await RawSocket.open(site.url, "/v1/chat") for _ in range(50)]
    response = await refusal(site, "/v1/chat")
    assert response.status_code == 503
    assert 1 <= int(response.headers["Retry-After"]) <= 7
    assert "try again" in (response.body or b"").decode()
    assert len(site.connections) == len(opened)


async def test_a_draining_node_lets_nobody_in(site: Site) -> None:
    site.house.node.house.draining = True
    assert (await refusal(site, "/v1/desk")).status_code == 503


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_messages_both_ways_in_order(site: Site, codec: Any) -> None:
    socket, connection = await site.hello(codec)
    for number in range(300):
        connection.send(frames.Ok(ref=number))
    await socket.wait_for(lambda frame: frame.get("ref") == 299, "the last of them")
    refs = [frame["ref"] for frame in socket.received if frame["t"] == "ok"]
    assert refs == list(range(300))
    for number in range(100):
        await socket.send({"t": "history", "ref": number, "conversation": str(uuid4())})
    await socket.wait_for(lambda frame: frame.get("ref") == 99 and frame["t"] == "error", "the last answer")


async def test_a_frame_that_is_too_large_is_answered_and_one_far_larger_ends_the_socket(site: Site) -> None:
    socket, _ = await site.hello()
    await socket.send_data('{"t":"ping","x":"' + "x" * 70_000 + '"}')
    answer = await socket.wait_for(lambda frame: frame["t"] == "error", "too_large")
    assert answer["code"] == "too_large"
    await socket.ping()
    with contextlib.suppress(Exception):
        await socket.send_data("x" * (MESSAGE_BYTES + 1))
    assert await socket.wait_closed() == 1009


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A frame as a client sends it (RFC 6455 5.2), masked with zeros."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    head += bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack("!H", size)
    return head + b"\0\0\0\0" + payload


async def test_fragments_are_put_together(site: Site) -> None:
    socket, _ = await site.hello()
    whole = '{"t":"ping","ü":"' + "ü" * 500 + '"}'
    data = whole.encode()
    # Cut in the middle of a letter, with a control frame in between.
    socket.write_bytes(
        masked(0x1, data[:18], fin=False) + masked(0x9, b"are you there") + masked(0x0, data[18:700], fin=False)
    )
    socket.write_bytes(masked(0x0, data[700:]))
    await socket.wait_for(lambda frame: frame["t"] == "pong", "pong")
    binary, _ = await site.hello(MSGPACK)
    encoded = MSGPACK.encode({"t": "ping"})
    binary.write_bytes(masked(0x2, encoded[:2], fin=False) + masked(0x0, encoded[2:]))  # type: ignore[arg-type]
    await binary.wait_for(lambda frame: frame["t"] == "pong", "pong")


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        pytest.param(masked(0x1, b"\xff\xfe"), {1007}, id="not UTF-8"),
        pytest.param(masked(0x1, b"\xff", fin=False) + masked(0x0, b"\xfe"), {1007}, id="not UTF-8, in fragments"),
        pytest.param(masked(0x0, b"x"), {1002}, id="a continuation of nothing"),
        pytest.param(masked(0x1, b"{", fin=False) + masked(0x1, b"}"), {1002}, id="a message inside another"),
        pytest.param(b"".join([masked(0x1, b"x" * 60_000, fin=False)] + [masked(0x0, b"x" * 60_000, fin=False)] * 5),
                     {1009}, id="fragments without end"),
        pytest.param(masked(0x3, b"x"), {1002}, id="an opcode nobody knows"),
        pytest.param(b"\x81\x01x", {1002}, id="not masked"),
        pytest.param(masked(0x2, b"{}"), {4400}, id="binary where text is spoken"),
    ],
)  # fmt: skip
async def test_nonsense_ends_the_socket_and_no_other(site: Site, data: bytes, codes: set[int]) -> None:
    socket, _ = await site.hello()
    bystander, _ = await site.hello()
    socket.write_bytes(data)
    assert await socket.wait_closed() in codes
    await bystander.ping()


async def test_the_close_code_and_its_reason_arrive_behind_what_was_sent(site: Site) -> None:
    socket, connection = await site.hello()
    for number in range(50):
        connection.send(frames.Ok(ref=number))
    connection.transport.close(4409, "this device connected again")
    connection.transport.close(4401, "said too late")
    connection.send(frames.Ok(ref=99))
    assert await socket.wait_closed() == 4409
    assert socket.connection.close_reason == "this device connected again"
    assert [frame["ref"] for frame in socket.received if frame["t"] == "ok"] == list(range(50))
    await site.until(lambda: not site.connections)


async def test_pings_go_both_ways(site: Site, request: pytest.FixtureRequest) -> None:
    if PLAIN in request.node.name:
        return  # ASGI has none: without a server that lends its socket silence is not noticed
    socket, connection = await site.hello()
    site.house.clock.move(10)
    await asyncio.wait_for(await socket.connection.ping(b"hello"), 10)
    await site.until(lambda: connection.session.heard_at == site.house.clock.monotonic())
    site.house.clock.move(10)
    connection.transport.ping()
    await site.until(lambda: connection.session.heard_at == site.house.clock.monotonic())


async def test_a_paused_peer_waits_and_then_goes_on_in_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    socket, connection = await site.hello()
    taken: list[str] = []
    monkeypatch.setattr(type(connection), "on_frame", lambda self, frame: taken.append(frame))
    connection.transport.pause()
    await asyncio.sleep(0)
    for number in range(400):
        await socket.send({"t": "ping", "number": number})
    # Another socket's way there and back: what could have been read by now would have been.
    await RawSocket.open(site.url, "/v1/chat")
    assert len(taken) <= 1, "one may have been waited for already"
    connection.transport.resume()
    await site.until(lambda: len(taken) == 400)
    assert [WIRE._loose(data)[0]["number"] for data in taken] == list(range(400))


async def test_a_reader_that_does_not_read_shows_in_buffered(site: Site) -> None:
    socket, connection = await site.hello()
    socket.connection.transport.pause_reading()
    for number in range(40):
        connection.transport.send('{"t":"x","y":"' + f"{number}" + "x" * 200_000 + '"}')
    await asyncio.sleep(0)
    await site.until(lambda: connection.transport.buffered > 1_000_000)
    socket.connection.transport.resume_reading()
    await site.until(lambda: connection.transport.buffered == 0)
    await socket.wait_for(lambda frame: frame.get("y", "").startswith("39"), "the last of them")


async def test_a_peer_that_vanishes_is_noticed(site: Site) -> None:
    socket, connection = await site.hello()
    await socket.drop()
    await site.until(lambda: connection.closed)
    connection.send(frames.Ok(ref=1))
    connection.transport.ping()
    connection.transport.close(4000, "late")
    assert connection.transport.buffered == 0
    assert not site.connections


async def test_a_peer_that_says_goodbye_is_answered(site: Site) -> None:
    socket, connection = await site.hello()
    await socket.connection.close(1001, "phone put away")
    assert socket.connection.close_code == 1001
    await site.until(lambda: connection.closed)

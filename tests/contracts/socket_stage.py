"""Socket servers under test, each on a port of its own with a receiver that only writes down what it is told; and a
peer that speaks RFC 6455 byte by byte, so that it can also break it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from admin_api.sockets import socket_routes
from server.cli.listening import BACKLOG
from server.cli.serving import MESSAGE_BYTES, _Server, _server_config
from server.gateway.asgi import AsgiDoors
from server.gateway.doors import CHAT, DESK, Entry, Refusal
from server.gateway.picows import Port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from server.gateway.transport import Transport

PATIENCE_S = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


async def until(true: Callable[[], bool], what: Callable[[], object] = lambda: "it did not come") -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(what()) from None


@dataclass(eq=False)
class Recorder:
    """A `Receiver`. `on_message`: what to do besides writing down."""

    path: str
    transport: Transport
    headers: Sequence[tuple[str, str]]
    frames: list[str | bytes] = field(default_factory=list)
    heard: int = 0
    closed: int = 0
    on_message: Callable[[str | bytes], None] = lambda _frame: None

    def on_frame(self, frame: str | bytes) -> None:
        assert not self.closed
        self.frames.append(frame)
        self.on_message(frame)

    def on_heard(self) -> None:
        assert not self.closed
        self.heard += 1

    def on_close(self) -> None:
        self.closed += 1

    async def got(self, count: int) -> list[str | bytes]:
        await until(lambda: len(self.frames) >= count, lambda: f"{len(self.frames)} of {count}")
        return self.frames

    async def gone(self) -> None:
        await until(lambda: self.closed > 0, lambda: "the end was not noticed")


class Hall:
    """Doors that let everybody in and speak JSON, or refuse with `refusal`."""

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self.asked = 0
        self.receivers: list[Recorder] = []

    def enter(self, path: str, offered: Sequence[str], headers: Sequence[tuple[str, str]]) -> Entry | Refusal:
        if path not in (CHAT, DESK):
            return Refusal(404, "No such door.", {})
        self.asked += 1
        known = [name for name in offered if name.startswith("deskbell.v1.")]
        if offered and not known:
            return Refusal(400, "Offer deskbell.v1.json, or none.", {})

        def connect(transport: Transport) -> Any:
            self.receivers.append(Recorder(path, transport, headers))
            return self.receivers[-1]

        return self.refusal or Entry(known[0] if known else None, connect)

    async def newest(self) -> Recorder:
        await until(lambda: bool(self.receivers), lambda: "nobody was connected")
        return self.receivers[-1]


@dataclass
class Stage:
    """A server that listens."""

    hall: Hall
    port: int
    control: bool = True
    """Whether control frames can be had."""

    async def connect(
        self, path: str = "/v1/chat", *, offered: Sequence[str] = (), buffer: int | None = None, **more: Any
    ) -> tuple[ClientConnection, Recorder]:
        """A client of the `websockets` library (`buffer`: its kernel's bytes), and the receiver at the other end."""
        sock = socket.create_connection(("127.0.0.1", self.port)) if buffer is None else self._small(buffer)
        sock.setblocking(False)
        client = await connect(
            f"ws://127.0.0.1:{self.port}{path}",
            sock=sock,
            subprotocols=[Subprotocol(name) for name in offered] or None,
            compression=None,
            ping_interval=None,
            max_size=None,
            close_timeout=2,
            proxy=None,
            **more,
        )
        return client, await self.hall.newest()

    def _small(self, buffer: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.connect(("127.0.0.1", self.port))
        return sock

    async def peer(self, *headers: str, path: str = "/v1/chat", ahead: bytes = b"") -> tuple[Peer, Recorder]:
        """A byte-by-byte peer that has shaken hands; `ahead` goes out in the same packet as the handshake."""
        peer = await Peer.open(self.port)
        peer.write(handshake(*headers, path=path) + ahead)
        status, _, _ = await peer.answer()
        assert status == 101
        return peer, await self.hall.newest()

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """What a plain HTTP request is answered: status, headers in lower case, body."""
        peer = await Peer.open(self.port)
        peer.write(request)
        try:
            return await peer.answer()
        finally:
            peer.cut()


def handshake(*headers: str, path: str = "/v1/chat", usual: bool = True) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: desk.example", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]
    if usual:
        lines += ["Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, flags: int = 0, masked: bool = True) -> bytes:
    """RFC 6455, 5.2; `flags`: the reserved bits."""
    size = len(payload)
    length = (
        bytes([size])
        if size < 126
        else struct.pack("!BH", 126, size)
        if size < 1 << 16
        else b"\x7f" + size.to_bytes(8, "big")
    )
    second = bytes([length[0] | (0x80 if masked else 0)]) + length[1:]
    return bytes([(0x80 if fin else 0) | flags | opcode]) + second + (b"\0\0\0\0" if masked else b"") + payload


class Peer:
    """A TCP connection, and WebSocket frames as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Peer:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def cut(self) -> None:
        self.writer.transport.abort()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body

    async def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next one. Raises IncompleteReadError at the end."""
        async with asyncio.timeout(PATIENCE_S):
            first, second = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80
            size = second
            if second >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if second == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Read on until the server says goodbye."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == 0x8:
                return int.from_bytes(payload[:2], "big")

    async def ended(self) -> None:
        """Nothing more comes, and the connection is closed."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                assert await self.reader.read() == b""
        self.cut()


def _listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@contextlib.asynccontextmanager
async def over_asgi(*, plain: bool = False) -> AsyncIterator[Stage]:
    """Under our uvicorn, which lends its sockets; `plain`: as any other ASGI server would serve them."""
    hall, sock = Hall(), _listening()
    routed: Any = SimpleNamespace(sockets=AsgiDoors(cast("Any", hall)))
    config = _server_config(Starlette(routes=socket_routes(routed)))
    if plain:
        config.ws = "websockets-sansio"
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    await server.listening.wait()
    try:
        yield Stage(hall, sock.getsockname()[1], control=not plain)
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def over_picows() -> AsyncIterator[Stage]:
    hall, sock = Hall(), _listening()
    server = Port(cast("Any", hall), MESSAGE_BYTES)
    await server.listen(sock, BACKLOG)
    port = sock.getsockname()[1]
    try:
        yield Stage(hall, port)
    finally:
        server.close()


PLAIN = "plain asgi"
STAGES: dict[str, Callable[[], contextlib.AbstractAsyncContextManager[Stage]]] = {
    "asgi": over_asgi,
    PLAIN: partial(over_asgi, plain=True),
    "picows": over_picows,
}

"""A bare WebSocket server: `python -m loadtests.echo port|asgi` prints its port and sends every frame back twice; with
`all` behind it, once to everybody who is connected."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, ClassVar

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server


class Twice(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            data = frame.get_payload_as_bytes()
            transport.send(WSMsgType.TEXT, data)
            transport.send(WSMsgType.TEXT, data)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


class Everybody(WSListener):
    here: ClassVar[set[WSTransport]] = set()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.here.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            data = frame.get_payload_as_bytes()
            for each in self.here:
                each.send(WSMsgType.TEXT, data)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.here.discard(transport)


async def twice(scope: Any, receive: Any, send: Any) -> None:
    """The same as an ASGI application."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        for _ in range(2):
            await send({"type": "websocket.send", "text": message["text"]})


_connected: set[Any] = set()


async def everybody(scope: Any, receive: Any, send: Any) -> None:
    """To all, as an ASGI application."""
    await receive()
    await send({"type": "websocket.accept"})
    _connected.add(send)
    while (message := await receive())["type"] == "websocket.receive":
        for each in _connected:
            await each({"type": "websocket.send", "text": message["text"]})
    _connected.discard(send)


async def main(transport: str, to_all: bool) -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
    sys.stdout.write(f"{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    if transport == "port":
        listener = Everybody if to_all else Twice
        await ws_create_server(lambda _request: listener(), sock=sock, read_buffer_init_size=1024)
        await asyncio.Event().wait()
    import uvicorn

    config = uvicorn.Config(
        everybody if to_all else twice,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_level="error",
        access_log=False,
    )
    await uvicorn.Server(config).serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], "all" in sys.argv[2:]))

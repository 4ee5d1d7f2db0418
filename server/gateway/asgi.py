"""WebSockets over ASGI: one port for everything, under any ASGI server (uvicorn here).

ASGI has no control frames, and hands each message over by way of a queue and a task. A server can lend its socket
through a scope extension, `deskbell.socket` (`gateway/uvicorn_socket.py`); without it the peer is not pinged and
silence is not noticed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

from server.gateway.doors import Refusal
from server.gateway.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from server.gateway.doors import Doors
    from server.gateway.transport import Receiver

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

EXTENSION = "deskbell.socket"


class Borrowed(Transport, Protocol):
    """A socket that the server lends."""

    def attach(self, receiver: Receiver) -> None:
        """Hand messages to `receiver` from now on; what came before is handed over first."""

    def detach(self) -> None:
        """The socket is gone."""


class AsgiTransport:
    """A `Transport` over the ASGI callables of one accepted WebSocket."""

    __slots__ = ("_buffered", "_closing", "_queue", "_reading", "_send", "_wake")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._queue: deque[str | bytes] = deque()
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._buffered = 0
        self._closing: tuple[int, str] | None = None

    def send(self, frame: str | bytes) -> None:
        if self._closing is None:
            self._queue.append(frame)
            self._buffered += len(frame)
            self._wake.set()

    def ping(self) -> None:
        """There is no way to."""

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()
            self._reading.set()

    def pause(self) -> None:
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def tick(self) -> None:
        """Nothing: the server underneath has a patience of its own."""

    @property
    def buffered(self) -> int:
        return self._buffered

    async def serve(self, receive: Receive, receiver: Receiver) -> None:
        """Carry frames both ways until the socket ends; then `receiver.on_close()`."""
        async with asyncio.TaskGroup() as both:
            writing = both.create_task(self._write())
            try:
                await self._read(receive, receiver)
            finally:
                self._closing = self._closing or (1006, "")
                self._queue.clear()
                self._buffered = 0
                receiver.on_close()
                writing.cancel()

    async def _read(self, receive: Receive, receiver: Receiver) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._closing is not None:
                continue  # nobody listens any more; until the server says that it is over
            frame = message.get("text")
            if frame is None:
                frame = message.get("bytes") or b""
            receiver.on_frame(cast("str | bytes", frame))
            if not self._reading.is_set():
                await self._reading.wait()

    async def _write(self) -> None:
        try:
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    kind = "text" if isinstance(frame, str) else "bytes"
                    await self._send({"type": "websocket.send", kind: frame})
                    self._buffered -= len(frame)
                if self._closing is not None:
                    code, reason = self._closing
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
                    return
                self._wake.clear()
                await self._wake.wait()
        except OSError:
            # The peer is gone while we wrote; the reading side is told by the server and ends the connection.
            return


class AsgiDoors:
    """The doors as one ASGI application of WebSockets."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        entry = self._doors.enter(scope["path"], scope.get("subprotocols") or [], headers)
        if isinstance(entry, Refusal):
            await _refuse(send, entry)
            return
        await send({"type": "websocket.accept", "subprotocol": entry.subprotocol})
        borrowed: Borrowed | None = scope.get("extensions", {}).get(EXTENSION)
        if borrowed is None:
            transport = AsgiTransport(send)
            await transport.serve(receive, entry.connect(transport))
        else:
            scope["headers"] = headers = []  # they would be kept for as long as the socket lives
            await _lent(borrowed, receive, entry.connect(borrowed))


async def _lent(socket: Borrowed, receive: Receive, receiver: Receiver) -> None:
    """Wait until a borrowed socket is gone; everything else happens in calls."""
    socket.attach(receiver)
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        socket.detach()
        receiver.on_close()


async def _refuse(send: Send, refusal: Refusal) -> None:
    """Answer the handshake with plain HTTP."""
    headers = {"Content-Type": "text/plain; charset=utf-8", **refusal.headers}
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refusal.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "websocket.http.response.body", "body": refusal.detail.encode()})

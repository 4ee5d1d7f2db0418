"""Lends uvicorn's WebSocket control frames to the gateway (see `asgi.py`).

uvicorn pings every socket by itself and closes with 1011; the protocol asks for pings to foreground devices only and
for close code 4002 (protocol.md, "Keeping alive, draining"). So its own keepalive is switched off
(`ws_ping_interval=None`) and the session decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from server.gateway.asgi import EXTENSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.frames import Frame
    from websockets.http11 import Request


class ControlProtocol(WebSocketsSansIOProtocol):
    """uvicorn's sans-I/O WebSocket protocol with a way to ping and to hear control frames."""

    _heard: Callable[[], None] | None = None

    def ping(self) -> None:
        if self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.conn.send_ping(b"")
            self.transport.write(b"".join(self.conn.data_to_send()))

    def listen(self, heard: Callable[[], None]) -> None:
        self._heard = heard

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)
        if scope is not None:
            scope["extensions"][EXTENSION] = self

    def handle_ping(self) -> None:
        super().handle_ping()
        if self._heard is not None:
            self._heard()

    def handle_pong(self, event: Frame) -> None:
        if self._heard is not None:
            self._heard()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # A refusal is a complete answer; uvicorn would call it an error of the application.
            self.handshake_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._heard = None

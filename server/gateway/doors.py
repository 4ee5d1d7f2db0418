"""The two WebSocket doors as ASGI applications: `/v1/chat` for devices, `/v1/desk` for agents."""

from __future__ import annotations

import math
import random
import secrets
from typing import TYPE_CHECKING, Any

from sdk_protocol.codec import JSON, MSGPACK, negotiate
from server.domain.errors import RateLimited
from server.gateway.asgi import EXTENSION, AsgiTransport
from server.gateway.desk_connection import DeskConnection
from server.gateway.user_connection import UserConnection

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from sdk_protocol.codec import Codec
    from server.gateway.asgi import Receive, Send
    from server.gateway.connection import Connection
    from server.gateway.house import House
    from server.services.rates import Rates

    Scope = MutableMapping[str, Any]

RETRY_AFTER_S = 5
SPREAD_S = 5.0


class Doors:
    """`cookie_of` reads the console session and its CSRF token from a handshake's headers, if they are there."""

    def __init__(self, house: House, admission: Rates, cookie_of: Callable[[Scope], tuple[str, str] | None]) -> None:
        self._house = house
        self._admission = admission
        self._cookie_of = cookie_of

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI application of `/v1/chat`."""
        await self._serve(
            scope,
            receive,
            send,
            lambda transport, codec: UserConnection(self._house, transport, codec, secrets.token_urlsafe(12)),
        )

    async def desk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI application of `/v1/desk`."""
        cookie = self._cookie_of(scope)
        await self._serve(
            scope, receive, send, lambda transport, codec: DeskConnection(self._house, transport, codec, cookie)
        )

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        connect: Callable[[AsgiTransport, Codec], Connection[Any]],
    ) -> None:
        await receive()  # websocket.connect
        offered = scope.get("subprotocols") or []
        codec = negotiate(offered)
        if codec is None:
            names = f"{JSON.subprotocol} or {MSGPACK.subprotocol}"
            await _refuse(send, 400, f"None of the offered subprotocols is spoken here. Offer {names}, or none.", [])
            return
        if self._house.draining:
            await _refuse(send, 503, "This node is going away; connect again.", _retry_after(RETRY_AFTER_S))
            return
        try:
            self._admission.take("")
        except RateLimited as refusal:
            self._house.metrics.refused_sockets.inc()
            # Spread, so that those who are told to wait do not come back as one.
            wait = refusal.retry_after + random.uniform(0, SPREAD_S)
            await _refuse(send, 503, "Too many are connecting at once; try again soon.", _retry_after(wait))
            return
        subprotocol = codec.subprotocol if offered else None
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        transport = AsgiTransport(send, scope.get("extensions", {}).get(EXTENSION))
        await transport.serve(receive, connect(transport, codec))


def _retry_after(seconds: float) -> list[tuple[bytes, bytes]]:
    return [(b"retry-after", str(math.ceil(seconds)).encode())]


async def _refuse(send: Send, status: int, detail: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse the handshake with a plain HTTP answer."""
    await send(
        {
            "type": "websocket.http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/plain; charset=utf-8"), *headers],
        }
    )
    await send({"type": "websocket.http.response.body", "body": detail.encode()})

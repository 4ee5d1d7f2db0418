"""The two WebSocket doors, `/v1/chat` for devices and `/v1/desk` for agents: who may come in, over any transport."""

from __future__ import annotations

import math
import random
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from sdk_protocol.codec import JSON, MSGPACK, negotiate
from server.domain.errors import RateLimited
from server.gateway.desk_connection import DeskConnection
from server.gateway.user_connection import UserConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.gateway.connection import Connection
    from server.gateway.house import House
    from server.gateway.transport import Transport
    from server.services.rates import Rates

    Headers = Sequence[tuple[str, str]]

CHAT, DESK = "/v1/chat", "/v1/desk"
RETRY_AFTER_S = 5
SPREAD_S = 5.0


class Refusal(NamedTuple):
    """Why a handshake is answered with plain HTTP."""

    status: int
    detail: str
    headers: dict[str, str]


class Entry(NamedTuple):
    """`subprotocol` to answer with, None for none; `connect` makes the connection once there is a socket."""

    subprotocol: str | None
    connect: Callable[[Transport], Connection[Any]]


class Doors:
    """`cookie_of` reads the console session and its CSRF token from a handshake's headers, if they are there."""

    def __init__(self, house: House, admission: Rates, cookie_of: Callable[[Headers], tuple[str, str] | None]) -> None:
        self._house = house
        self._admission = admission
        self._cookie_of = cookie_of

    def enter(self, path: str, offered: Sequence[str], headers: Headers) -> Entry | Refusal:
        """May a handshake for `path` with these subprotocols and headers (names in lower case) become a socket?"""
        if path not in (CHAT, DESK):
            return Refusal(404, f"There are {CHAT} and {DESK} here, both for WebSockets.", {})
        codec = negotiate(offered)
        if codec is None:
            names = f"{JSON.subprotocol} or {MSGPACK.subprotocol}"
            return Refusal(400, f"None of the offered subprotocols is spoken here. Offer {names}, or none.", {})
        if self._house.draining:
            return Refusal(503, "This node is going away; connect again.", _retry_after(RETRY_AFTER_S))
        try:
            self._admission.take("")
        except RateLimited as refusal:
            self._house.metrics.refused_sockets.inc()
            # Spread, so that those who are told to wait do not come back as one.
            wait = refusal.retry_after + random.uniform(0, SPREAD_S)
            return Refusal(503, "Too many are connecting at once; try again soon.", _retry_after(wait))
        subprotocol = codec.subprotocol if offered else None
        house = self._house
        if path == CHAT:
            return Entry(subprotocol, lambda transport: UserConnection(house, transport, codec, _session_id()))
        cookie = self._cookie_of(headers)
        return Entry(subprotocol, lambda transport: DeskConnection(house, transport, codec, cookie))


def _session_id() -> str:
    return secrets.token_urlsafe(12)


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}

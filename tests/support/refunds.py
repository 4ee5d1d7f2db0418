"""An app's server that refunds, once a key, over real sockets (docs/actions.md, "Your endpoint")."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from standardwebhooks import Webhook

from tests.support.provider_server import Answer, Drop, ProviderServer, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

COUPON = {"code": "SORRY5", "description": "€5 off your next ride"}


class Refunds:
    """`effects`: how often each key was refunded. `trouble` says what goes wrong with a call: `lost` before anything
    happened, `cut` after it, `broken` (500) after it, `pending` (it happens later); None: nothing."""

    def __init__(self, trouble: Callable[[str], str | None] | None = None) -> None:
        self.trouble = trouble or (lambda _key: None)
        self.effects: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.bodies: dict[str, set[bytes]] = {}
        self.secret: str | None = None
        self.reached = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def handle(self, request: Request) -> Answer:
        if self.secret is not None:
            Webhook(self.secret).verify(request.body, request.headers)
        body: dict[str, Any] = msgspec.json.decode(request.body)
        key = request.headers["idempotency-key"]
        assert key == body["id"] == request.headers["webhook-id"]
        self.calls[key] += 1
        self.bodies.setdefault(key, set()).add(request.body)
        trouble = self.trouble(key)
        if trouble == "lost":
            raise Drop
        if trouble == "pending":
            return _answer({"state": "pending"})
        if not self.effects[key]:  # what honouring the key means
            self.effects[key] += 1
        self.reached.set()
        await self.hold.wait()
        if trouble == "cut":
            raise Drop
        if trouble == "broken":
            return Answer(500, b"")
        return _answer({"state": "done", "message": "You get it back.", "coupon": COUPON})

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with ProviderServer(self.handle).listening() as server:
            yield f"http://127.0.0.1:{server.port}/refund"


def _answer(said: dict[str, Any]) -> Answer:
    return Answer(200, msgspec.json.encode(said))

"""An app with an endpoint, customers who talk, and a worker that is driven by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.webhook import TYPES
from server.outgoing.interface import Unreachable
from tests.support.services import World, running_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from server.domain.people import EndUser
    from server.outgoing.interface import Call
    from server.services.apps import NewApp
    from server.services.directory import Place
    from server.services.webhooks import Made
    from server.storage.webhook_outbox import Lane
    from server.storage.webhooks import Delivery

URL = "https://hooks.kestrel.example/deskbell"
DOWN = Unreachable(reason="no connection", sent=False)
DAY = 86_400.0


@dataclass
class Stage:
    world: World
    app: NewApp
    user: EndUser

    @property
    def app_id(self) -> UUID:
        return self.app.app.app_id

    async def endpoint(self, *events: str, url: str = URL) -> Made:
        return await self.world.webhooks.create(self.app_id, url, list(events or TYPES), None)

    async def opened(self, words: str | None = None) -> Place:
        return await self.world.opened(self.user, words)

    async def say(self, place: Place, *words: str) -> None:
        for each in words:
            self.world.clock.move(0.001)
            await self.world.say(place, self.user.author, each)

    async def claim(self, per_endpoint: int = 100) -> list[Lane]:
        return await self.world.webhook_delivery.claim(100, busy={}, per_endpoint=per_endpoint)

    async def deliver(self) -> int:
        """Work on everything that is due now. Returns how many calls that took."""
        before = len(self.calls)
        while lanes := await self.claim():
            for lane in lanes:
                await self.world.webhook_delivery.deliver(lane)
        return len(self.calls) - before

    async def forget_failures(self) -> None:
        """As if other calls had succeeded meanwhile, so that the endpoint is not paused."""
        await self.world.database.pool.execute(
            "update webhook_endpoint set failures = 0, failing_since = null, held_until = null"
        )

    async def pass_time(self, seconds: float) -> int:
        self.world.clock.move(seconds)
        return await self.deliver()

    @property
    def calls(self) -> list[Call]:
        return self.world.outgoing.calls

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(call.body) for call in self.calls]

    @property
    def texts(self) -> list[str]:
        """What was said, of the messages among the calls."""
        return [body["data"]["event"]["body"]["text"] for body in self.bodies if body["type"] == "message.created"]

    async def deliveries(self, made: Made, state: str | None = None) -> list[Delivery]:
        """Oldest first."""
        found = await self.world.webhooks.list_deliveries(self.app_id, made.endpoint.endpoint_id, state, None, 200)
        return found[::-1]


@asynccontextmanager
async def stage_on(url: str) -> AsyncIterator[Stage]:
    async with running_services(url) as world:
        app = await world.app()
        yield Stage(world, app, await world.user(app, "blanca"))

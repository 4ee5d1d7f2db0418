"""An app that lets its agents refund, a customer with a ride, two agents, and a worker that is driven by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.agents import Role
from server.domain.transaction import Amount, Transaction
from server.outgoing.interface import Answered
from server.services.action_definitions import Wanted
from server.storage import log
from tests.support.services import World, running_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from server.domain.action import Action
    from server.domain.agents import Agent
    from server.domain.events import Event
    from server.domain.people import EndUser
    from server.services.action_definitions import MadeDefinition
    from server.services.apps import NewApp
    from server.services.directory import Place
    from server.storage.actions import Listed

URL = "https://api.kestrel.example/refund"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"amount": {"type": "string"}, "note": {"type": "string", "maxLength": 50}},
    "required": ["amount"],
    "additionalProperties": False,
}


def answered(state: str, **more: Any) -> Answered:
    return Answered(status=200, body=msgspec.json.encode({"state": state} | more))


@dataclass
class Stage:
    world: World
    app: NewApp
    user: EndUser
    place: Place
    robin: Agent
    sam: Agent
    chief: Agent

    @property
    def app_id(self) -> UUID:
        return self.app.app.app_id

    async def define(self, name: str = "refund", **more: Any) -> MadeDefinition:
        known = {"title": "Refund", "url": URL, "kinds": ["ride"], "parameters": SCHEMA}
        return await self.world.action_definitions.create(self.app_id, Wanted(**(known | {"name": name} | more)))

    async def ride(self, version: int, name: str = "ride-1", **more: Any) -> None:
        known = Transaction(
            id=name, version=version, kind="ride", status="completed", amount=Amount("12.50", "EUR"), **more
        )
        await self.world.context.put_transaction(self.app_id, self.user.external_id, known)

    async def press(self, agent: Agent | None = None, *, amount: str = "5.00", **more: Any) -> Action:
        known: dict[str, Any] = {"transaction": "ride-1", "parameters": {"amount": amount}}
        pressed = await self.world.actions.press(
            agent or self.robin, self.place.conversation_id, "refund", **(known | more)
        )
        return pressed.listed.action

    async def work(self) -> int:
        """Ask for everything that is due now. Returns how many calls that took."""
        before = len(self.world.outgoing.calls)
        while found := await self.world.action_calls.claim(50):
            for claimed in found:
                await self.world.action_calls.ask(claimed)
        return len(self.world.outgoing.calls) - before

    async def pass_time(self, seconds: float) -> int:
        self.world.clock.move(seconds)
        return await self.work()

    def answers(self, *answers: Any) -> None:
        self.world.outgoing.answers = list(answers)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(call.body) for call in self.world.outgoing.calls]

    async def now(self, action: Action) -> Action:
        listed: Listed = await self.world.actions.find(self.robin, action.action_id)
        return listed.action

    async def thread(self) -> list[Event]:
        """After the opening."""
        place = self.place
        return await log.after_seq(self.world.database, place.app_id, place.user_id, place.conversation_id, 1, 200)

    async def told(self) -> list[Any]:
        """What the customer's phone gets, in short."""
        page = await log.after_usn(self.world.database, self.place.app_id, self.place.user_id, 1, 200)
        heard: list[Any] = []
        for event in page.events:
            body = msgspec.json.decode(event.body)
            if event.kind == "action.updated":
                heard.append((body["action"]["state"], body["action"].get("message")))
            else:
                heard.append(body.get("kind", event.kind))
        return heard


@asynccontextmanager
async def stage_on(url: str) -> AsyncIterator[Stage]:
    async with running_services(url) as world:
        app = await world.app()
        user = await world.user(app, "blanca")
        stage = Stage(
            world,
            app,
            user,
            await world.opened(user),
            await world.agent(app),
            await world.agent(app, name="Sam"),
            await world.agent(app, name="Chief", role=Role.SUPERVISOR),
        )
        await stage.ride(1)
        yield stage

"""Life in the demo: rides that go on, and customers who ask for help and answer when they are answered."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from server.demo.rides import CUSTOMERS, OTHERS, QUESTIONS, STEPS, THANKS, new_ride, next_step
from server.domain.errors import DomainError
from server.domain.events import AuthorType, Kind
from server.domain.ids import new_id
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.services.directory import Place

if TYPE_CHECKING:
    from uuid import UUID

    from server.domain.people import EndUser
    from server.wiring import Node

RIDE_S = 25.0
QUESTION_S = 60.0
REPLY_S = (4.0, 9.0)
PATIENCE_S = 600.0
LOOK_S = 2.0
MOST_OPEN = 12
"""Conversations of scripted customers; beyond that nobody asks, so that a demo left alone does not fill the disk."""


class Life:
    """Runs until the node ends."""

    def __init__(self, node: Node, app_id: UUID) -> None:
        self._node = node
        self._services = node.services
        self._app_id = app_id
        self._rng = random.Random()
        self._asked = 0

    def start(self) -> None:
        self._node.tasks.start("kestrel rides", self._rides, restart=True)
        self._node.tasks.start("kestrel questions", self._questions, restart=True)

    async def _rides(self) -> None:
        """One ride after the other, each seen through all its states."""
        while True:
            external_id = self._rng.choice(CUSTOMERS + OTHERS)[0]
            now = self._node.clock.now()
            ride = new_ride(self._rng, int(now.timestamp()), now)
            while ride is not None:
                try:
                    await self._services.context.put_transaction(self._app_id, external_id, ride)
                except DomainError as trouble:
                    self._node.log.warning("a demo ride could not be written", reason=trouble.message)
                await self._node.clock.sleep(RIDE_S / len(STEPS) * self._rng.uniform(0.6, 1.4))
                following = next_step(ride)
                if following is None:
                    break
                ride = following

    async def _questions(self) -> None:
        while True:
            await self._node.clock.sleep(QUESTION_S * self._rng.uniform(0.6, 1.4))
            if self._asked < MOST_OPEN:
                self._asked += 1
                self._node.tasks.start("kestrel customer", self._ask_for_help, restart=False)

    async def _ask_for_help(self) -> None:
        """One customer: asks about the last ride, waits for the agent, thanks."""
        try:
            external_id = self._rng.choice(OTHERS)[0]
            user = await self._services.people.find(self._app_id, external_id)
            rides = await self._services.context.list_transactions(self._app_id, external_id, 3)
            topic, lines = self._rng.choice(QUESTIONS)
            place = Place(self._app_id, user.user_id, new_id(self._node.clock.now()))
            await self._services.messaging.open(
                place, user.author, topic=topic, transaction_id=self._rng.choice(rides)[1].id
            )
            for line in lines:
                await self._say(place, user, line)
            if await self._answered(place):
                await self._say(place, user, self._rng.choice(THANKS))
        except DomainError as trouble:
            self._node.log.warning("a demo customer gave up", reason=trouble.message)
        finally:
            self._asked -= 1

    async def _say(self, place: Place, user: EndUser, line: str) -> None:
        await self._services.messaging.typing(place, user.author, True)
        await self._node.clock.sleep(self._rng.uniform(*REPLY_S) / 2)
        message = Message(new_id(self._node.clock.now()), user.author, from_struct(Text(text=line)))
        await self._services.messaging.post(place, message)
        await self._services.messaging.typing(place, user.author, False)

    async def _answered(self, place: Place) -> bool:
        """Wait for an agent's words; False when patience ends."""
        deadline = self._node.clock.monotonic() + PATIENCE_S
        while self._node.clock.monotonic() < deadline:
            (events, _), _ = await self._services.messaging.page(place, None, 10)
            if any(event.kind == Kind.MESSAGE and event.author.type is AuthorType.AGENT for event in events):
                await self._node.clock.sleep(self._rng.uniform(*REPLY_S))
                return True
            await self._node.clock.sleep(LOOK_S)
        return False

"""A user with a phone, a conversation, and a push provider that answers what the test says."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.server.services.scripted_sender import ScriptedSender
from tests.support.services import running_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from push.sender import Outcome
    from server.domain.people import EndUser
    from server.services.directory import Place
    from server.storage.push_outbox import PushState
    from tests.support.services import World


@dataclass
class Phone:
    """A user with one device, one conversation, and a provider that does what the test says."""

    world: World
    user: EndUser
    device: UUID
    place: Place
    sender: ScriptedSender

    async def hear(self, words: str = "your driver is there") -> int:
        answer = await self.world.say(self.place, self.world.agent_author, words)
        assert answer.seq is not None
        return answer.seq

    async def work(self, *answers: Outcome | Exception) -> int:
        """One round of the worker; how many pushes were asked of the provider."""
        self.sender.answers = deque(answers)
        before = len(self.sender.asked)
        for claim in await self.world.notifications.claim(100):
            await self.world.notifications.deliver(claim)
        return len(self.sender.asked) - before

    async def states(self) -> list[PushState]:
        return await self.world.notifications.of_conversation(
            self.place.app_id, self.place.user_id, self.place.conversation_id
        )

    async def state(self) -> PushState:
        (only,) = await self.states()
        return only

    async def token(self) -> str | None:
        async with self.world.database.session() as session:
            value: str | None = await session.connection.fetchval(
                "select push_token from device where device_id = $1", self.device
            )
        return value

    async def register(self, token: str | None) -> None:
        await self.world.people.register_push_token(self.user.app_id, self.user.user_id, self.device, "fcm", token)


@asynccontextmanager
async def phone_on(url: str, **options: Any) -> AsyncIterator[Phone]:
    sender = ScriptedSender()
    async with running_services(url, senders=dict.fromkeys(("fcm", "apns", "webpush"), sender), **options) as world:
        ada = await world.user(await world.app(), "ada", "Ada")
        device, _ = await world.device(ada, "t1")
        yield Phone(world, ada, device, await world.opened(ada, "where is my driver?"), sender)

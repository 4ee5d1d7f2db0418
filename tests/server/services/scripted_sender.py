"""A push `Sender` that answers what the test wrote down, and keeps what it was asked to send."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from push.sender import Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from push.sender import Address, Notification, Outcome


@dataclass(frozen=True)
class Asked:
    address: Address
    notification: Notification
    quiet: bool

    @property
    def token(self) -> object:
        return self.address.value


@dataclass
class ScriptedSender:
    """Answers from `answers`, then always `Sent`. `meanwhile` runs while the provider is being asked; with `hold`
    set, an answer waits for `release`."""

    answers: deque[Outcome | Exception] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    meanwhile: Callable[[], object] | None = None
    hold: bool = False
    release: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, address: Address, notification: Notification, *, quiet: bool = False) -> Outcome:
        self.asked.append(Asked(address, notification, quiet))
        if self.hold:
            self.waiting.set()
            await self.release.wait()
        if self.meanwhile is not None:
            happening = self.meanwhile()
            if asyncio.iscoroutine(happening):
                await happening
        answer = self.answers.popleft() if self.answers else Sent(f"sent-{len(self.asked)}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass

"""A bus with everything it heard, and hints to send."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from server.bus.interface import AgentsHere, Committed, LoggedOut, Replaced, Touched, Typing, WhoIsHere
from server.bus.redis import RedisBus
from server.clock import SystemClock
from server.domain.events import Author, AuthorType, Event
from server.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from server.bus.interface import Channel, Hint
    from server.clock import Clock

PATIENCE_S = 10.0
POLL_S = 0.002


async def until(true: Callable[[], object], *, within: float = PATIENCE_S, what: Callable[[], object] = str) -> None:
    """Wait until `true()`. An AssertionError shows `what()`."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > within:
            raise AssertionError(f"not within {within:g} s: {what()}")
        await asyncio.sleep(POLL_S)


class Member:
    """One node's end of a bus between nodes."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.registry = CollectorRegistry()
        self.bus = RedisBus(url, clock or SystemClock(), self.registry, get_logger("tests.bus"))
        self.heard: list[tuple[Channel, Hint]] = []

    def receive(self, channel: Channel, hint: Hint) -> None:
        self.heard.append((channel, hint))

    @property
    def revs(self) -> list[int]:
        """Of the `Touched` that came, in order."""
        return [hint.rev for _, hint in self.heard if isinstance(hint, Touched)]

    def number(self, name: str, **labels: str) -> float:
        """The value of one of its metrics."""
        return self.registry.get_sample_value(f"deskbell_bus_{name}", labels) or 0.0

    async def settled(self) -> None:
        """Wait until Redis has confirmed all subscriptions and a probe was heard."""
        await until(lambda: self.bus.settled, what=lambda: self.bus.degraded or "subscriptions outstanding")

    async def well(self, within: float = PATIENCE_S) -> None:
        await until(lambda: self.bus.degraded is None, within=within, what=lambda: self.bus.degraded)

    async def unwell(self, within: float = PATIENCE_S) -> None:
        await until(lambda: self.bus.degraded, within=within, what=lambda: "it says that it is well")


@contextlib.asynccontextmanager
async def member_of(url: str, clock: Clock | None = None) -> AsyncIterator[Member]:
    """A member that is started and closed."""
    member = Member(url, clock)
    await member.bus.start(member.receive)
    try:
        yield member
    finally:
        await member.bus.close()


def touched(rev: int = 1, app_id: UUID | None = None) -> Touched:
    return Touched(app_id or uuid4(), uuid4(), uuid4(), rev)


def event(seq: int = 1, body: bytes = b'{"kind":"text","text":"\xc3\xa4"}') -> Event:
    """With a value of its own in every field."""
    return Event(
        app_id=UUID(int=1),
        user_id=UUID(int=2),
        conversation_id=UUID(int=3),
        seq=seq,
        usn=7,
        kind="message",
        author=Author(AuthorType.AGENT, "robin", "Robin", "https://example.com/robin.png"),
        client_id=UUID(int=4),
        body=body,
        at=datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    )


def note(seq: int = 2) -> Event:
    """With nothing in every field that may be empty."""
    return Event(
        app_id=UUID(int=1),
        user_id=UUID(int=2),
        conversation_id=UUID(int=3),
        seq=seq,
        usn=None,
        kind="note",
        author=Author(AuthorType.SYSTEM, "system"),
        client_id=None,
        body=b"{}",
        at=datetime(2030, 1, 2, tzinfo=UTC),
    )


HINTS: tuple[Hint, ...] = (
    Committed(UUID(int=1), UUID(int=2), (event(1), note(2), event(3, bytes(16_384))), "h-00000001"),
    Touched(UUID(int=1), UUID(int=2), UUID(int=3), 2**40),
    Typing(UUID(int=1), UUID(int=2), UUID(int=3), "agent", "robin", "Robin 🚕", True),
    Typing(UUID(int=1), UUID(int=2), UUID(int=3), "user", "ada", None, False),
    Replaced(UUID(int=1), UUID(int=2), 3, 4),
    LoggedOut(UUID(int=1), UUID(int=2), 5),
    AgentsHere(UUID(int=1), "node", (UUID(int=2), UUID(int=3))),
    WhoIsHere(UUID(int=1)),
)
"""One of each kind at least."""

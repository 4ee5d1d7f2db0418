"""The bus of a single process: hints go round through the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.bus.interface import Channel, Hint

MOST_QUEUED = 100_000


class MemoryBus:
    """Hints are handed over in a later turn of the loop, so publishing never runs a receiver's code."""

    def __init__(self) -> None:
        self._channels: set[Channel] = set()
        self._queue: deque[tuple[Channel, Hint]] = deque(maxlen=MOST_QUEUED)
        self._receive: Callable[[Channel, Hint], None] | None = None
        self._scheduled = False

    async def start(self, receive: Callable[[Channel, Hint], None]) -> None:
        self._receive = receive

    def publish(self, hints: Sequence[tuple[Channel, Hint]]) -> None:
        if self._receive is None:
            return
        self._queue.extend(hint for hint in hints if hint[0] in self._channels)
        if self._queue and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def reaches(self, channel: Channel) -> bool:
        return channel in self._channels

    def subscribe(self, channel: Channel) -> None:
        self._channels.add(channel)

    def unsubscribe(self, channel: Channel) -> None:
        self._channels.discard(channel)

    @property
    def degraded(self) -> str | None:
        return None if self._receive is not None else "the bus is not started"

    async def close(self) -> None:
        self._receive = None
        self._queue.clear()

    def _deliver(self) -> None:
        self._scheduled = False
        for _ in range(len(self._queue)):
            channel, hint = self._queue.popleft()
            if self._receive is None:
                return
            if channel in self._channels:
                self._receive(channel, hint)

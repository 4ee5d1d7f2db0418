"""Who waits for an answer, in which order, and how long answers have taken lately."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from server.storage import waiting
from server.storage.waiting import Wait

if TYPE_CHECKING:
    from uuid import UUID

    from server.clock import Clock
    from server.storage.database import Database

__all__ = ["Wait", "Waiting"]

LATELY = timedelta(hours=24)
MOST_WAITING = 1000
MOST_SAMPLES = 500
FEWEST_SAMPLES = 5
"""With fewer answers than this nothing is said about the time: a guess would not be honest."""
KEPT_S = 30.0


class Waiting:
    """The queue of an app: conversations in which the customer spoke last, the longest waiting first."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._percentiles: dict[UUID, tuple[float, int | None, int | None]] = {}

    async def of_app(self, app_id: UUID) -> list[Wait]:
        """The first thousand who wait, with position (1 is next) and the P50 and P90 of recent waits in seconds."""
        found = await waiting.queue(self._database, app_id, MOST_WAITING)
        if not found:
            return []
        p50, p90 = await self._recent(app_id)
        return [
            Wait(app_id, user_id, conversation_id, position, p50, p90)
            for position, (user_id, conversation_id) in enumerate(found, start=1)
        ]

    async def _recent(self, app_id: UUID) -> tuple[int | None, int | None]:
        now = self._clock.monotonic()
        kept = self._percentiles.get(app_id)
        if kept is None or kept[0] <= now:
            since = self._clock.now() - LATELY
            samples = await waiting.recent_waits(self._database, app_id, since, MOST_SAMPLES)
            kept = (now + KEPT_S, *percentiles(samples))
            self._percentiles[app_id] = kept
        return kept[1], kept[2]


def percentiles(samples: list[int]) -> tuple[int | None, int | None]:
    """P50 and P90 (nearest rank) of waits in seconds; None for both when there are too few to say anything."""
    if len(samples) < FEWEST_SAMPLES:
        return None, None
    ordered = sorted(samples)
    return tuple(ordered[min(len(ordered) - 1, -(-len(ordered) * share // 100) - 1)] for share in (50, 90))  # type: ignore[return-value]  # two shares, two numbers

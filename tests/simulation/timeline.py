"""Virtual time: one queue of things to come."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_STEPS = 60_000
"""A whole run takes a few thousand; far more means that two parties keep each other busy for nothing."""


class Actor:
    """Something that can die and be frozen. What it had planned dies with its `life`, and waits while it is frozen."""

    __slots__ = ("frozen_until", "life")

    def __init__(self) -> None:
        self.life = 0
        self.frozen_until = 0.0


class RunsHot(Exception):
    """More happened than a sane system would have to do."""


class Timeline:
    """`now` in seconds since the start of the run."""

    __slots__ = ("_number", "_queue", "now", "steps")

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._queue: list[tuple[float, int, Actor | None, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, delay: float, owner: Actor | None, act: Callable[..., None], *args: Any) -> None:
        """Do `act(*args)` in `delay` seconds, if `owner` still lives its present life then."""
        self._number += 1
        life = 0 if owner is None else owner.life
        heappush(self._queue, (self.now + delay, self._number, owner, life, act, args))

    def run(self, until: float) -> None:
        """Let time pass. Raises `RunsHot`, and whatever the parties raise."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            due, number, owner, life, act, args = heappop(queue)
            if owner is not None:
                if owner.life != life:
                    continue
                if owner.frozen_until > due:
                    # The number stays, so that what waited still happens in its order.
                    heappush(queue, (owner.frozen_until, number, owner, life, act, args))
                    continue
            self.now = due
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise RunsHot(f"{MOST_STEPS} steps within {due:.0f} s of virtual time")
            act(*args)
        self.now = until

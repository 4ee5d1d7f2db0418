"""Time, injected. Nothing else in the server reads a clock.

Two clocks, never mixed: `now()` is UTC wall time, for display and for due times that outlive the process;
`monotonic()` is seconds that only grow, for deadlines and latencies inside one process. A wall clock may step
(NTP, virtual machines), so order never comes from it: order is `seq` and `usn` (protocol.md, "Numbers").
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a component may ask about time."""

    def now(self) -> datetime:
        """The wall clock as an aware UTC datetime."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of `monotonic()` time; zero or less yields once."""


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now(self) -> datetime:
        return datetime.now(UTC)

    # Asked several times a message: the function itself, not one around it.
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

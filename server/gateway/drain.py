"""Leaving in good order (protocol.md, "Keeping alive, draining").

Every socket is told when to come back, spread over the window, and is served until then: what it sends meanwhile is
written and answered. At its time it is closed with 4000, once nothing of it is under way. So a restart costs nobody a
message, and the other nodes see the reconnects at an even pace instead of all at once.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sdk_protocol.closing import CloseCode

if TYPE_CHECKING:
    import asyncio

    from server.gateway.house import House

STEP_S = 0.02
FINISH_S = 5.0
"""How long after its time a socket may still have something under way."""


async def drain(house: House, hurry: asyncio.Event | None = None) -> None:
    """Return when all sockets are gone: after the window and `FINISH_S` at the latest, or soon after `hurry` is set."""
    house.draining = True
    window = house.config.sockets.drain_s
    started = house.clock.monotonic()
    leaving = sorted(
        ((random.uniform(0, window), connection) for connection in house.connections),
        key=lambda pair: pair[0],
    )
    for delay, connection in leaving:
        connection.drain(int(delay * 1000))
    while leaving:
        elapsed = house.clock.monotonic() - started
        hurried = hurry is not None and hurry.is_set()
        late = elapsed >= window + FINISH_S or hurried
        kept = []
        for delay, connection in leaving:
            if late or (elapsed >= delay and not connection.requests):
                connection.close(CloseCode.DRAIN, "the node is going away")
            else:
                kept.append((delay, connection))
        leaving = kept
        if leaving:
            await house.clock.sleep(STEP_S)
    deadline = house.clock.monotonic() + 1.0
    while house.connections and house.clock.monotonic() < deadline:
        await house.clock.sleep(STEP_S)

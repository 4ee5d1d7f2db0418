"""Leaving in good order (protocol.md, "Keeping alive, draining")."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sdk_protocol.closing import CloseCode

if TYPE_CHECKING:
    from server.gateway.house import House

STEP_S = 0.05
FINISH_S = 5.0
"""How long what is under way may take to finish."""


async def drain(house: House) -> None:
    """Tell every socket when to come back, spread over the window; let sends in flight finish; close with 4000."""
    house.draining = True
    window = house.config.sockets.drain_s
    connections = list(house.connections)
    for connection in connections:
        connection.drain(int(random.uniform(0, window) * 1000))
    deadline = house.clock.monotonic() + FINISH_S
    while any(connection.requests for connection in house.connections) and house.clock.monotonic() < deadline:
        await house.clock.sleep(STEP_S)
    for connection in tuple(house.connections):
        connection.close(CloseCode.DRAIN, "the node is going away")
    deadline = house.clock.monotonic() + 1.0
    while house.connections and house.clock.monotonic() < deadline:
        await house.clock.sleep(STEP_S)

"""The node's one wheel: every socket once a second, not all of them at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from server.gateway.sweep import SLICES, TICK_S
from tests.server.gateway.phone import Phone

if TYPE_CHECKING:
    from tests.server.gateway.phone import House


async def test_every_socket_is_looked_at_once_a_second_and_never_all_at_once(house: House) -> None:
    phones = [Phone(house, f"user{number}") for number in range(3 * SLICES)]
    ticking = asyncio.ensure_future(house.node.sweep._tick())
    await asyncio.sleep(0)  # it takes its first look, and sleeps
    at_once = []
    for second in (1, 2):
        for _ in range(SLICES):
            before = sum(phone.transport.ticks for phone in phones)
            await house.clock.advance(TICK_S / SLICES)
            at_once.append(sum(phone.transport.ticks for phone in phones) - before)
        assert {phone.transport.ticks for phone in phones} == {second}
    assert set(at_once) == {3}

    gone = phones.pop()
    gone.hang_up()
    for _ in range(SLICES):
        await house.clock.advance(TICK_S / SLICES)
    assert gone.transport.ticks == 2
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking

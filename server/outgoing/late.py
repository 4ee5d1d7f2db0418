"""Loads the real one at the first call: an HTTP client takes longer to import than the rest of a node to start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.outgoing.interface import Call, Outcome, Outgoing


class LateOutgoing:
    """`load` is called once, in a thread."""

    def __init__(self, load: Callable[[], Outgoing]) -> None:
        self._load = load
        self._loading = asyncio.Lock()
        self._real: Outgoing | None = None

    async def post(self, call: Call) -> Outcome:
        return await (self._real or await self._loaded()).post(call)

    async def close(self) -> None:
        if self._real is not None:
            await self._real.close()

    async def _loaded(self) -> Outgoing:
        async with self._loading:
            if self._real is None:
                self._real = await asyncio.to_thread(self._load)
        return self._real

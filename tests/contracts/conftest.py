"""Fixtures of the contract suites, and the loops they run on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.contracts.socket_stage import STAGES
from tests.support.redis import redis_cluster, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from tests.contracts.socket_stage import Stage

__all__ = ["redis_cluster", "redis_server"]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Sockets are tested on the loop of production: its transports are part of what is promised."""
    if item.path.name.startswith("test_gateway_"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A socket server, each in turn."""
    async with STAGES[request.param]() as running:
        yield running

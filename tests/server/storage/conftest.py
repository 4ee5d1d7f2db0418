"""Fixtures of the storage tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.storage.world import World, world_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as made:
        yield made

"""`world`: the services on this test's own database, with a clock that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.server.services.phone import phone_on
from tests.support.services import running_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.server.services.phone import Phone
    from tests.support.services import World


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with running_services(database_url) as running:
        yield running


@pytest_asyncio.fixture
async def phone(database_url: str) -> AsyncIterator[Phone]:
    async with phone_on(database_url) as ready:
        yield ready

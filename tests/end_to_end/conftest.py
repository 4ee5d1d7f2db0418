"""Fixtures of the tests that drive a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from tests.end_to_end.scene import WITHIN_MS, Ride, Scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from tests.support.demo import DemoServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=WITHIN_MS)
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium)
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def scene(demo_server: DemoServer, browser: Browser) -> AsyncIterator[Scene]:
    mark = uuid4().hex[:8]
    headers = {"Authorization": f"Bearer {demo_server.server_key}"}
    async with httpx.AsyncClient(base_url=demo_server.url, headers=headers) as app_server:
        ride = Ride(f"ride_{mark}", f"Ride {mark}")
        made = Scene(demo_server, app_server, browser, f"pages_{mark}", f"Nadia {mark}", ride)
        answer = await app_server.put(f"/v1/users/{made.external_id}", json={"name": made.name})
        assert answer.is_success, answer.text
        await made.put_ride()
        yield made
    for context in made.contexts:
        await context.close()
    assert made.complaints == []

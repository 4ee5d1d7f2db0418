"""A customer with a ride and an agent, on the two pages in a real Chromium: what the tests of the pages stand on.

Every test brings a customer of its own, so the demo's scripted life does not matter to it. A page that logs an error or
breaks its content security policy fails its test, whatever else it did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from playwright.async_api import expect

if TYPE_CHECKING:
    import httpx
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

    from tests.support.demo import DemoServer

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}
WITHIN_MS = 15_000
# The desk asks who it is before anyone has signed in, and a crossing reply is a conflict; the browser logs both itself.
EXPECTED_IN_CONSOLE = re.compile(r"status of (401|409)")


@dataclass
class Ride:
    """A ride as the app's server last said it."""

    id: str
    title: str
    version: int = 1
    status: str = "in_progress"
    amount: str = "34.20"

    def body(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "kind": "ride",
            "status": self.status,
            "title": self.title,
            "amount": {"value": self.amount, "currency": "EUR"},
            "occurred_at": "2026-01-05T09:30:00Z",
            "attributes": {"pickup": "Lindenstraße 8", "dropoff": "Airport Terminal 2", "driver": "Piotr N."},
        }


@dataclass
class Scene:
    """One customer with one ride, the app's server behind them, and the pages opened so far."""

    server: DemoServer
    app_server: httpx.AsyncClient
    browser: Browser
    external_id: str
    name: str
    ride: Ride
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    async def put_ride(self) -> None:
        path = f"/v1/users/{self.external_id}/transactions/{self.ride.id}"
        answer = await self.app_server.put(path, json=self.ride.body())
        assert answer.status_code == 200, answer.text

    async def change_ride(self, status: str, amount: str) -> None:
        self.ride.version += 1
        self.ride.status, self.ride.amount = status, amount
        await self.put_ride()

    async def phone(self) -> Page:
        """The customer's phone, signed in by the fragment, on the app's first screen."""
        answer = await self.app_server.post(f"/v1/users/{self.external_id}/tokens")
        assert answer.is_success, answer.text
        fragment = urlencode({"app": self.server.app, "token": answer.json()["token"], "name": self.name})
        page = await self._page(PHONE)
        await page.goto(f"{self.server.phone_url}#{fragment}")
        await expect(page.get_by_role("button", name=self.ride.title)).to_be_visible()
        return page

    async def desk(self) -> Page:
        """An agent's desk, signed in with the e-mail and password of the demo."""
        page = await self._page(DESKTOP)
        await page.goto(self.server.desk_url)
        await page.get_by_label("E-mail").fill(self.server.agent["email"])
        await page.get_by_label("Password").fill(self.server.agent["password"])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("navigation", name="Inbox")).to_be_visible()
        return page

    async def thread(self, desk: Page) -> list[dict[str, Any]]:
        """All events of the conversation that is open on `desk`, notes included."""
        conversation = desk.url.rpartition("/c/")[2]
        headers = {"Authorization": f"Bearer {self.server.agent['token']}"}
        path = f"/admin/v1/conversations/{conversation}/events"
        answer = await self.app_server.get(path, params={"after": 0, "limit": 200}, headers=headers)
        assert answer.status_code == 200, answer.text
        events: list[dict[str, Any]] = answer.json()["items"]
        return events

    async def _page(self, viewport: dict[str, int]) -> Page:
        context = await self.browser.new_context(viewport={"width": viewport["width"], "height": viewport["height"]})
        self.contexts.append(context)
        context.set_default_timeout(WITHIN_MS)
        page = await context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED_IN_CONSOLE.search(message.text):
            self.complaints.append(message.text)


async def ask_about_the_ride(phone: Page, scene: Scene, text: str) -> None:
    await phone.get_by_role("button", name=scene.ride.title).click()
    await write(phone, text)


async def write(phone: Page, text: str) -> None:
    box = phone.get_by_role("textbox", name="Message")
    await box.fill(text)
    await box.press("Enter")


async def open_thread(desk: Page, scene: Scene) -> None:
    await desk.get_by_role("navigation", name="Inbox").get_by_role("button", name=scene.name).click()
    await expect(desk.get_by_role("heading", name=scene.name)).to_be_visible()


async def reply(desk: Page, text: str) -> None:
    box = desk.get_by_role("textbox", name="Reply to the customer")
    await box.fill(text)
    await box.press("Enter")


def messages(page: Page) -> Locator:
    return page.get_by_role("log", name="Messages")

"""How the phone page says hello, in a real Chromium against a running server (protocol.md, C6 and *Close codes*)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.end_to_end.scene import ask_about_the_ride, write

if TYPE_CHECKING:
    from playwright.async_api import WebSocketRoute

    from tests.end_to_end.scene import Scene

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

FORGET = """async () => {
    const [{ name }] = (await indexedDB.databases()).filter(({ name }) => name.startsWith("deskbell."));
    await new Promise((resolve) => indexedDB.open(name).onsuccess = ({ target: { result } }) => {
        const writing = result.transaction("meta", "readwrite");
        writing.objectStore("meta").delete("attempt");
        writing.oncomplete = () => resolve(result.close());
    });
}"""


async def test_every_hello_is_numbered_and_a_number_that_was_lost_is_learnt(scene: Scene) -> None:
    phone = await scene.phone()
    attempts: list[int] = []
    unheard = [4400, 4400, 4400]

    def listen(route: WebSocketRoute) -> None:
        """A network that lets the page fall asleep before it is heard, three times."""
        server = route.connect_to_server()

        async def from_page(data: str | bytes) -> None:
            frame = json.loads(data)
            if frame["t"] == "hello":
                attempts.append(frame["attempt"])
                if unheard:
                    await route.close(code=unheard.pop())
                    return
            server.send(data)

        route.on_message(from_page)

    await phone.route_web_socket(re.compile("/v1/chat"), listen)
    await phone.reload()
    await ask_about_the_ride(phone, scene, "Am I heard?")
    await expect(phone.locator("[data-state=sent]")).to_be_visible()
    assert attempts == [2, 3, 4, 5]

    await phone.evaluate(FORGET)
    await phone.reload()
    await write(phone, "And now?")
    await expect(phone.locator("[data-state=sent]")).to_be_visible()
    await expect(phone.locator("[data-state=waiting]")).to_have_count(0)
    assert attempts[4:] == [1, 6]

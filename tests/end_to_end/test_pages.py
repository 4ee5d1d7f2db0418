"""The two pages in a real Chromium, against a running server: a customer on `/phone`, an agent on `/desk`."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.end_to_end.scene import WITHIN_MS, ask_about_the_ride, messages, open_thread, reply, write

if TYPE_CHECKING:
    from playwright.async_api import WebSocketRoute

    from tests.end_to_end.scene import Scene

# One browser for the file: starting it takes longer than most of the tests.
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_a_customer_and_an_agent_talk_about_a_ride_that_changes(scene: Scene) -> None:
    phone, desk = await scene.phone(), await scene.desk()

    await ask_about_the_ride(phone, scene, "The driver took the long way.")
    await expect(phone.locator("[data-state=sent]")).to_be_visible()

    await open_thread(desk, scene)
    await expect(messages(desk).get_by_text("The driver took the long way.")).to_be_visible()
    panel = desk.get_by_role("complementary", name="Context")
    await expect(panel.get_by_text(scene.ride.title, exact=True)).to_be_visible()
    await expect(panel.get_by_text("€34.20")).to_be_visible()
    await expect(panel.get_by_text("Lindenstraße 8").first).to_be_visible()
    await expect(phone.locator("[data-state=read]")).to_be_visible()

    await desk.get_by_role("textbox", name="Reply to the customer").press_sequentially("One mom")
    await expect(messages(phone).get_by_text("is typing")).to_be_attached()
    await reply(desk, "One moment, I am looking.")
    await expect(messages(phone).get_by_text("One moment, I am looking.")).to_be_visible()

    await scene.change_ride("completed", "41.80")
    await expect(panel.locator(".fact.changed", has_text="€41.80")).to_be_visible()
    await expect(panel.locator(".fact.changed", has_text="Completed")).to_be_visible()
    await expect(messages(phone).get_by_text(f"{scene.ride.title}: Completed · €41.80")).to_be_visible()
    await expect(phone.get_by_label("The ride this is about").get_by_text("Completed")).to_be_visible()

    await write(phone, "Thank you!")
    await expect(messages(desk).get_by_text("Thank you!")).to_be_visible()
    await expect(phone.locator("[data-state=read]")).to_be_visible()

    # A read mark is an event too: a page that read "up to the end" would answer its own marks for ever.
    kinds = [event["kind"] for event in await scene.thread(desk)]
    assert kinds.count("message") == 3
    assert 2 <= kinds.count("receipt") <= 3


async def test_a_note_stays_among_agents_and_a_solved_conversation_is_rated(scene: Scene) -> None:
    phone, desk = await scene.phone(), await scene.desk()
    await ask_about_the_ride(phone, scene, "Could I get a receipt?")
    await open_thread(desk, scene)

    await desk.get_by_role("button", name="Assign to me").click()
    await expect(desk.get_by_text("Assigned to you", exact=True)).to_be_visible()
    await desk.get_by_role("button", name="Note", exact=True).click()
    note = desk.get_by_role("textbox", name="Note, only for agents")
    await note.fill("Regular customer, be generous.")
    await note.press("Enter")
    await expect(messages(desk).get_by_text("Regular customer, be generous.")).to_be_visible()
    await desk.get_by_role("button", name="Reply", exact=True).click()
    await reply(desk, "It is in your mailbox.")
    await expect(messages(phone).get_by_text("It is in your mailbox.")).to_be_visible()
    await expect(phone.get_by_text("Regular customer")).to_have_count(0)

    await desk.get_by_role("main").get_by_role("button", name="Resolved").click()
    await expect(messages(phone).get_by_text("Marked as solved")).to_be_visible()
    await phone.get_by_role("button", name="5 of 5, Great").click()
    await expect(messages(phone).get_by_text("You rated this conversation 5 out of 5")).to_be_visible()
    await expect(messages(desk).get_by_text("rated this 5 out of 5")).to_be_visible()


async def test_what_is_written_offline_survives_a_reload_and_arrives_once_in_order(scene: Scene) -> None:
    phone, desk = await scene.phone(), await scene.desk()
    await ask_about_the_ride(phone, scene, "First, while there is a network.")
    await expect(phone.locator("[data-state=sent]")).to_be_visible()
    await open_thread(desk, scene)
    arrived = messages(desk).locator("article .body-text")

    await phone.get_by_role("button", name="Back").click()
    await phone.get_by_role("button", name="Back").click()
    await phone.get_by_role("button", name="Customer and connection").click()
    sheet = phone.get_by_role("dialog")
    await sheet.get_by_role("switch", name="Offline").check()
    await sheet.get_by_role("button", name="Done").click()
    await phone.get_by_role("button", name=scene.ride.title).click()
    for text in ("Second, in a tunnel.", "Third, still in it.", "Fourth."):
        await write(phone, text)
    await expect(phone.locator("[data-state=waiting]")).to_have_count(3)
    await expect(phone.get_by_text("You’re offline.")).to_be_visible()
    await expect(arrived).to_have_text(["First, while there is a network."])

    # A reload throws everything away that is not on disk; it also ends the switch, so the page connects.
    await phone.reload()
    everything = ["First, while there is a network.", "Second, in a tunnel.", "Third, still in it.", "Fourth."]
    await expect(arrived).to_have_text(everything)
    await expect(messages(phone).locator("article .body-text")).to_have_text(everything)
    await expect(phone.locator("[data-state=waiting]")).to_have_count(0)


async def test_a_message_whose_answer_got_lost_is_sent_again_and_stands_there_once(scene: Scene) -> None:
    phone, desk = await scene.phone(), await scene.desk()
    await ask_about_the_ride(phone, scene, "Hello?")
    await open_thread(desk, scene)
    lost = asyncio.Event()
    sent: list[str] = []
    deaf: list[WebSocketRoute] = []

    def lose_answers(route: WebSocketRoute) -> None:
        """A network that takes the message to the server and nothing back, once."""
        server = route.connect_to_server()

        def from_page(data: str | bytes) -> None:
            frame = json.loads(data)
            if frame["t"] == "send":
                if not sent:
                    deaf.append(route)
                sent.append(frame["id"])
            server.send(data)

        def from_server(data: str | bytes) -> None:
            if route in deaf:
                lost.set()
            else:
                route.send(data)

        route.on_message(from_page)
        server.on_message(from_server)

    await phone.route_web_socket(re.compile("/v1/chat"), lose_answers)
    await phone.reload()
    await expect(messages(phone).get_by_text("Hello?", exact=True)).to_be_visible()
    await write(phone, "The one in question.")
    await asyncio.wait_for(lost.wait(), WITHIN_MS / 1000)
    await expect(messages(desk).get_by_text("The one in question.", exact=True)).to_be_visible()
    await expect(phone.locator("[data-state=waiting]")).to_be_visible()

    await phone.reload()
    await expect(phone.locator("[data-state=waiting]")).to_have_count(0)
    for page in (phone, desk):
        await expect(messages(page).locator("article .body-text")).to_have_text(["Hello?", "The one in question."])
    assert sent == [sent[0]] * 2

    # It has left the outbox: what is written after the next start goes alone.
    await phone.reload()
    await expect(messages(phone).locator("article .body-text")).to_have_count(2)
    await write(phone, "The last.")
    await expect(messages(desk).get_by_text("The last.", exact=True)).to_be_visible()
    assert len(sent) == 3


async def test_a_lost_connection_comes_back_by_itself_and_misses_nothing(scene: Scene) -> None:
    phone, desk = await scene.phone(), await scene.desk()
    await ask_about_the_ride(phone, scene, "Are you there?")
    await expect(phone.locator("[data-state=sent]")).to_be_visible()
    await open_thread(desk, scene)

    await phone.get_by_role("button", name="Back").click()
    await phone.get_by_role("button", name="Back").click()
    await phone.get_by_role("button", name="Customer and connection").click()
    sheet = phone.get_by_role("dialog")
    await sheet.get_by_role("switch", name="Offline").check()
    await expect(sheet.get_by_text("Offline", exact=True).last).to_be_visible()
    await reply(desk, "Yes, here.")
    await reply(desk, "And still here.")
    await expect(messages(desk).locator("article .body-text")).to_have_count(3)
    await sheet.get_by_role("switch", name="Offline").uncheck()
    await sheet.get_by_role("button", name="Done").click()

    await expect(phone.get_by_label("2 unread").first).to_be_visible()
    await phone.get_by_role("button", name=scene.ride.title).click()
    await expect(messages(phone).locator("article .body-text")).to_have_text(
        ["Are you there?", "Yes, here.", "And still here."]
    )


async def test_a_reply_that_crosses_a_new_message_is_held_until_the_agent_decides(scene: Scene) -> None:
    phone, desk = await scene.phone(), await scene.desk()
    await ask_about_the_ride(phone, scene, "Please cancel my ride.")
    await open_thread(desk, scene)
    await expect(messages(desk).get_by_text("Please cancel my ride.")).to_be_visible()

    box = desk.get_by_role("textbox", name="Reply to the customer")
    await box.fill("Done, it is cancelled.")
    await write(phone, "No, wait, keep it!")
    await expect(messages(desk).get_by_text("No, wait, keep it!")).to_be_visible()
    await box.press("Enter")

    warning = desk.get_by_role("alertdialog")
    await expect(warning.get_by_text("wrote while you were typing")).to_be_visible()
    await expect(warning.get_by_text("No, wait, keep it!")).to_be_visible()
    await expect(box).to_have_value("Done, it is cancelled.")
    await expect(messages(phone).get_by_text("Done, it is cancelled.")).to_have_count(0)

    await warning.get_by_role("button", name="Keep editing").click()
    await reply(desk, "Fine, it stays.")
    await expect(messages(phone).locator("article .body-text")).to_have_text(
        ["Please cancel my ride.", "No, wait, keep it!", "Fine, it stays."]
    )


async def test_what_people_write_is_shown_as_text_never_as_markup(scene: Scene) -> None:
    phone, desk = await scene.phone(), await scene.desk()
    markup = '<img src="x" onerror="document.title=1"><b>bold</b> &amp; 👩🏽‍✈️ שלום'
    await ask_about_the_ride(phone, scene, markup)
    await open_thread(desk, scene)
    for page in (phone, desk):
        await expect(messages(page).get_by_text(markup)).to_be_visible()
        await expect(messages(page).locator("img, b")).to_have_count(0)


async def test_a_wrong_password_is_said_and_the_form_stays(scene: Scene) -> None:
    page = await scene.desk()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_label("E-mail").fill(scene.server.agent["email"])
    await page.get_by_label("Password").fill("not the password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("That e-mail and password do not match.")
    await expect(page.get_by_label("E-mail")).to_have_value(scene.server.agent["email"])

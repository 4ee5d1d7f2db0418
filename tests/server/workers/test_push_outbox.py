"""From an agent's answer to a phone that does not look: the real outbox, the real firebase-admin, a provider that
behaves, over real sockets (docs/push.md)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from sdk_protocol import frames
from server.clock import SystemClock
from server.config import Config
from server.domain.events import Author, AuthorType
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.services.directory import Place
from server.wiring import Node
from server.workers.housekeeping import Housekeeping
from tests.server.gateway.phone import SECRET, House, Phone
from tests.support.fake_fcm import FakeFcm, running_fcm
from tests.support.fcm_faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROBIN = Author(AuthorType.AGENT, str(uuid4()), "Robin")


class Street:
    """A node whose workers run, a provider, and a customer whose phone is registered with it."""

    def __init__(self, house: House, fcm: FakeFcm) -> None:
        self.house = house
        self.fcm = fcm

    async def phone(self, external_id: str, token: str, *, foreground: bool = True) -> Phone:
        phone = Phone(self.house, external_id)
        await phone.hello(foreground=foreground)
        await phone.synced()
        await phone.ask(lambda ref: frames.PushToken(ref=ref, provider="fcm", token=token))
        return phone

    async def answer(self, phone: Phone, conversation: UUID, text: str = "Your refund is on its way.") -> None:
        app_id, user_id = phone.connection.key
        message = Message(uuid4(), ROBIN, from_struct(Text(text=text)))
        await self.house.node.services.messaging.post(Place(app_id, user_id, conversation), message)

    async def states(self) -> list[Any]:
        rows = await self.house.node.database.pool.fetch(
            "select *, want_seq > sent_seq and not dead as pending from push_state order by device_id"
        )
        return list(rows)

    async def settled(self) -> list[Any]:
        """Wait until nothing is pending."""
        async with asyncio.timeout(10):
            while True:
                states = await self.states()
                if states and not any(state["pending"] for state in states):
                    return states
                await asyncio.sleep(0.02)


@pytest.fixture
async def street(database_url: str, tmp_path: Path) -> AsyncIterator[Street]:
    async with running_fcm() as fcm:
        config = Config.load(
            {
                "HOME": str(tmp_path),
                "DESKBELL_FCM_CREDENTIALS": str(fcm.credentials_path),
                "DESKBELL_FCM_ENDPOINT": fcm.url,
                "DESKBELL_PUSH_GRACE_SECONDS": "0.4",
            }
        )
        node = await Node.open(config, SystemClock(), database_url, SECRET, frozenset({"workers"}))
        try:
            made = await node.services.apps.create("Kestrel")
            yield Street(House(node, node.clock, made.app.app_id), fcm)  # type: ignore[arg-type]  # a real clock
        finally:
            await node.close()


async def test_an_answer_reaches_a_sleeping_phone(street: Street) -> None:
    phone = await street.phone("ada", "token-1")
    conversation = await phone.open()
    phone.hang_up()
    await street.answer(phone, conversation)
    received = (await street.fcm.wait_for(1))[0]
    states = await street.settled()

    assert received.target == "token-1"
    assert received.message["android"]["notification"]["tag"] == str(conversation)
    assert received.message["notification"]["title"] == "Robin"
    assert received.message["notification"]["body"] == "Your refund is on its way."
    assert received.message["data"]["conversation"] == str(conversation)
    assert [(state["outcome"], state["sent_seq"]) for state in states] == [("accepted", 3)]


async def test_a_phone_that_acknowledged_in_time_gets_no_push(street: Street) -> None:
    phone = await street.phone("ada", "token-1")
    conversation = await phone.open()
    await street.answer(phone, conversation)
    await phone.until(lambda: len(phone.events) == 3)
    phone.say(frames.Ack(usn=3))
    await street.house.node.acks.flush()
    states = await street.settled()

    assert [state["outcome"] for state in states] == ["on the device"]
    assert street.fcm.received == []


async def test_an_ack_from_one_device_still_pushes_to_the_other(street: Street) -> None:
    one, two = await street.phone("ada", "token-1"), await street.phone("ada", "token-2", foreground=False)
    conversation = await one.open()
    two.hang_up()
    await street.answer(one, conversation)
    await one.until(lambda: len(one.events) == 3)
    one.say(frames.Ack(usn=3))
    await street.house.node.acks.flush()
    await street.settled()

    assert [received.target for received in street.fcm.received] == ["token-2"]


async def test_what_was_read_is_not_pushed(street: Street) -> None:
    one, two = await street.phone("ada", "token-1"), await street.phone("ada", "token-2")
    conversation = await one.open()
    await street.answer(one, conversation)
    two.say(frames.Read(conversation=conversation, seq=3))
    states = await street.settled()

    assert {state["outcome"] for state in states} == {"read"}
    assert street.fcm.received == []


async def test_several_answers_collapse_into_one_with_an_absolute_badge(street: Street) -> None:
    phone = await street.phone("ada", "token-1")
    conversation, other = await phone.open(), await phone.open()
    for number in range(3):
        await street.answer(phone, conversation, f"part {number}")
    await street.answer(phone, other, "elsewhere")
    phone.hang_up()
    await street.settled()

    by_tag = {received.message["android"]["notification"]["tag"]: received for received in street.fcm.received}
    assert len(street.fcm.received) == 2
    assert by_tag[str(conversation)].message["notification"]["body"] == "3 new messages"
    assert by_tag[str(other)].message["notification"]["body"] == "elsewhere"
    assert {each.message["android"]["notification"]["notification_count"] for each in by_tag.values()} == {4}


async def test_a_token_that_is_gone_is_removed(street: Street) -> None:
    phone = await street.phone("ada", "token-1", foreground=False)
    street.fcm.unregister("token-1")
    conversation = await phone.open()
    await street.answer(phone, conversation)
    states = await street.settled()

    assert states[0]["dead"]
    assert "token gone" in states[0]["outcome"]
    assert await street.house.node.database.pool.fetchval("select push_token from device") is None


async def test_trouble_that_passes_is_waited_out_and_the_repeat_is_quiet(street: Street) -> None:
    phone = await street.phone("ada", "token-1", foreground=False)
    conversation = await phone.open()
    street.fcm.fail(Fault("unavailable", deliver=True))
    await street.answer(phone, conversation)
    received = await street.fcm.wait_for(2)
    await street.settled()

    assert [each.answer for each in received] == ["unavailable", "accepted"]
    assert "sound" in received[0].message["android"]["notification"]
    assert "sound" not in received[1].message["android"]["notification"]
    assert len(street.fcm.devices["token-1"].drawer) == 1


async def test_after_logout_nothing_is_pushed(street: Street) -> None:
    phone = await street.phone("ada", "token-1")
    conversation = await phone.open()
    await street.answer(phone, conversation)
    await phone.ask(lambda ref: frames.Logout(ref=ref))
    await street.answer(phone, conversation)
    other = await street.phone("ben", "token-9")
    await street.answer(other, await other.open())
    await street.fcm.wait_for(1)
    await street.settled()

    assert [received.target for received in street.fcm.received] == ["token-9"]


async def test_refused_credentials_turn_health_red(street: Street) -> None:
    phone = await street.phone("ada", "token-1", foreground=False)
    conversation = await phone.open()
    street.fcm.fail(Fault("third_party_auth"))
    await street.answer(phone, conversation)
    async with asyncio.timeout(10):
        while not await street.house.node.health.reasons():
            await asyncio.sleep(0.02)

    assert list(await street.house.node.health.reasons()) == ["push.fcm"]
    assert [state["dead"] for state in await street.states()] == [False]


async def test_housekeeping_forgets_sessions_that_have_run_out(street: Street) -> None:
    node = street.house.node
    await street.house.agent()
    await node.database.pool.execute("update agent_token set expires_at = now() - interval '1 minute'")
    Housekeeping(node.services.agents, node.clock).start(node.tasks)
    async with asyncio.timeout(5):
        while await node.database.pool.fetchval("select count(*) from agent_token"):
            await asyncio.sleep(0.01)
    assert await node.database.pool.fetchval("select count(*) from agent") == 1

"""A hello that arrives late, on a socket the phone has given up, does not end the one that lives (protocol.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET

from sdk_protocol import effects, frames
from sdk_protocol.client_session import ClientSession
from sdk_protocol.codec import JSON, MSGPACK
from sdk_protocol.device_state import DeviceState
from sdk_protocol.records import Device
from sdk_protocol.states import ClientState
from tests.server.gateway.phone import Phone, answer

if TYPE_CHECKING:
    from sdk_protocol.codec import Codec
    from tests.server.gateway.phone import House


async def say_hello(phone: Phone, attempt: int | None) -> None:
    """Say hello and wait for nothing."""
    device = Device(id=phone.device_id, platform="android")
    token = await phone.house.token(phone.external_id)
    number = UNSET if attempt is None else attempt
    phone.say(frames.Hello(token=token, device=device, foreground=True, attempt=number))


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_a_late_hello_is_told_so_and_the_living_socket_stays(house: House, codec: Codec) -> None:
    given_up = Phone(house, "ada", codec=codec)
    living = Phone(house, "ada", given_up.device_id)
    await living.hello(attempt=2)
    await living.synced()
    await say_hello(given_up, 1)
    error = await given_up.one(frames.Error)
    await given_up.until(lambda: given_up.code() is not None)

    assert (error.code, error.retry, error.field, error.attempt) == ("conflict", True, "attempt", 2)
    assert (error.ref, error.events) == (UNSET, UNSET)
    assert given_up.code() == 4000
    assert given_up.all(frames.Welcome) == []
    conversation = await living.open()
    await answer(house, living, conversation)
    await living.until(lambda: len(living.events) == 3)
    assert living.code() is None


async def test_a_late_hello_of_the_last_owner_does_not_take_the_device_back(house: House) -> None:
    of_ada = Phone(house, "ada")
    of_ben = Phone(house, "ben", of_ada.device_id)
    await of_ben.hello(attempt=5)
    await of_ben.ask(lambda ref: frames.PushToken(ref=ref, provider="fcm", token="t1"))
    await say_hello(of_ada, 4)
    await of_ada.until(lambda: of_ada.code() is not None)

    assert (of_ada.code(), of_ben.code()) == (4000, None)
    rows = await house.node.database.pool.fetch("select user_id, push_token from device")
    assert [(row["user_id"], row["push_token"]) for row in rows] == [(of_ben.connection.key[1], "t1")]
    of_ada.hang_up()
    assert set(house.node.hub.users) == {of_ben.connection.key}


async def test_a_newer_hello_replaces_the_older_socket_as_ever(house: House) -> None:
    older = Phone(house, "ada")
    await older.hello(attempt=1)
    newer = Phone(house, "ada", older.device_id)
    await newer.hello(attempt=2)
    await older.until(lambda: older.code() is not None)

    assert (older.code(), newer.code()) == (4409, None)


@pytest.mark.parametrize("attempt", [None, 9])
async def test_a_client_that_does_not_count_is_served_beside_those_that_do(house: House, attempt: int | None) -> None:
    older = Phone(house, "ada")
    await older.hello(attempt=attempt)
    newer = Phone(house, "ada", older.device_id)
    await newer.hello()
    await older.until(lambda: older.code() is not None)

    assert (older.code(), newer.code()) == (4409, None)


async def test_a_phone_that_forgot_its_number_is_welcomed_at_its_second_try(house: House) -> None:
    before = Phone(house, "ada")
    await before.hello(attempt=7)
    before.hang_up()
    device = Device(id=before.device_id, platform="android")
    session = ClientSession(device, await house.token("ada"))
    session.restore(DeviceState(attempt=3))
    tries: list[Any] = []
    for _ in range(2):
        phone = Phone(house, "ada", before.device_id)
        (hello,) = session.connect(0.0, house.clock.now().timestamp())
        assert isinstance(hello, effects.Transmit)
        phone.say(hello.frame)
        await phone.until(lambda phone=phone: phone.code() is not None or phone.all(frames.Synced))  # type: ignore[misc]
        for frame in phone.transport.sent:
            session.receive(JSON.encode(frame), 0.0)
        tries.append((hello.frame.attempt, phone.code()))  # type: ignore[attr-defined]
        if phone.code() is not None:
            assert session.disconnected(phone.code() or 0, 0.0, 0.5) == [effects.Reconnect(0.25)]

    assert tries == [(4, 4000), (8, None)]
    assert session.phase is ClientState.LIVE
    assert session.state().attempt == 8

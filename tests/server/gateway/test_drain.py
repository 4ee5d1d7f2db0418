"""A node that leaves: nobody loses a message, and the others are not stormed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sdk_protocol import frames
from tests.server.gateway.phone import Phone

if TYPE_CHECKING:
    from tests.server.gateway.phone import House


async def test_every_socket_is_told_when_to_come_back_and_is_served_until_then(house: House) -> None:
    phones = [await house.phone(f"user{number}") for number in range(20)]
    conversation = await phones[0].open()
    leaving = asyncio.ensure_future(house.node.drain())
    await phones[-1].one(frames.Drain)
    delays = {id(phone): phone.all(frames.Drain)[0].reconnect_after_ms for phone in phones}
    last = max(phones, key=lambda phone: delays[id(phone)])

    assert all(0 <= delay <= 10_000 for delay in delays.values())
    assert max(delays.values()) - min(delays.values()) > 2_000
    if last is phones[0]:
        assert isinstance(await last.send(conversation, "still here"), frames.Ok)

    moment = sorted(delays.values())[10] / 1000
    await house.clock.sleeping()
    house.clock.move(moment)
    await phones[0].until(lambda: sum(phone.code() == 4000 for phone in phones) >= 10)
    assert last.code() is None
    house.clock.move(11)
    await last.until(lambda: last.code() == 4000)
    for phone in phones:
        phone.hang_up()
    house.clock.move(2)
    async with asyncio.timeout(5):
        await leaving


async def test_a_send_under_way_is_answered_before_the_socket_closes(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    connection = await house.node.database.pool.acquire()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select 1 from end_user for update")
    sending = asyncio.ensure_future(phone.send(conversation, "in flight"))
    await phone.until(lambda: phone.connection.requests == 1)
    leaving = asyncio.ensure_future(house.node.drain())
    await phone.one(frames.Drain)
    await house.clock.sleeping()
    house.clock.move(12)
    await asyncio.sleep(0)
    assert phone.code() is None
    await transaction.commit()
    await house.node.database.pool.release(connection)

    assert isinstance(await sending, frames.Ok)
    await house.clock.sleeping()
    house.clock.move(0.02)
    await phone.until(lambda: phone.code() == 4000)
    phone.hang_up()
    house.clock.move(2)
    async with asyncio.timeout(5):
        await leaving


async def test_who_is_in_a_hurry_does_not_wait(house: House) -> None:
    phone, desk = await house.phone(), await house.desk()
    hurry = asyncio.Event()
    leaving = asyncio.ensure_future(house.node.drain(hurry))
    await desk.one(frames.Drain)
    hurry.set()
    await house.clock.sleeping()
    house.clock.move(0.02)
    await phone.until(lambda: (phone.code(), desk.code()) == (4000, 4000))
    phone.hang_up()
    desk.hang_up()
    await house.clock.sleeping()
    house.clock.move(0.02)
    async with asyncio.timeout(5):
        await leaving


async def test_a_device_that_says_hello_while_the_node_leaves_is_sent_on(house: House) -> None:
    phone = Phone(house, "ada")
    leaving = asyncio.ensure_future(house.node.drain())
    await phone.until(lambda: phone.code() == 4000)
    phone.hang_up()
    house.clock.move(20)
    async with asyncio.timeout(5):
        await leaving

"""Retention: the words go, the numbers stay (docs/storage.md)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from sdk_protocol import frames
from server.telemetry import get_logger
from server.workers.retention import Retention
from tests.server.gateway.phone import House, Phone, house_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with house_on(database_url, tmp_path) as made:
        yield made


def worker(house: House, days: float = 30) -> Retention:
    return Retention(house.node.database, house.clock, get_logger("test"), timedelta(days=days))


async def test_old_words_go_and_their_ids_stay(house: House) -> None:
    phone = await house.phone()
    old, message = await phone.open(), uuid4()
    first = await phone.send(old, "secret words", message)
    desk = await house.desk()
    await desk.ask(lambda ref: frames.SetStatus(ref=ref, conversation=old, status="resolved"))
    kept = await phone.open(text="still open")
    house.clock.move(31 * 86_400)

    assert await worker(house).step() == 1
    assert await worker(house).step() == 0

    bodies = await house.node.database.pool.fetch(
        "select conversation_id, body::text from event order by conversation_id, seq"
    )
    assert {row["body"] for row in bodies if row["conversation_id"] == old} == {'{"trimmed":true}'}
    assert any("still open" in row["body"] for row in bodies if row["conversation_id"] == kept)
    assert "secret" not in str(await house.node.database.pool.fetch("select * from conversation"))

    token = await house.token("ada")
    back = Phone(house, "ada", phone.device_id)
    welcome = await back.hello(usn=2, token=token)
    await back.synced()
    assert welcome.resume == "snapshot"
    page = await back.ask(lambda ref: frames.History(ref=ref, conversation=old))
    assert (page.events, page.more) == ([], False)
    again = await back.send(old, "secret words", message)
    other = await back.send(old, "other words", message)
    assert (again.seq, again.duplicate) == (first.seq, True)
    assert other.code == "idempotency_conflict"


async def test_a_conversation_that_goes_on_is_trimmed_later(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    desk = await house.desk()
    await desk.ask(lambda ref: frames.SetStatus(ref=ref, conversation=conversation, status="resolved"))
    house.clock.move(31 * 86_400)
    await worker(house).step()
    back = Phone(house, "ada", phone.device_id)
    await back.hello(token=await house.token("ada"))
    ok = await back.send(conversation, "me again")
    await desk.ask(lambda ref: frames.SetStatus(ref=ref, conversation=conversation, status="resolved"))

    assert (await worker(house).step(), ok.seq) == (0, 4)
    house.clock.move(31 * 86_400)
    assert await worker(house).step() == 1


async def test_a_cursor_behind_what_was_trimmed_goes_on(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    desk = await house.desk()
    await desk.ask(lambda ref: frames.SetStatus(ref=ref, conversation=conversation, status="resolved"))
    house.clock.move(31 * 86_400)
    await worker(house).step()
    back = Phone(house, "ada", phone.device_id)
    welcome = await back.hello(usn=3, token=await house.token("ada"))

    assert welcome.resume == "continued"

"""How a device's socket lives and ends: replaced, refreshed, revoked, silent, erased (protocol.md)."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from sdk_protocol import frames
from sdk_protocol.bodies import Text
from sdk_protocol.codec import MSGPACK
from server.gateway.user_connection import UserConnection
from tests.server.gateway.phone import Phone, answer, hello_with, house_on

if TYPE_CHECKING:
    from tests.server.gateway.phone import House


async def test_the_same_device_again_replaces_the_older_socket(house: House) -> None:
    phone = await house.phone()
    newer = Phone(house, "ada", phone.device_id)
    await newer.hello()
    await phone.until(lambda: phone.code() is not None)

    assert phone.code() == 4409
    assert newer.code() is None


async def test_a_device_that_changes_hands(house: House) -> None:
    phone = await house.phone("ada")
    await phone.ask(lambda ref: frames.PushToken(ref=ref, provider="fcm", token="t1"))
    other = Phone(house, "ben", phone.device_id)
    await other.hello()
    await phone.until(lambda: phone.code() is not None)

    assert phone.code() == 4409
    rows = await house.node.database.pool.fetch("select user_id, push_token, epoch from device")
    assert [(row["user_id"], row["push_token"], row["epoch"]) for row in rows] == [(other.connection.key[1], None, 2)]


async def test_refresh_keeps_the_socket_beyond_the_first_token(house: House) -> None:
    phone = await house.phone()
    token = await house.token("ada", hours=2)
    ok = await phone.ask(lambda ref: frames.Refresh(ref=ref, token=token))
    wrong = await phone.ask(lambda ref: frames.Refresh(ref=ref, token="nonsense"))
    bens = await house.token("ben")
    other = await phone.ask(lambda ref: frames.Refresh(ref=ref, token=bens))
    for _ in range(150):
        house.tick(25)
        phone.connection.on_heard()

    assert ok.token_expires_at == "2030-01-02T05:04:05.000Z"
    assert (wrong.code, wrong.field) == ("unauthorized", "token")
    assert other.code == "unauthorized"
    assert phone.code() is None
    for _ in range(150):
        house.tick(25)
        phone.connection.on_heard()
    assert phone.code() == 4003


async def test_an_expired_token_has_25_seconds_of_grace(house: House) -> None:
    phone = await house.phone()
    phone.say(frames.Foreground(on=False))
    house.tick(3600 + 24)
    assert phone.code() is None
    house.tick(2)
    assert phone.code() == 4003


async def test_hello_with_a_token_that_has_expired_may_come_back(house: House) -> None:
    token = await house.token("ada")
    house.clock.move(3601)
    phone = Phone(house, "ada")
    phone.say(await hello_with(phone, token))
    error = await phone.one(frames.Error)

    assert error.code == "unauthorized"
    assert phone.code() == 4003


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "dbs_nothing"])
async def test_hello_with_a_bad_token_is_final(house: House, token: str) -> None:
    phone = Phone(house, "ada")
    phone.say(await hello_with(phone, token or " "))
    await phone.until(lambda: phone.code() is not None)

    assert phone.code() == 4401
    assert phone.all(frames.Error)[0].code == "unauthorized"


async def test_logout_removes_tokens_and_closes(house: House) -> None:
    phone = await house.phone()
    await phone.ask(lambda ref: frames.PushToken(ref=ref, provider="fcm", token="t1"))
    ok = await phone.ask(lambda ref: frames.Logout(ref=ref))

    assert isinstance(ok, frames.Ok)
    await phone.until(lambda: phone.code() is not None)
    assert phone.code() == 4401
    assert await house.node.database.pool.fetchval("select push_token from device") is None


async def test_a_push_token_has_one_owner_and_can_be_removed(house: House) -> None:
    one, two = await house.phone("ada"), await house.phone("ben")
    await one.ask(lambda ref: frames.PushToken(ref=ref, provider="fcm", token="t1"))
    await two.ask(lambda ref: frames.PushToken(ref=ref, provider="fcm", token="t1"))
    tokens = await house.node.database.pool.fetch("select user_id from device where push_token = 't1'")
    assert [row["user_id"] for row in tokens] == [two.connection.key[1]]

    await two.ask(lambda ref: frames.PushToken(ref=ref, provider="fcm", token=None))
    assert await house.node.database.pool.fetchval("select count(*) from device where push_token is not null") == 0


async def test_pings_only_in_the_foreground(house: House) -> None:
    phone = await house.phone()
    house.tick(26)
    assert phone.transport.pings == 1
    house.tick(11)
    assert phone.code() == 4002
    quiet = await house.phone("ben", foreground=False)
    house.tick(600)
    assert (quiet.transport.pings, quiet.code()) == (0, None)


async def test_silence_after_connecting(house: House) -> None:
    phone = Phone(house, "ada")
    house.tick(9)
    assert phone.code() is None
    house.tick(2)
    assert phone.code() == 4400


@pytest.mark.parametrize("first", ['{"t":"ping"}', "nonsense", "[]", b"\x00", '{"t":"hello"}'])
async def test_the_first_frame_must_be_hello(house: House, first: str | bytes) -> None:
    phone = Phone(house, "ada")
    phone.connection.on_frame(first)

    assert phone.code() == 4400


async def test_what_is_unknown_or_wrong_keeps_the_socket(house: House) -> None:
    phone = await house.phone()
    for frame in ('{"t":"dance","ref":7}', '{"t":"send","ref":8}', '{"t":"ack","usn":-1}'):
        phone.connection.on_frame(frame)
    errors = phone.all(frames.Error)

    assert [(error.code, error.ref) for error in errors[:2]] == [("bad_request", 7), ("bad_request", 8)]
    assert phone.code() is None
    phone.connection.on_frame('{"t":"ping"}')
    assert phone.all(frames.Pong)


async def test_too_large(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    body = {"kind": "text", "text": "é" * 8193}
    phone.connection.on_frame(
        json.dumps({"t": "send", "ref": 90, "conversation": str(conversation), "id": str(uuid4()), "body": body})
    )
    long = await phone.one(frames.Error, ref=90)
    fits = await phone.send(conversation, "é" * 8192)

    assert (long.code, long.field) == ("too_large", "body.text")
    assert isinstance(fits, frames.Ok)


async def test_msgpack_speaks_the_same(house: House) -> None:
    phone = Phone(house, "ada", codec=MSGPACK)
    await phone.hello()
    await phone.synced()
    conversation = await phone.open()
    await answer(house, phone, conversation)
    await phone.until(lambda: len(phone.events) == 3)

    assert phone.events[-1].body == {"kind": "text", "text": "answer"}
    assert phone.events[-1].conversation == conversation


async def test_too_many_messages(database_url: str, tmp_path: Any) -> None:
    async with house_on(database_url, tmp_path, DESKBELL_RATE_LIMIT_SENDS="3/60") as house:
        phone = await house.phone()
        conversation = await phone.open()
        answers = [await phone.send(conversation, str(number)) for number in range(3)]
        house.clock.move(20)
        later = await phone.send(conversation, "later")

    assert [type(each).__name__ for each in answers] == ["Ok", "Ok", "Error"]
    assert (answers[2].code, answers[2].retry) == ("rate_limited", True)
    assert 19_000 <= answers[2].retry_after_ms <= 20_000
    assert isinstance(later, frames.Ok)


async def test_a_lost_hint_is_found_by_the_sweep(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    await phone.until(lambda: len(phone.events) == 2)
    monkeypatch.setattr(house.node.bus, "publish", lambda _hints: None)
    await answer(house, phone, conversation)
    assert len(phone.events) == 2

    await house.node.sweep.sweep()
    await phone.until(lambda: len(phone.events) == 3)


async def test_an_erased_user_is_let_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    phone, lost = await house.phone("ada"), await house.phone("ben")
    await house.node.services.people.erase(house.app_id, "ada")
    await phone.until(lambda: phone.code() is not None)
    monkeypatch.setattr(house.node.bus, "publish", lambda _hints: None)
    await house.node.services.people.erase(house.app_id, "ben")
    await house.node.sweep.sweep()

    assert (phone.code(), lost.code()) == (4401, 4401)


async def test_foreground_is_a_lease(house: House) -> None:
    phone = await house.phone()

    async def lease() -> Any:
        return await house.node.database.pool.fetchval(
            "select foreground_until from device where device_id = $1", phone.device_id
        )

    assert (await lease()) > house.clock.now()
    house.clock.move(60)
    await house.node.sweep.sweep()
    assert (await lease() - house.clock.now()).total_seconds() == 75
    phone.say(frames.Foreground(on=False))
    async with asyncio.timeout(5):
        while await lease() is not None:
            await asyncio.sleep(0.01)


async def test_the_wait_for_the_database_is_answered(house: House) -> None:
    phone = await house.phone()
    conversation, message = await phone.open(), uuid4()
    connection = await house.node.database.pool.acquire()
    async with connection.transaction():
        await connection.execute("select 1 from end_user for update")
        phone.say(frames.Send(ref=50, conversation=conversation, id=message, body=Text(text="stuck")))
        phone.say(frames.Read(conversation=conversation, seq=2))
        house.clock.move(8.4)
        phone.connection.tick(house.clock.monotonic())
        assert not phone.all(frames.Error)
        house.clock.move(0.2)
        phone.connection.tick(house.clock.monotonic())
        (error,) = phone.all(frames.Error)
        assert phone.connection.requests == 0
    await house.node.database.pool.release(connection)

    assert (error.ref, error.code, error.retry) == (50, "unavailable", True)
    await phone.until(lambda: any(event.id == message for event in phone.events))
    again = await phone.send(conversation, "stuck", message)
    assert (again.seq, again.duplicate) == (3, True)
    assert not [frame for frame in phone.all(frames.Ok) if frame.ref == 50], "one answer to one ref"


async def test_revoked_tokens_close_sockets_and_open_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await house.phone()
    old = await house.token("ada")
    house.clock.move(5)
    await house.node.services.people.revoke_tokens(house.app_id, "ada")
    await phone.until(lambda: phone.code() == 4401)
    again = Phone(house, "ada")
    again.say(await hello_with(again, old))
    await again.until(lambda: again.code() == 4401)
    fresh = await house.phone()
    refused = await fresh.ask(lambda ref: frames.Refresh(ref=ref, token=old))
    assert refused.code == "unauthorized"

    # The hint is lost: the sweep finds it.
    house.clock.move(5)
    monkeypatch.setattr(house.node.bus, "publish", lambda _hints: None)
    await house.node.services.people.revoke_tokens(house.app_id, "ada")
    assert fresh.code() is None
    await house.node.sweep.sweep()
    assert fresh.code() == 4401


async def test_a_socket_that_left_during_hello_leaves_nothing_behind(house: House) -> None:
    phone = Phone(house, "ada")
    phone.say(await hello_with(phone, await house.token("ada")))
    phone.hang_up()
    async with asyncio.timeout(5):
        while phone.connection.requests:
            await asyncio.sleep(0.01)

    assert house.node.hub.users == {}
    assert await house.node.database.pool.fetchval("select count(*) from device") == 0


async def test_after_a_failover_that_lost_commits_devices_begin_anew(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    welcome = phone.all(frames.Welcome)[0]
    await house.node.database.pool.execute("update installation set epoch = 'another'")
    await house.node.sweep.sweep()
    assert phone.code() == 4000

    back = Phone(house, "ada", phone.device_id)
    again = await back.hello(usn=2, epoch=welcome.epoch)
    assert again.resume == "snapshot"
    assert (await back.one(frames.Snapshot)).conversations[0].id == conversation


async def test_nothing_of_a_new_history_reaches_an_old_cursor_before_the_sweep(house: House) -> None:
    """A failover that lost commits: until the sweep closes them, sockets welcomed before it are still there."""
    asker, listener, reader = [await house.phone("ada") for _ in range(3)]
    conversation = await asker.open()
    for phone in (listener, reader):
        await phone.until(lambda phone=phone: len(phone.events) == 2)  # type: ignore[misc]  # a lambda's default
    await house.node.database.pool.execute("update installation set epoch = 'another'")

    asker.say(frames.Send(ref=7, conversation=conversation, id=uuid4(), body=Text(text="on top of what was lost")))
    await asker.until(lambda: asker.code() is not None)
    assert asker.code() == 4000
    assert not [frame for frame in asker.transport.sent if getattr(frame, "ref", None) == 7]
    stored = await house.node.database.pool.fetchval("select count(*) from event")
    assert stored == 2, "it is sent again after the next hello, in its order"

    reader.say(frames.History(ref=8, conversation=conversation))
    await reader.until(lambda: reader.code() is not None)
    assert reader.code() == 4000
    assert not reader.all(frames.Page)

    await answer(house, listener, conversation)
    await listener.until(lambda: listener.code() is not None)
    assert listener.code() == 4000
    assert len(listener.events) == 2, "usn 3 of the new history is not the event after usn 2 of the old one"


async def test_a_socket_that_is_gone_is_freed_without_a_search_for_cycles(house: House) -> None:
    """That search is rare (server/cli/memory.py): what it would have to find stays in memory for long."""
    phone = await house.phone()
    conversation = uuid4()
    await phone.ask(lambda ref: frames.Open(ref=ref, conversation=conversation))
    gc.disable()
    try:
        before = _connections()
        phone.hang_up()
        phone.connection = None
        await phone.until(lambda: _connections() == before - 1)
    finally:
        gc.enable()


def _connections() -> int:
    return sum(type(each) is UserConnection for each in gc.get_objects())

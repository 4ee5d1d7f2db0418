"""An agent on `/v1/desk` (protocol.md, "Agents")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from msgspec import UNSET

from admin_api.auth import csrf_token_of
from sdk_protocol import frames
from sdk_protocol.bodies import Coupon, Text
from sdk_protocol.records import InboxFilter
from tests.server.gateway.phone import Desk

if TYPE_CHECKING:
    from uuid import UUID

    from tests.server.gateway.phone import House


async def say(desk: Desk, conversation: UUID, text: str, **more: Any) -> Any:
    return await desk.ask(
        lambda ref: frames.DeskSend(ref=ref, conversation=conversation, id=uuid4(), body=Text(text=text), **more)
    )


async def test_hello_says_who_and_for_whom(house: House) -> None:
    desk = Desk(house)
    welcome = await desk.hello((await house.agent()).token)

    assert (welcome.agent.name, welcome.agent.email) == ("Robin", "robin@example.com")
    assert [(app.id, app.name, app.role) for app in welcome.apps] == [(str(house.app_id), "Kestrel", "agent")]


@pytest.mark.parametrize("token", ["dba_wrong", "x", "dbs_wrong"])
async def test_a_bad_token(house: House, token: str) -> None:
    desk = Desk(house)
    desk.say(frames.DeskHello(token=token))
    await desk.until(lambda: desk.code() is not None)

    assert desk.code() == 4401


async def test_the_console_comes_with_its_cookie_and_csrf_token(house: House) -> None:
    made = await house.agent()
    _, secret = await house.node.services.agents.log_in("robin@example.com", made.password)
    good = Desk(house, (secret, csrf_token_of(secret)))
    await good.hello(csrf_token_of(secret))
    other = Desk(house, (secret, csrf_token_of(secret)))
    other.say(frames.DeskHello(token="guess"))
    await other.until(lambda: other.code() is not None)

    assert good.code() is None
    assert other.code() == 4401
    await house.node.services.agents.log_out(secret)
    house.clock.move(60)
    await house.node.sweep.sweep()
    await good.until(lambda: good.code() is not None)


async def test_watching_a_conversation_notes_included(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    desk = await house.desk()
    ok = await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=conversation))
    await desk.until(lambda: len(desk.all(frames.Event)) == 2)
    note = await desk.ask(
        lambda ref: frames.Note(ref=ref, conversation=conversation, id=uuid4(), body=Text(text="careful"))
    )
    sent = await say(desk, conversation, "hello", expected_seq=3)
    await phone.send(conversation, "thanks")
    await desk.until(lambda: len(desk.all(frames.Event)) == 5)
    await phone.until(lambda: len(phone.events) == 4)

    assert ok.seq == 2
    assert (note.seq, note.usn, sent.seq, sent.usn) == (3, UNSET, 4, UNSET)
    assert [event.seq for event in desk.all(frames.Event)] == [1, 2, 3, 4, 5]
    assert all(event.usn is UNSET for event in desk.all(frames.Event))
    assert [event.kind for event in phone.events] == ["conversation.opened", "message", "message", "message"]
    assert [event.usn for event in phone.events] == [1, 2, 3, 4]


async def test_watching_from_a_cursor_and_a_long_thread(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    for start in range(0, 500, 100):
        sends = [phone.send(conversation, str(start + number)) for number in range(100)]
        for answer in await asyncio.gather(*sends):
            assert isinstance(answer, frames.Ok)
        phone.say(frames.Ack(usn=phone.events[-1].usn or 0))
    desk = await house.desk()
    await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=conversation, seq=3))
    await desk.until(lambda: len(desk.all(frames.Event)) == 499)
    beyond = await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=conversation, seq=9999))

    assert [event.seq for event in desk.all(frames.Event)] == list(range(4, 503))
    assert (beyond.code, beyond.field) == ("bad_request", "seq")


async def test_two_agents_do_not_talk_past_each_other(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    one, two = await house.desk(), await house.desk("sam@example.com")
    answers = await asyncio.gather(
        say(one, conversation, "one", expected_seq=2), say(two, conversation, "two", expected_seq=2)
    )
    kinds = sorted(type(answer).__name__ for answer in answers)
    conflict = next(answer for answer in answers if isinstance(answer, frames.Error))

    assert kinds == ["Error", "Ok"]
    assert conflict.code == "conflict"
    assert [event.seq for event in conflict.events] == [3]  # type: ignore[union-attr]  # a conflict has events


async def test_the_customer_learns_of_status_assignment_and_reading(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    desk = await house.desk()
    agent_id = desk.all(frames.DeskWelcome)[0].agent.id
    await desk.ask(lambda ref: frames.Assign(ref=ref, conversation=conversation, agent="me"))
    await desk.ask(lambda ref: frames.SetStatus(ref=ref, conversation=conversation, status="resolved"))
    desk.say(frames.DeskRead(conversation=conversation, seq=2))
    await phone.until(lambda: len(phone.events) == 5)
    nobody = await desk.ask(lambda ref: frames.Assign(ref=ref, conversation=conversation, agent=str(uuid4())))
    past = await desk.ask(
        lambda ref: frames.SetStatus(
            ref=ref, conversation=conversation, status="snoozed", snoozed_until="2020-01-01T00:00:00Z"
        )
    )

    assert [(event.kind, event.body) for event in phone.events[2:]] == [
        ("conversation.assigned", {"assignee": {"id": agent_id, "name": "Robin"}}),
        ("conversation.status", {"status": "resolved", "previous": "open"}),
        ("receipt", {"reader": "agent", "seq": 2}),
    ]
    assert nobody.code == "not_found"
    assert (past.code, past.field) == ("bad_request", "snoozed_until")


async def test_an_agent_may_send_a_coupon(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    desk = await house.desk()
    await desk.ask(
        lambda ref: frames.DeskSend(
            ref=ref, conversation=conversation, id=uuid4(), body=Coupon(code="SORRY5", description="5 off")
        )
    )
    await phone.until(lambda: len(phone.events) == 3)

    assert phone.events[2].body == {"kind": "coupon", "code": "SORRY5", "description": "5 off"}


async def test_the_inbox_lives(house: House) -> None:
    phone = await house.phone()
    first = await phone.open()
    desk = await house.desk()
    desk.say(frames.WatchInbox(ref=1, app=str(house.app_id), filter=InboxFilter(status="open")))
    full = await desk.one(frames.Inbox)
    second = await phone.open(text="another")

    async def delta(number: int) -> frames.Inbox:
        async with asyncio.timeout(5):
            while len(desk.all(frames.Inbox)) <= number:
                house.clock.move(0.05)
                await asyncio.sleep(0.01)
        return desk.all(frames.Inbox)[number]

    added = await delta(1)
    desk.say(frames.SetStatus(ref=50, conversation=first, status="resolved"))
    gone = await delta(2)

    assert (full.full, [each.id for each in full.conversations]) == (True, [first])
    assert full.conversations[0].user.external_id == "ada"  # type: ignore[union-attr]  # the desk sees the user
    assert (full.conversations[0].unread, full.conversations[0].last_message.text) == (1, "help")  # type: ignore[union-attr]  # there is one
    assert (added.full, [each.id for each in added.conversations]) == (False, [second])
    assert (gone.conversations, gone.left) == ([], [first])


async def test_a_lost_hint_is_found_by_the_sweep(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    desk = await house.desk()
    await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=conversation, seq=2))
    await desk.ask(lambda ref: frames.WatchInbox(ref=ref, app=str(house.app_id)))
    monkeypatch.setattr(house.node.bus, "publish", lambda _hints: None)
    await phone.send(conversation, "unheard")
    house.clock.move(6)
    await house.node.sweep.sweep()
    await desk.until(lambda: len(desk.all(frames.Event)) == 1)
    async with asyncio.timeout(5):
        while len(desk.all(frames.Inbox)) < 2:
            house.clock.move(0.05)
            await asyncio.sleep(0.01)

    assert desk.all(frames.Inbox)[1].conversations[0].seq == 3


async def test_another_apps_conversations_do_not_exist(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    other = await house.node.services.apps.create("Other")
    stranger = Desk(house)
    await stranger.hello((await house.agent("eve@example.com", other.app.app_id)).token)
    missing = uuid4()

    async def answers(target: UUID) -> list[Any]:
        return [
            await stranger.ask(lambda ref: frames.Watch(ref=ref, conversation=target)),
            await say(stranger, target, "hi"),
            await stranger.ask(lambda ref: frames.Note(ref=ref, conversation=target, id=uuid4(), body=Text(text="hi"))),
            await stranger.ask(lambda ref: frames.SetStatus(ref=ref, conversation=target, status="resolved")),
            await stranger.ask(lambda ref: frames.Assign(ref=ref, conversation=target, agent=None)),
        ]

    theirs, nobodys = await answers(conversation), await answers(missing)
    inbox = await stranger.ask(lambda ref: frames.WatchInbox(ref=ref, app=str(house.app_id)))
    stranger.say(frames.DeskTyping(conversation=conversation, on=True))
    stranger.say(frames.DeskRead(conversation=conversation, seq=1))
    await stranger.until(lambda: len(stranger.all(frames.Error)) == 13)

    assert {error.code for error in [*theirs, *nobodys, inbox]} == {"not_found"}
    assert [error.message for error in theirs] == [error.message for error in nobodys]
    assert len(phone.events) == 2
    assert [signal.kind for signal in phone.all(frames.Signal) if signal.kind != "presence"] == []


async def test_watching_has_a_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await house.phone()
    monkeypatch.setattr("server.gateway.desk_connection.MOST_WATCHES", 1)
    desk = await house.desk()
    one, two = await phone.open(), await phone.open()
    await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=one))
    refused = await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=two))
    desk.say(frames.Unwatch(conversation=one))
    allowed = await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=two))

    assert (refused.code, refused.field) == ("bad_request", "conversation")
    assert isinstance(allowed, frames.Ok)


async def test_a_desk_that_does_not_read_is_let_go(house: House) -> None:
    desk = await house.desk()
    desk.transport.buffered = 5 * 1024 * 1024
    house.tick(1)

    assert desk.code() == 4001

"""A device on `/v1/chat`, frame by frame (protocol.md)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from sdk_protocol import frames
from sdk_protocol.bodies import Text, TransactionBody
from server.domain.intents import Message
from server.domain.message import Button, Card, Choices, Option, from_struct
from server.domain.message import Text as AgentText
from server.domain.transaction import Transaction
from tests.server.gateway.phone import ROBIN, Phone, answer, place_of

if TYPE_CHECKING:
    from tests.server.gateway.phone import House


async def test_hello_of_a_new_user(house: House) -> None:
    phone = Phone(house, "ada")
    welcome = await phone.hello()
    await phone.synced()

    assert (welcome.head, welcome.resume, welcome.user.external_id) == (0, "snapshot", "ada")
    assert welcome.ping_interval == 25
    assert welcome.token_expires_at == "2030-01-02T04:04:05.000Z"
    snapshot = phone.all(frames.Snapshot)[0]
    assert (snapshot.usn, snapshot.conversations, snapshot.transactions) == (0, [], [])
    assert [type(frame).__name__ for frame in phone.transport.sent] == ["Welcome", "Snapshot", "Synced", "Signal"]


async def test_a_conversation_with_events_in_order(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    ok = await phone.send(conversation, "second")
    again = await phone.send(conversation, "third")
    seq = await answer(house, phone, conversation)
    await phone.until(lambda: len(phone.events) == 5)

    assert (ok.seq, ok.usn, ok.duplicate) == (3, 3, frames.Ok(ref=1).duplicate)
    assert again.seq == 4
    assert seq == 5
    assert [event.usn for event in phone.events] == [1, 2, 3, 4, 5]
    assert [event.seq for event in phone.events] == [1, 2, 3, 4, 5]
    assert [event.kind for event in phone.events] == ["conversation.opened"] + ["message"] * 4
    last = phone.events[-1]
    assert (last.author.type, last.author.name, last.body) == ("agent", "Robin", {"kind": "text", "text": "answer"})


async def test_the_same_id_again(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    message = uuid4()
    first = await phone.send(conversation, "once", message)
    second = await phone.send(conversation, "once", message)
    other = await phone.send(conversation, "other", message)

    assert (second.seq, second.usn, second.at, second.duplicate) == (first.seq, first.usn, first.at, True)
    assert isinstance(other, frames.Error)
    assert (other.code, other.retry, other.field) == ("idempotency_conflict", False, "id")


async def test_after_must_be_stored(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    refused = await phone.send(conversation, "b", after=uuid4())

    assert isinstance(refused, frames.Error)
    assert (refused.code, refused.field) == ("out_of_order", "after")


async def test_pipelined_sends_keep_their_order(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    ids = [uuid4() for _ in range(30)]
    previous = frames.Send(ref=0, conversation=conversation, id=uuid4(), body=Text(text="x")).after
    for number, message in enumerate(ids):
        phone.say(
            frames.Send(
                ref=100 + number, conversation=conversation, id=message, body=Text(text=str(number)), after=previous
            )
        )
        previous = message
    await phone.until(lambda: len(phone.events) == 32)

    assert [event.id for event in phone.events[2:]] == ids
    assert all(isinstance(frame, frames.Ok) for frame in phone.transport.sent if getattr(frame, "ref", 0) >= 100)


async def test_what_follows_an_opening_finds_it(house: House) -> None:
    """A phone that was offline says everything it holds at once."""
    phone = await house.phone()
    opened = [uuid4() for _ in range(5)]
    ids = [uuid4() for _ in opened]
    for number, (conversation, message) in enumerate(zip(opened, ids, strict=True)):
        phone.say(frames.Open(ref=3 * number, conversation=conversation))
        phone.say(frames.Send(ref=3 * number + 1, conversation=conversation, id=message, body=Text(text="first")))
        phone.say(frames.Rate(ref=3 * number + 2, conversation=conversation, score=5))
        phone.say(frames.Read(conversation=conversation, seq=2))
    await phone.until(lambda: len(phone.all(frames.Ok)) == 15)

    assert not phone.all(frames.Error)
    assert [event.id for event in phone.events if event.kind == "message"] == ids
    for conversation in opened:
        kinds = [event.kind for event in phone.events if event.conversation == conversation]
        assert kinds[:3] == ["conversation.opened", "message", "rating.given"]


async def test_somebody_elses_conversation_does_not_exist(house: House) -> None:
    ada, ben = await house.phone("ada"), await house.phone("ben")
    conversation = await ada.open()
    answers = [
        await ben.send(conversation, "hi"),
        await ben.ask(lambda ref: frames.History(ref=ref, conversation=conversation)),
        await ben.ask(lambda ref: frames.Rate(ref=ref, conversation=conversation, score=1)),
        await ben.ask(lambda ref: frames.Press(ref=ref, conversation=conversation, seq=1, button="x")),
        await ben.ask(lambda ref: frames.Open(ref=ref, conversation=conversation)),
    ]
    missing = await ben.send(uuid4(), "hi")

    assert [(error.code, error.retry) for error in answers] == [("not_found", False)] * 5
    assert answers[0].message == missing.message
    ben.say(frames.Read(conversation=conversation, seq=1))
    ben.say(frames.Typing(conversation=conversation, on=True))
    await ben.until(lambda: len(ben.all(frames.Error)) == 8)
    assert [event.kind for event in ada.events] == ["conversation.opened", "message"]


async def test_reading_tells_the_others(house: House) -> None:
    one = await house.phone()
    two = await house.phone()
    conversation = await one.open()
    seq = await answer(house, one, conversation)
    one.say(frames.Read(conversation=conversation, seq=seq))
    await two.until(lambda: any(event.kind == "receipt" for event in two.events))

    receipt = two.events[-1]
    assert receipt.body == {"reader": "user", "seq": seq}
    again = Phone(house, "ada")
    await again.hello()
    summary = (await again.one(frames.Snapshot)).conversations[0]
    assert (summary.user_read_seq, summary.unread) == (seq, 0)


async def test_history_pages_backwards_without_notes(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    for number in range(6):
        await phone.send(conversation, str(number))
    place = place_of(phone, conversation)
    await house.node.services.messaging.note(place, Message(uuid4(), ROBIN, from_struct(AgentText(text="private"))))

    newest = await phone.ask(lambda ref: frames.History(ref=ref, conversation=conversation, limit=3))
    older = await phone.ask(lambda ref: frames.History(ref=ref, conversation=conversation, limit=5, before=6))

    assert ([event.seq for event in newest.events], newest.more) == ([6, 7, 8], True)
    assert ([event.seq for event in older.events], older.more) == ([1, 2, 3, 4, 5], False)
    assert all(event.kind != "note" for event in newest.events)


async def test_rating_and_pressing(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    card = Card(title="Refund?", buttons=[Button("yes", "Yes, please"), Button("no", "No", reply="Leave it")])
    card_seq = await answer(house, phone, conversation, card)
    choices_seq = await answer(house, phone, conversation, Choices(text="Which?", options=[Option("a", "The first")]))

    rated = await phone.ask(lambda ref: frames.Rate(ref=ref, conversation=conversation, score=5, comment="quick"))
    pressed = await phone.ask(lambda ref: frames.Press(ref=ref, conversation=conversation, seq=card_seq, button="no"))
    twice = await phone.ask(lambda ref: frames.Press(ref=ref, conversation=conversation, seq=card_seq, button="no"))
    chosen = await phone.ask(lambda ref: frames.Press(ref=ref, conversation=conversation, seq=choices_seq, button="a"))
    nothing = await phone.ask(lambda ref: frames.Press(ref=ref, conversation=conversation, seq=card_seq, button="?"))
    await phone.until(lambda: len(phone.events) == 7)

    assert rated.seq == 5
    assert (pressed.seq, twice.seq, twice.duplicate, chosen.seq) == (6, 6, True, 7)
    assert [event.body for event in phone.events[4:]] == [
        {"score": 5, "comment": "quick"},
        {"kind": "text", "text": "Leave it"},
        {"kind": "text", "text": "The first"},
    ]
    assert nothing.code == "not_found"


async def test_a_ride_is_frozen_at_open_and_its_changes_arrive(house: House) -> None:
    context = house.node.services.context
    ride = Transaction(id="r1", version=1, kind="ride", status="in progress", title="A → B")
    await context.put_transaction(house.app_id, "ada", ride)
    phone = await house.phone()
    assert [each.id for each in phone.all(frames.Snapshot)[0].transactions] == ["r1"]
    conversation = uuid4()
    await phone.ask(lambda ref: frames.Open(ref=ref, conversation=conversation, transaction="r1", topic="Fare"))
    await context.put_transaction(
        house.app_id, "ada", Transaction(id="r1", version=2, kind="ride", status="completed", title="A → B")
    )
    await phone.until(lambda: len(phone.events) == 2)
    shared = await phone.ask(
        lambda ref: frames.Send(ref=ref, conversation=conversation, id=uuid4(), body=TransactionBody(transaction="r1"))
    )

    opened, updated = phone.events[:2]
    assert opened.body["topic"] == "Fare"
    assert opened.body["context"]["transaction"]["status"] == "in progress"
    assert (updated.kind, updated.body["transaction"]["status"]) == ("transaction.updated", "completed")
    assert updated.author.type == "system"
    assert isinstance(shared, frames.Ok)
    again = Phone(house, "ada")
    await again.hello()
    summary = (await again.one(frames.Snapshot)).conversations[0]
    assert summary.context is not None
    assert (summary.context.transaction.status, summary.topic) == ("in progress", "Fare")  # type: ignore[union-attr]  # a snapshot with a transaction


async def test_resume_from_a_cursor_misses_nothing(house: House) -> None:
    phone = await house.phone()
    welcome = phone.all(frames.Welcome)[0]
    conversation = await phone.open()
    await phone.send(conversation, "before")
    await phone.until(lambda: len(phone.events) == 3)
    phone.hang_up()
    other = await house.phone()
    for number in range(5):
        await other.send(conversation, f"away {number}")

    back = Phone(house, "ada", phone.device_id)
    resumed = await back.hello(usn=3, epoch=welcome.epoch)
    await back.synced()

    assert (resumed.resume, resumed.head) == ("continued", 8)
    assert [event.usn for event in back.events] == [4, 5, 6, 7, 8]
    assert back.all(frames.Synced)[0].usn == 8


@pytest.mark.parametrize(("usn", "epoch"), [(1, "another history"), (99, None), (None, None)])
async def test_a_cursor_that_cannot_be_believed_gets_a_snapshot(
    house: House, usn: int | None, epoch: str | None
) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    again = Phone(house, "ada")
    welcome = await again.hello(usn=usn, epoch=epoch)
    await again.synced()

    assert (welcome.resume, again.events) == ("snapshot", [])
    assert [summary.id for summary in again.all(frames.Snapshot)[0].conversations] == [conversation]
    await phone.send(conversation, "later")
    await again.until(lambda: [event.usn for event in again.events] == [3])


async def test_a_full_window_waits_for_acks_and_reads_on_from_the_log(house: House) -> None:
    writer = await house.phone()
    conversation = await writer.open()
    reader = await house.phone()
    for start in range(0, 200, 50):
        await asyncio.gather(*[answer(house, writer, conversation) for _ in range(start, start + 50)])
        await writer.until(lambda: bool(writer.events))
        writer.say(frames.Ack(usn=writer.events[-1].usn or 0))
    await reader.until(lambda: len(reader.events) == 64)
    house.tick(1)
    assert len(reader.events) == 64

    def acked() -> bool:
        reader.say(frames.Ack(usn=reader.events[-1].usn or 0))
        return len(reader.events) == 200

    await reader.until(acked)
    assert [event.usn for event in reader.events] == list(range(3, 203))


async def test_a_reader_that_never_acknowledges_is_let_go(house: House) -> None:
    phone = await house.phone()
    conversation = await phone.open()
    await answer(house, phone, conversation)
    await phone.until(lambda: len(phone.events) == 3)
    for _ in range(5):
        house.tick(10)
        phone.connection.on_heard()
    assert phone.code() is None
    house.tick(11)

    assert phone.code() == 4001


async def test_acks_are_written_and_never_go_back(house: House) -> None:
    phone = await house.phone()
    await phone.open()
    await phone.until(lambda: len(phone.events) == 2)
    phone.say(frames.Ack(usn=2))
    await house.node.acks.flush()
    phone.say(frames.Ack(usn=1))
    phone.say(frames.Ack(usn=9))
    await house.node.acks.flush()

    error = await phone.one(frames.Error)
    assert (error.code, error.field) == ("bad_request", "usn")
    acked = await house.node.database.pool.fetchval(
        "select acked_usn from device where device_id = $1", phone.device_id
    )
    assert acked == 2


async def test_typing_reaches_the_other_side_only_as_a_signal(house: House) -> None:
    phone = await house.phone()
    desk = await house.desk()
    conversation = await phone.open()
    await desk.ask(lambda ref: frames.Watch(ref=ref, conversation=conversation))
    phone.say(frames.Typing(conversation=conversation, on=True))
    signal = await desk.one(frames.Signal)
    desk.say(frames.DeskTyping(conversation=conversation, on=True))
    await phone.until(lambda: any(each.kind == "typing" for each in phone.all(frames.Signal)))
    back = next(each for each in phone.all(frames.Signal) if each.kind == "typing")

    assert (signal.kind, signal.author.type, signal.on) == ("typing", "user", True)  # type: ignore[union-attr]  # set for typing
    assert (back.conversation, back.author.name) == (conversation, "Robin")
    assert desk.all(frames.Signal) == [signal]

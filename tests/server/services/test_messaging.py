"""What one does in a conversation, through the service that every door calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from server.bus.interface import Committed, Touched, Typing, app_channel, conversation_channel, user_channel
from server.domain.errors import BadRequest, Conflict, IdempotencyConflict, NotFound, OutOfOrder, RateLimited
from server.domain.events import Kind
from server.domain.message import Button, Card, Choices, Option
from server.services.people import Facts
from tests.support.services import running_services

if TYPE_CHECKING:
    from server.services.directory import Place
    from tests.support.services import World

CARD = Card(
    title="Your ride",
    buttons=[
        Button("call", "Call the driver", reply="Please call the driver"),
        Button("map", "Show the map", url="https://example.com"),
    ],
)
CHOICES = Choices(text="Which one?", options=[Option("first", "The first"), Option("second", "The second")])


@pytest.fixture
async def place(world: World) -> Place:
    return await world.opened(await world.user(await world.app(), "ada", "Ada"))


async def customer(world: World, place: Place) -> Any:
    return (await world.people.find_by_id(place.app_id, place.user_id)).author


async def test_ok_means_committed(world: World, place: Place) -> None:
    ada = await customer(world, place)
    answer = await world.say(place, ada, "hello")
    async with world.database.session() as session:
        stored = await session.connection.fetchrow(
            "select * from event where conversation_id = $1 and seq = $2", place.conversation_id, answer.seq
        )
    assert stored is not None
    assert (stored["usn"], stored["at"]) == (answer.usn, answer.at)
    assert msgspec.json.decode(stored["body"]) == {"kind": "text", "text": "hello"}
    assert (stored["author_type"], stored["author_name"]) == ("user", "Ada")


async def test_the_same_message_from_ten_tasks_is_one(world: World, place: Place) -> None:
    message = world.message(await customer(world, place), "only once")
    answers = await asyncio.gather(*(world.messaging.post(place, message) for _ in range(10)))
    assert len({(answer.seq, answer.usn, answer.at) for answer in answers}) == 1
    assert sum(not answer.duplicate for answer in answers) == 1
    (events, _), _ = await world.messaging.page(place, None, 50)
    assert [event.kind for event in events] == [Kind.OPENED, Kind.MESSAGE]


async def test_two_nodes_give_one_message_one_number(world: World, place: Place, database_url: str) -> None:
    message = world.message(await customer(world, place), "only once")
    async with running_services(database_url, clock=world.clock) as other:
        answers = await asyncio.gather(
            *(node.messaging.post(place, message) for node in (world, other) for _ in range(5))
        )
    assert len({(answer.seq, answer.usn) for answer in answers}) == 1
    assert sum(not answer.duplicate for answer in answers) == 1


async def test_an_id_for_two_things_and_a_broken_chain_are_refused(world: World, place: Place) -> None:
    ada = await customer(world, place)
    first = world.message(ada, "one")
    await world.messaging.post(place, first)
    with pytest.raises(IdempotencyConflict):
        await world.say(place, ada, "another", first.id)
    with pytest.raises(OutOfOrder):
        await world.messaging.post(place, world.message(ada, "three"), after=world.id())
    assert (await world.messaging.post(place, world.message(ada, "two"), after=first.id)).seq == 3


async def test_who_talks_past_somebody_is_shown_what_was_said(world: World, place: Place) -> None:
    ada = await customer(world, place)
    await world.say(place, ada, "one")
    await world.messaging.note(place, world.message(world.agent_author, "a note"))
    await world.say(place, ada, "two")
    with pytest.raises(Conflict) as refused:
        await world.messaging.post(place, world.message(world.agent_author, "too early"), expected_seq=2)
    assert refused.value.field == "expected_seq"
    assert [(event.seq, event.kind) for event in refused.value.events] == [(3, "note"), (4, "message")]
    assert (await world.messaging.post(place, world.message(world.agent_author, "now"), expected_seq=4)).seq == 5


async def test_a_conversation_of_somebody_else_does_not_exist(world: World, place: Place) -> None:
    app = await world.apps.find(place.app_id)
    await world.people.put(app.app_id, "ben", Facts())
    ben = await world.people.find(app.app_id, "ben")
    his = world.place(ben, place.conversation_id)
    for call in (
        world.say(his, ben.author, "hello"),
        world.messaging.open(his, ben.author),
        world.messaging.mark_read(his, "user", ben.author, 1),
        world.messaging.rate(his, ben.author, 1, None),
        world.messaging.press(his, ben.author, 1, "call", world.id()),
        world.messaging.page(his, None, 10),
        world.messaging.typing(his, ben.author, True),
        world.messaging.note(his, world.message(world.agent_author, "x")),
        world.messaging.event(his, 1),
    ):
        with pytest.raises(NotFound):
            await call
    assert world.bus.published[-1][0] != user_channel(ben.app_id, ben.user_id)


async def test_everybody_who_should_hear_of_it_is_told_after_the_commit(world: World, place: Place) -> None:
    world.bus.published.clear()
    answer = await world.say(place, world.agent_author, "hello")
    note = await world.messaging.note(place, world.message(world.agent_author, "a note"))
    user, conversation = user_channel(place.app_id, place.user_id), conversation_channel(place.conversation_id)
    heard = [(channel, hint) for channel, hint in world.bus.published if isinstance(hint, Committed)]
    assert [(channel, [event.seq for event in hint.events]) for channel, hint in heard] == [
        (user, [answer.seq]),
        (conversation, [answer.seq]),
        (conversation, [note.seq]),
    ], "the user does not hear of a note"
    touched = [(channel, hint) for channel, hint in world.bus.published if isinstance(hint, Touched)]
    assert [channel for channel, _ in touched] == [app_channel(place.app_id)] * 2
    assert touched[0][1].rev < touched[1][1].rev


async def test_short_texts_have_limits(world: World, place: Place) -> None:
    ada = await world.people.find_by_id(place.app_id, place.user_id)
    for topic in ("", "x" * 201, "\x00"):
        with pytest.raises(BadRequest) as refused:
            await world.messaging.open(world.place(ada), ada.author, topic=topic)
        assert refused.value.field == "topic"
    for transaction in ("", "x" * 201, "\x00"):
        with pytest.raises(BadRequest) as refused:
            await world.messaging.open(world.place(ada), ada.author, transaction_id=transaction)
        assert refused.value.field == "transaction"


async def test_a_rating_has_limits(world: World, place: Place) -> None:
    ada = await customer(world, place)
    for score, comment, field in (
        (0, None, "score"),
        (6, None, "score"),
        (3, "x" * 2001, "comment"),
        (3, "\x00", "comment"),
    ):
        with pytest.raises(BadRequest) as refused:
            await world.messaging.rate(place, ada, score, comment)
        assert refused.value.field == field


async def test_the_last_rating_counts(world: World, place: Place) -> None:
    ada = await customer(world, place)
    await world.messaging.rate(place, ada, 1, "late")
    await world.messaging.rate(place, ada, 5, "")
    async with world.database.session() as session:
        kept = await session.connection.fetch("select score, comment from rating")
    assert [tuple(row) for row in kept] == [(5, None)]
    (events, _), _ = await world.messaging.page(place, None, 50)
    assert [msgspec.json.decode(event.body) for event in events[1:]] == [{"score": 1, "comment": "late"}, {"score": 5}]


@pytest.mark.parametrize(
    ("body", "button", "words"),
    [
        (CARD, "call", "Please call the driver"),
        (CARD, "map", "Show the map"),
        (CHOICES, "second", "The second"),
    ],
)
async def test_a_press_is_a_message_and_a_repeat_of_it_is_none(
    world: World, place: Place, body: Any, button: str, words: str
) -> None:
    ada = await customer(world, place)
    shown = await world.say(place, world.agent_author, body)
    assert shown.seq is not None
    press_id = world.id()
    first = await world.messaging.press(place, ada, shown.seq, button, press_id)
    again = await world.messaging.press(place, ada, shown.seq, button, press_id)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert (first.seq, first.usn) == (again.seq, again.usn)
    assert first.event is not None
    assert msgspec.json.decode(first.event.body) == {"kind": "text", "text": words}
    assert first.event.author == ada


async def test_a_button_that_is_not_there_cannot_be_pressed(world: World, place: Place) -> None:
    ada = await customer(world, place)
    shown = await world.say(place, world.agent_author, CARD)
    said = await world.say(place, ada, "call")
    plain = await world.say(place, world.agent_author, "call")
    for seq in (shown.seq, said.seq, plain.seq, 1, 99, 0, -1):
        assert seq is not None
        with pytest.raises(NotFound) as refused:
            await world.messaging.press(place, ada, seq, "cancel", world.id())
        assert refused.value.field == "button"


async def test_only_customers_are_slowed_down(database_url: str) -> None:
    async with running_services(database_url, send_burst=3, send_seconds=3.0) as world:
        app = await world.app()
        ada, ben = await world.user(app, "ada"), await world.user(app, "ben")
        place = await world.opened(ada)
        for _ in range(2):
            await world.say(place, ada.author, "quick")
        for call in (
            world.say(place, ada.author, "too quick"),
            world.messaging.open(world.place(ada), ada.author),
            world.messaging.rate(place, ada.author, 5, None),
        ):
            with pytest.raises(RateLimited) as refused:
                await call
            assert refused.value.retry_after == pytest.approx(1.0)
        for _ in range(10):
            await world.say(place, world.agent_author, "agents may")
        await world.opened(ben)
        world.clock.move(1.0)
        await world.say(place, ada.author, "again")


async def test_typing_is_told_to_those_who_look_and_never_stored(world: World, place: Place) -> None:
    ada = await customer(world, place)
    before = (await world.people.find_by_id(place.app_id, place.user_id)).usn
    world.bus.published.clear()
    await world.messaging.typing(place, ada, True)
    await world.messaging.typing(place, world.agent_author, False)
    conversation, user = conversation_channel(place.conversation_id), user_channel(place.app_id, place.user_id)
    assert [
        (channel, hint.author_type, hint.on) for channel, hint in world.bus.published if isinstance(hint, Typing)
    ] == [
        (conversation, "user", True),
        (conversation, "agent", False),
        (user, "agent", False),
    ]
    assert (await world.people.find_by_id(place.app_id, place.user_id)).usn == before


async def test_pages_go_back_to_the_beginning(world: World, place: Place) -> None:
    ada = await customer(world, place)
    for number in range(5):
        await world.say(place, ada, f"line {number}")
        await world.messaging.note(place, world.message(world.agent_author, f"note {number}"))
    seqs: list[int] = []
    before, more = None, True
    while more:
        (events, _), more = await world.messaging.page(place, before, 2)
        assert len(events) <= 2
        seqs = [event.seq for event in events] + seqs
        before = seqs[0]
    assert seqs == [1, 2, 4, 6, 8, 10], "notes are not the user's to see"
    assert await world.messaging.page(place, 1, 10) == (([], None), False)
    assert await world.messaging.page(place, 0, 10) == (([], None), False), "nothing is before the beginning"
    (events, _), more = await world.messaging.page(place, 5, 200)
    assert ([event.seq for event in events], more) == ([1, 2, 4], False)


async def test_one_event_can_be_asked_for(world: World, place: Place) -> None:
    said = await world.say(place, world.agent_author, "hello")
    assert said.seq is not None
    assert (await world.messaging.event(place, said.seq)).usn == said.usn
    with pytest.raises(NotFound):
        await world.messaging.event(place, said.seq + 1)
    with pytest.raises(NotFound):
        await world.directory.find(UUID(int=5))

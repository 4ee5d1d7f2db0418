"""The one write path, on a real PostgreSQL: numbers without gaps, repeats without doubles, one bad item alone."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest

from server.domain.conversation import Status
from server.domain.errors import Conflict, IdempotencyConflict, NotFound, OutOfOrder
from server.domain.intents import AddNote, Assign, MarkRead, PutTransaction, Rate, SetStatus, SetTags
from server.domain.numbering import Numbered
from server.domain.transaction import Amount, Transaction
from server.storage import conversations, log
from tests.server.storage.world import AGENT, World, log_of, seqs_of, summary, world_on

if TYPE_CHECKING:
    from uuid import UUID


async def test_opening_with_a_message_is_two_events(world: World) -> None:
    user_id = await world.user()
    conversation_id, numbered = await world.open(user_id)

    assert (numbered.seq, numbered.usn, numbered.duplicate) == (2, 2, False)
    assert await seqs_of(world, user_id, conversation_id) == [1, 2]
    assert await conversations.locate(world.database, conversation_id) == (world.app_id, user_id)
    listed = await summary(world, user_id, conversation_id)
    assert (listed.conversation.seq, listed.conversation.rev, listed.conversation.agent_unread) == (2, 2, 1)
    assert [event.seq for written in world.announced for events in written.logs for event in events] == [1, 2]


async def test_opening_again_gives_the_first_numbers(world: World) -> None:
    user_id = await world.user()
    bare = world.opening(user_id, text=None)
    first = await world.writer.append_one(bare)
    again = await world.writer.append_one(bare)

    assert (first.seq, first.usn, first.duplicate) == (1, 1, False)
    assert (again.seq, again.usn, again.at, again.duplicate) == (1, 1, first.at, True)

    spoken = world.opening(user_id)
    one, two = await world.writer.append([spoken, spoken])
    assert isinstance(one, Numbered)
    assert isinstance(two, Numbered)
    assert (one.seq, two.seq, one.duplicate, two.duplicate) == (2, 2, False, True)


async def test_a_conversation_id_of_somebody_else_does_not_exist(world: World) -> None:
    ada, ben = await world.user("ada"), await world.user("ben")
    conversation_id, _ = await world.open(ada)

    outcomes = await world.writer.append([world.opening(ben, conversation_id), world.post(ben, conversation_id)])

    assert [type(outcome) for outcome in outcomes] == [NotFound, NotFound]
    assert await log_of(world, ben) == []


async def test_two_users_opening_one_id_at_once_have_one_winner(world: World, database_url: str) -> None:
    async with world_on(database_url) as other:
        other.app_id = world.app_id
        for attempt in range(10):
            ada, ben = await world.user(f"a{attempt}"), await world.user(f"b{attempt}")
            conversation_id = uuid4()
            results = await asyncio.gather(
                world.writer.append([world.opening(ada, conversation_id)]),
                other.writer.append([other.opening(ben, conversation_id)]),
            )
            kinds = sorted(type(result[0]).__name__ for result in results)
            assert kinds == ["NotFound", "Numbered"]


async def test_a_user_nobody_knows(world: World) -> None:
    with pytest.raises(NotFound, match="no such user"):
        await world.writer.append_one(world.opening(uuid4()))


async def test_repeats_across_nodes_are_found_and_never_stored_twice(world: World, database_url: str) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    messages = [world.message(world.author(user_id), f"m{number}") for number in range(40)]
    async with world_on(database_url) as other:
        rng = random.Random(1)
        copies = [message for message in messages for _ in range(4)]
        rng.shuffle(copies)

        async def send(position: int) -> Numbered:
            node = world if position % 2 else other
            outcome = (
                await node.writer.append(
                    [
                        msgspec.structs.replace(
                            world.post(user_id, conversation_id, copies[position]), app_id=world.app_id
                        )
                    ]
                )
            )[0]
            assert isinstance(outcome, Numbered)
            return outcome

        results = await asyncio.gather(*[send(position) for position in range(len(copies))])

    assert await seqs_of(world, user_id, conversation_id) == list(range(1, 43))
    assert await log_of(world, user_id) == list(range(1, 43))
    by_message: dict[UUID, set[int | None]] = {}
    for copy, result in zip(copies, results, strict=True):
        by_message.setdefault(copy.id, set()).add(result.seq)
    assert all(len(numbers) == 1 for numbers in by_message.values())
    assert sum(not result.duplicate for result in results) == len(messages)


async def test_the_same_id_with_another_body_is_a_conflict(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    message = world.message(world.author(user_id), "one")
    await world.writer.append_one(world.post(user_id, conversation_id, message))
    other = world.message(world.author(user_id), "two", message.id)

    with pytest.raises(IdempotencyConflict):
        await world.writer.append_one(world.post(user_id, conversation_id, other))

    elsewhere, _ = await world.open(user_id)
    with pytest.raises(IdempotencyConflict):
        await world.writer.append_one(world.post(user_id, elsewhere, message))
    # An agent's ids are its own: the same one is another message.
    agents = world.message(AGENT, "one", message.id)
    assert not (await world.writer.append_one(world.post(user_id, conversation_id, agents))).duplicate


async def test_after_chains_hold_within_a_batch_and_across(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    author = world.author(user_id)
    one, two, three = (world.message(author, text) for text in "abc")

    outcomes = await world.writer.append(
        [
            world.post(user_id, conversation_id, two, after=one.id),
            world.post(user_id, conversation_id, one),
            world.post(user_id, conversation_id, two, after=one.id),
        ]
    )
    later = await world.writer.append_one(world.post(user_id, conversation_id, three, after=two.id))

    assert isinstance(outcomes[0], OutOfOrder)
    assert [outcome.seq for outcome in outcomes[1:] if isinstance(outcome, Numbered)] == [3, 4]
    assert later.seq == 5


async def test_an_agent_does_not_talk_past_anybody(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    first = await world.writer.append_one(world.post(user_id, conversation_id, world.message(AGENT), expected_seq=2))
    # Its own newer message is no reason to refuse.
    second = await world.writer.append_one(world.post(user_id, conversation_id, world.message(AGENT), expected_seq=2))
    await world.writer.append_one(world.post(user_id, conversation_id))

    with pytest.raises(Conflict):
        await world.writer.append_one(
            world.post(user_id, conversation_id, world.message(AGENT), expected_seq=second.seq)
        )
    assert (first.seq, second.seq) == (3, 4)
    assert await seqs_of(world, user_id, conversation_id) == [1, 2, 3, 4, 5]


async def test_notes_have_a_seq_and_no_usn(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    note = AddNote(
        app_id=world.app_id, user_id=user_id, conversation_id=conversation_id, message=world.message(AGENT, "careful")
    )

    one, two = await world.writer.append([note, note])
    after = await world.writer.append_one(world.post(user_id, conversation_id))

    assert isinstance(one, Numbered)
    assert isinstance(two, Numbered)
    assert (one.seq, one.usn, two.seq, two.duplicate) == (3, None, 3, True)
    assert (after.seq, after.usn) == (4, 3)


async def test_reading_moves_forward_only_and_recounts(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    await world.writer.append(
        [world.post(user_id, conversation_id, world.message(AGENT, f"answer {n}")) for n in range(4)]
    )

    def read(reader: str, seq: int) -> MarkRead:
        return MarkRead(
            app_id=world.app_id,
            user_id=user_id,
            conversation_id=conversation_id,
            reader="user" if reader == "user" else "agent",
            author=world.author(user_id) if reader == "user" else AGENT,
            seq=seq,
        )

    partly = await world.writer.append_one(read("user", 4))
    assert partly.applied
    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.user_read_seq, listed.user_unread, listed.agent_unread) == (4, 2, 1)

    back = await world.writer.append_one(read("user", 3))
    beyond = await world.writer.append_one(read("user", 10_000))
    agent = await world.writer.append_one(read("agent", 2))

    assert (back.applied, beyond.applied, agent.applied) == (False, True, True)
    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.user_read_seq, listed.user_unread) == (7, 0)
    assert (listed.agent_read_seq, listed.agent_unread) == (2, 0)


async def test_reading_in_the_batch_that_writes(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    await world.writer.append_one(world.post(user_id, conversation_id, world.message(AGENT, "one")))
    read = MarkRead(
        app_id=world.app_id,
        user_id=user_id,
        conversation_id=conversation_id,
        reader="user",
        author=world.author(user_id),
        seq=3,
    )

    await world.writer.append([world.post(user_id, conversation_id, world.message(AGENT, "two")), read])

    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.user_read_seq, listed.user_unread) == (3, 1)


async def test_status_assignment_tags_and_rating(world: World) -> None:
    user_id = await world.user()
    conversation_id, opened = await world.open(user_id)
    place: dict[str, Any] = {"app_id": world.app_id, "user_id": user_id, "conversation_id": conversation_id}
    until = (opened.at or world.announced[0].logs[0][0].at) + timedelta(days=1)

    outcomes = await world.writer.append(
        [
            SetStatus(**place, author=AGENT, status=Status.SNOOZED, snoozed_until=until),
            SetStatus(**place, author=AGENT, status=Status.SNOOZED, snoozed_until=until),
            Assign(**place, author=AGENT, assignee=AGENT),
            SetTags(**place, tags=["vip"]),
            SetStatus(**place, author=AGENT, status=Status.RESOLVED),
            Rate(**place, author=world.author(user_id), score=2, comment="slow"),
            Rate(**place, author=world.author(user_id), score=5),
            world.post(user_id, conversation_id),
        ]
    )

    assert [outcome.applied for outcome in outcomes if isinstance(outcome, Numbered)] == [
        True,
        False,
        True,
        True,
        True,
        True,
        True,
        True,
    ]
    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.status, listed.tags, str(listed.assignee)) == (Status.OPEN, ["vip"], AGENT.id)
    rating = await world.database.row("find_rating", world.app_id, user_id, conversation_id)
    assert rating is not None
    assert (rating["score"], rating["comment"]) == (5, None)
    events = await log.after_seq(world.database, world.app_id, user_id, conversation_id, 0, 100)
    assert events[-1].kind == "conversation.status"
    assert msgspec.json.decode(events[-1].body) == {"status": "open", "previous": "resolved"}


def ride(ride_id: str, version: int, **facts: str) -> Transaction:
    return Transaction(id=ride_id, version=version, kind="ride", amount=Amount("12.50", "EUR"), **facts)  # type: ignore[arg-type]  # facts are the text fields


async def test_the_snapshot_is_frozen_and_changes_arrive_in_the_thread(world: World) -> None:
    user_id = await world.user()

    def put(*rides: Transaction) -> list[PutTransaction]:
        return [PutTransaction(app_id=world.app_id, user_id=user_id, transaction=each) for each in rides]

    await world.writer.append(put(*[ride(f"r{number}", 1, status="done") for number in range(8)]))
    conversation_id, _ = await world.open(user_id, transaction="r1")
    other_id, _ = await world.open(user_id, transaction="r2")

    outcomes = await world.writer.append(
        put(ride("r1", 3, status="refunded"), ride("r1", 2, status="late"), ride("r1", 3, status="twice"))
    )

    assert [outcome.applied for outcome in outcomes if isinstance(outcome, Numbered)] == [True, False, False]
    frozen = await conversations.find_snapshot(world.database, world.app_id, user_id, conversation_id)
    assert frozen is not None
    snapshot = msgspec.json.decode(frozen)
    assert (snapshot["transaction"]["id"], snapshot["transaction"]["status"]) == ("r1", "done")
    assert len(snapshot["recent"]) == 5
    events = await log.after_seq(world.database, world.app_id, user_id, conversation_id, 2, 100)
    assert [event.kind for event in events] == ["transaction.updated"]
    assert msgspec.json.decode(events[0].body)["transaction"]["status"] == "refunded"
    assert await seqs_of(world, user_id, other_id) == [1, 2]
    assert (await summary(world, user_id, conversation_id)).conversation.headline == "ride · refunded"


async def test_a_resolved_conversation_hears_of_no_more_changes(world: World) -> None:
    user_id = await world.user()
    put = PutTransaction(app_id=world.app_id, user_id=user_id, transaction=ride("r1", 1))
    conversation_id, _ = await world.open(user_id, transaction="r1")
    place: dict[str, Any] = {"app_id": world.app_id, "user_id": user_id, "conversation_id": conversation_id}
    await world.writer.append_one(SetStatus(**place, author=AGENT, status=Status.RESOLVED))

    await world.writer.append_one(put)

    assert await seqs_of(world, user_id, conversation_id) == [1, 2, 3]

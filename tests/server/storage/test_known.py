"""The short way of a message: one statement, and only while nobody else has written for the user."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from server.clock import SystemClock
from server.domain.conversation import Status
from server.domain.errors import Conflict, DomainError, IdempotencyConflict
from server.domain.intents import AddNote, Assign, MarkRead, SetStatus, SetTags
from server.domain.numbering import Numbered
from server.storage import log, people
from server.storage.database import Session
from server.storage.known import KnownBatch
from server.storage.rows import conversation_of
from tests.server.storage.world import AGENT, World, log_of, seqs_of, summary, world_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from server.domain.intents import AnyIntent


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the statements of the writer, as they are sent."""
    sent: list[str] = []
    rows, run = Session.rows, Session.run

    async def noted_rows(self: Session, name: str, *values: Any) -> Any:
        sent.append(name)
        return await rows(self, name, *values)

    async def noted_run(self: Session, name: str, *values: Any) -> int:
        sent.append(name)
        return await run(self, name, *values)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "rows", noted_rows)
        patched.setattr(Session, "run", noted_run)
        yield sent


def read(world: World, user_id: UUID, conversation_id: UUID, seq: int, reader: str = "user") -> MarkRead:
    return MarkRead(
        app_id=world.app_id,
        user_id=user_id,
        conversation_id=conversation_id,
        reader="user" if reader == "user" else "agent",
        author=world.author(user_id) if reader == "user" else AGENT,
        seq=seq,
    )


async def test_messages_and_receipts_of_a_known_conversation_are_one_statement(
    world: World, statements: list[str]
) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    statements.clear()

    first = world.message(world.author(user_id))
    numbers = [
        await world.writer.append_one(world.post(user_id, conversation_id, first)),
        await world.writer.append_one(world.post(user_id, conversation_id, after=first.id)),
        await world.writer.append_one(world.post(user_id, conversation_id, world.message(AGENT), expected_seq=4)),
        await world.writer.append_one(read(world, user_id, conversation_id, 5)),
    ]

    assert statements == ["append_known"] * 4
    assert [(each.seq, each.usn) for each in numbers] == [(3, 3), (4, 4), (5, 5), (6, 6)]
    events = await log.after_seq(world.database, world.app_id, user_id, conversation_id, 0, 100)
    assert [(event.seq, event.kind) for event in events[2:]] == [
        (3, "message"),
        (4, "message"),
        (5, "message"),
        (6, "receipt"),
    ]
    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.agent_unread, listed.user_unread, listed.user_read_seq, listed.last_message_seq) == (3, 0, 5, 5)


async def test_what_needs_to_know_more_takes_the_long_way(world: World, statements: list[str]) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    one = world.message(world.author(user_id))
    await world.writer.append_one(world.post(user_id, conversation_id, one))
    for _ in range(20):
        await world.writer.append_one(world.post(user_id, conversation_id, world.message(AGENT)))
    statements.clear()

    chained = await world.writer.append_one(world.post(user_id, conversation_id, after=one.id))
    back = await world.writer.append_one(read(world, user_id, conversation_id, 5))

    assert "append_known" not in statements
    assert (chained.seq, back.seq) == (24, 25)
    assert (await summary(world, user_id, conversation_id)).conversation.user_unread == 18


async def test_an_old_message_again_is_found(world: World, statements: list[str]) -> None:
    """Older than what is kept: only PostgreSQL knows it."""
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    old = world.post(user_id, conversation_id)
    first = await world.writer.append_one(old)
    for _ in range(20):
        await world.writer.append_one(world.post(user_id, conversation_id))
    again = await world.writer.append_one(old)
    assert (again.seq, again.duplicate) == (first.seq, True)
    with pytest.raises(IdempotencyConflict):
        await world.writer.append_one(
            world.post(user_id, conversation_id, world.message(old.message.author, "other", old.message.id))
        )
    assert await seqs_of(world, user_id, conversation_id) == list(range(1, 24))
    assert statements.count("append_known") >= 22


async def test_of_two_users_only_the_changed_one_is_written_anew(
    world: World, database_url: str, statements: list[str]
) -> None:
    ada, ben = await world.user("ada"), await world.user("ben")
    places = [(user_id, (await world.open(user_id))[0]) for user_id in (ada, ben)]
    async with world_on(database_url) as other:
        await other.writer.append_one(world.post(*places[1]))
    statements.clear()

    before = len(world.announced)
    outcomes = await asyncio.gather(*[world.writer.append_one(world.post(*place)) for place in places])

    assert [outcome.seq for outcome in outcomes] == [3, 4]
    assert "append_known" in statements
    assert statements.count("lock_users") == 1
    told = [event.user_id for written in world.announced[before:] for events in written.logs for event in events]
    assert sorted(told) == sorted([ada, ben])
    assert await log_of(world, ben) == [1, 2, 3, 4]


async def test_refusals_come_only_from_what_is_still_so(world: World, database_url: str) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    answer = world.post(user_id, conversation_id, world.message(AGENT), expected_seq=2)
    async with world_on(database_url) as other:
        await other.writer.append_one(world.post(user_id, conversation_id))
    with pytest.raises(Conflict):
        await world.writer.append_one(answer)
    assert await seqs_of(world, user_id, conversation_id) == [1, 2, 3]


@pytest.mark.parametrize("changed", [True, False])
async def test_it_waits_for_whoever_holds_the_user(world: World, database_url: str, changed: bool) -> None:
    """What was committed meanwhile is not in the statement's snapshot; the version of the row tells."""
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    holder = await asyncpg.connect(database_url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("select from end_user where user_id = $1 for update", user_id)
    sending = asyncio.ensure_future(world.writer.append_one(world.post(user_id, conversation_id)))
    waiting = 0
    async with asyncio.timeout(10):
        while not waiting:
            waiting = await holder.fetchval("select count(*) from pg_locks where not granted")
    if changed:
        await holder.execute("update end_user set usn = usn + 1 where user_id = $1", user_id)
        await holder.execute(
            "insert into event (app_id, user_id, conversation_id, seq, usn, kind, author_type, author_id, body, at)"
            " select app_id, user_id, conversation_id, 3, 3, 'message', 'system', 'system', '{}', now()"
            " from conversation where conversation_id = $1",
            conversation_id,
        )
        await holder.execute("update conversation set seq = 3, rev = 3 where conversation_id = $1", conversation_id)
    await transaction.commit()
    await holder.close()
    async with asyncio.timeout(10):
        outcome = await sending
    assert (outcome.seq, outcome.usn) == ((4, 4) if changed else (3, 3))
    assert await seqs_of(world, user_id, conversation_id) == list(range(1, (outcome.seq or 0) + 1))


async def test_nothing_is_written_on_the_word_of_another_history(world: World, statements: list[str]) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    async with world.database.session() as session:
        await session.connection.execute("update installation set epoch = 'another'")
    statements.clear()
    for _ in range(2):
        await world.writer.append_one(world.post(user_id, conversation_id))
    assert statements == ["append_known", "lock_users", "load_heads", "write_log", "append_known"]


async def test_an_erased_user_is_written_for_no_more(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    async with world.database.transaction() as session:
        assert await people.erase(session, world.app_id, user_id)
    outcomes = await world.writer.append([world.post(user_id, conversation_id)])
    assert isinstance(outcomes[0], DomainError)
    assert await log_of(world, user_id) == []


async def test_whatever_two_nodes_do_what_is_kept_is_what_is_stored(world: World, database_url: str) -> None:
    """A head is either of an older version, or the very row."""
    rng = random.Random(11)
    users = [await world.user(f"u{number}") for number in range(3)]
    places = [(user_id, (await world.open(user_id))[0]) for user_id in users for _ in range(2)]
    posted: list[AnyIntent] = []

    def some(place: tuple[UUID, UUID]) -> AnyIntent:
        user_id, conversation_id = place
        at: dict[str, Any] = {"app_id": world.app_id, "user_id": user_id, "conversation_id": conversation_id}
        match rng.randrange(12):
            case 0:
                return SetTags(**at, tags=[f"t{rng.randrange(3)}"])
            case 1:
                return SetStatus(**at, author=AGENT, status=rng.choice([Status.PENDING, Status.RESOLVED]))
            case 2:
                return Assign(**at, author=AGENT, assignee=rng.choice([AGENT, None]))
            case 3:
                return AddNote(**at, message=world.message(AGENT, "careful"))
            case 4 if posted:
                return rng.choice(posted)
            case 5 | 6 | 7:
                return read(world, *place, rng.randrange(1, 60), rng.choice(["user", "agent"]))
            case number:
                author = AGENT if number % 2 else world.author(user_id)
                posted.append(world.post(*place, world.message(author, f"m{len(posted)}", uuid4())))
                return posted[-1]

    async with world_on(database_url) as other:
        for _ in range(60):
            node = world if rng.random() < 0.7 else other
            batch = [some(rng.choice(places)) for _ in range(rng.randint(1, 8))]
            outcomes = await asyncio.gather(*[node.writer.append([intent]) for intent in batch])
            assert all(isinstance(outcome[0], Numbered) for outcome in outcomes), outcomes
            current = 0
            for each in (world, other):
                current += await _compare(world, each)
            assert current > 0
    for user_id, conversation_id in places:
        seqs = await seqs_of(world, user_id, conversation_id)
        assert seqs == list(range(1, len(seqs) + 1))
    for user_id in users:
        usns = await log_of(world, user_id)
        assert usns == list(range(1, len(usns) + 1))


async def _compare(world: World, node: World) -> int:
    """Hold what `node` keeps against the rows; returns how many heads are of their rows' version."""
    current = 0
    for row in await world.database.pool.fetch("select app_id, user_id, usn, xmin::text as version from end_user"):
        head = node.writer._heads.find((row["app_id"], row["user_id"]))
        if head is None or head.version != row["version"]:
            continue
        current += 1
        assert head.usn == row["usn"]
        for conversation_id, kept in head.conversations.items():
            stored = await world.database.pool.fetchrow(
                "select * from conversation where conversation_id = $1", conversation_id
            )
            assert stored is not None
            assert kept == conversation_of(stored)
        newest = SystemClock().now()
        assert all(stored.at <= newest for stored in head.stored.values())
    return current


async def test_a_fault_of_the_short_way_keeps_nobody_waiting(
    world: World, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    statements.clear()
    with monkeypatch.context() as patched:
        patched.setattr(KnownBatch, "number", broken)
        outcome = await world.writer.append_one(world.post(user_id, conversation_id))
    assert outcome.seq == 3
    assert "append_known" not in statements
    assert (await world.writer.append_one(world.post(user_id, conversation_id))).seq == 4

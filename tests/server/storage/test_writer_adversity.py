"""The one write path under adversity: contention, bad items, cancelled callers, connections that break."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest

from server.domain.errors import DomainError, Unavailable
from server.domain.intents import Rate
from server.domain.numbering import Numbered
from server.storage import people
from server.storage import writer as writer_module
from server.storage.database import Database
from tests.server.storage.world import World, log_of, seqs_of, world_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from server.domain.intents import Post
    from server.storage.database import Session
    from tests.support.postgres import PostgresForTests


async def test_concurrent_writers_number_densely(world: World, database_url: str) -> None:
    users = [await world.user(f"u{number}") for number in range(5)]
    opened = [(user_id, (await world.open(user_id))[0]) for user_id in users]
    async with world_on(database_url, lanes=3) as other:
        other.app_id = world.app_id

        async def talk(node: World, seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(15):
                picked = rng.choices(opened, k=rng.randint(1, 6))
                outcomes = await node.writer.append([node.post(*place) for place in picked])
                assert all(isinstance(outcome, Numbered) for outcome in outcomes)

        await asyncio.gather(*[talk(world if seed % 2 else other, seed) for seed in range(10)])

    for user_id, conversation_id in opened:
        seqs = await seqs_of(world, user_id, conversation_id)
        assert seqs == list(range(1, len(seqs) + 1))
        assert await log_of(world, user_id) == list(range(1, len(seqs) + 1))


async def test_one_item_that_cannot_be_written_fails_alone(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    good = world.post(user_id, conversation_id)
    spoiled = world.message(world.author(user_id))
    bad = world.post(
        user_id,
        conversation_id,
        msgspec.structs.replace(spoiled, body=msgspec.structs.replace(spoiled.body, json=b"not json")),
    )

    outcomes = await asyncio.gather(
        world.writer.append([good]),
        world.writer.append([bad]),
        world.writer.append([world.post(user_id, conversation_id)]),
    )

    assert [type(outcome[0]) for outcome in outcomes] == [Numbered, Unavailable, Numbered]
    assert await seqs_of(world, user_id, conversation_id) == [1, 2, 3, 4]


async def test_a_batch_shares_its_commit(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    before = len(world.announced)

    await asyncio.gather(*[world.writer.append([world.post(user_id, conversation_id)]) for _ in range(100)])

    assert len(world.announced) - before <= 3


async def test_a_cancelled_caller_does_not_cancel_the_commit(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    sending = asyncio.ensure_future(world.writer.append([world.post(user_id, conversation_id)]))
    await asyncio.sleep(0)
    sending.cancel()

    await world.writer.append([world.post(user_id, conversation_id)])

    assert await seqs_of(world, user_id, conversation_id) == [1, 2, 3, 4]


async def test_too_much_waiting_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id = await world.user()
    monkeypatch.setattr(writer_module, "MOST_WAITING", 3)

    with pytest.raises(Unavailable, match="Too much is waiting"):
        await world.writer.append([world.opening(user_id) for _ in range(4)])


async def test_closing_waits_for_what_is_under_way_and_refuses_the_rest(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    sending = asyncio.ensure_future(world.writer.append([world.post(user_id, conversation_id)]))
    await asyncio.sleep(0)

    await world.writer.close()

    async with asyncio.timeout(5):
        assert isinstance((await sending)[0], Numbered)
    with pytest.raises(Unavailable):
        await world.writer.append([world.post(user_id, conversation_id)])


async def test_a_connection_lost_under_a_batch_is_written_again(world: World, postgres: PostgresForTests) -> None:
    """All connections are cut somewhere in the middle of each send; each message is stored exactly once."""
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    killer = await asyncpg.connect(postgres.dsn("postgres"))
    name = await world.database.pool.fetchval("select current_database()")
    rng = random.Random(3)
    killed = 0
    outcomes: list[Numbered | DomainError] = []
    for _ in range(25):
        sending = asyncio.ensure_future(world.writer.append([world.post(user_id, conversation_id)]))
        await asyncio.sleep(rng.uniform(0, 0.004))
        killed += await killer.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name = 'deskbell' and datname = $1",
            name,
        )
        async with asyncio.timeout(20):
            outcomes += await sending
    await killer.close()

    assert killed > 0
    assert all(isinstance(outcome, Numbered) for outcome in outcomes)
    stored: list[int] = []
    async with asyncio.timeout(20):
        while not stored:
            # A pooled connection that was cut last tells a reader so, and reads are not repeated for him.
            with contextlib.suppress(Unavailable):
                stored = await seqs_of(world, user_id, conversation_id)
    assert stored == list(range(1, 28))


async def test_what_was_committed_without_an_answer_is_not_written_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two verdicts have no ids: written again, both would be new."""
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    rates = [
        Rate(
            app_id=world.app_id,
            user_id=user_id,
            conversation_id=conversation_id,
            author=world.author(user_id),
            score=score,
        )
        for score in (1, 5)
    ]
    lose = losing_answers(world, monkeypatch)
    before = len(world.announced)
    with lose(1):
        outcomes = await world.writer.append(rates)
    assert [outcome.seq for outcome in outcomes if isinstance(outcome, Numbered)] == [3, 4]
    assert await seqs_of(world, user_id, conversation_id) == [1, 2, 3, 4]
    assert len(world.announced) == before + 1, "it is news to the others, and once"


async def test_what_was_rolled_back_without_an_answer_is_written_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    with losing_answers(world, monkeypatch)(2, committed=False):
        outcome = await world.writer.append_one(world.post(user_id, conversation_id))
    assert outcome.seq == 3
    assert await seqs_of(world, user_id, conversation_id) == [1, 2, 3]


async def test_an_outcome_of_another_history_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failover that lost the commit the number of the transaction may belong to another one."""
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    message = world.message(world.author(user_id))

    async def fail_over() -> None:
        async with world.database.session() as session:
            await session.connection.execute("update installation set epoch = 'another'")

    with losing_answers(world, monkeypatch)(1, then=fail_over):
        outcome = await world.writer.append_one(world.post(user_id, conversation_id, message))
    assert outcome.duplicate, "it was written again, and here the first one was still there"


def losing_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A block in which the answers to the next commits are lost, of the long way and of the short one."""
    transaction, session = world.database.transaction, world.database.session
    nothing = Unavailable("the connection broke")

    @contextlib.contextmanager
    def block(
        times: int, *, committed: bool = True, then: Callable[[], Awaitable[None]] | None = None
    ) -> Iterator[None]:
        left = times

        @contextlib.asynccontextmanager
        async def losing(**options: bool) -> AsyncIterator[Session]:
            nonlocal left
            mine, left = left > 0, left - 1
            with monkeypatch.context() as patched:
                patched.setattr(world.database, "session", session)
                if mine and not committed:
                    with contextlib.suppress(ZeroDivisionError):
                        async with transaction(**options) as open_one:
                            yield open_one
                            raise ZeroDivisionError
                else:
                    async with transaction(**options) as open_one:
                        yield open_one
            if mine:
                if then is not None:
                    await then()
                raise nothing

        with monkeypatch.context() as patched:
            patched.setattr(world.database, "transaction", losing)
            # One statement is a transaction; here it is wrapped in one, to be able to take it back.
            patched.setattr(world.database, "session", losing)
            yield
        assert left <= 0

    return block


async def test_a_node_that_stands_still_lets_go_of_its_users(world: World, database_url: str) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    frozen = await Database.connect(database_url, min_connections=1, max_connections=1, idle_s=0.3)
    try:
        with pytest.raises(Unavailable):  # when it goes on
            async with frozen.transaction() as held:
                outcome = await _write_while_held(world, held, world.post(user_id, conversation_id))
    finally:
        await frozen.close()
    assert outcome.seq == 3


async def _write_while_held(world: World, held: Session, post: Post) -> Numbered:
    """Somebody holds the user, and does nothing."""
    assert await people.lock(held, post.app_id, post.user_id)
    async with asyncio.timeout(10):
        return await world.writer.append_one(post)

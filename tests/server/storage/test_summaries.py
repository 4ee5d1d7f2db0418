"""What the writer remembers of a conversation is never older than its row."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from server.clock import SystemClock
from server.domain.conversation import Conversation
from server.domain.events import Author, AuthorType
from server.domain.intents import SetTags
from server.domain.numbering import Numbered
from server.storage import conversations, people, retention
from server.storage.summaries import Summaries
from tests.server.storage.world import AGENT, World, seqs_of, world_on

if TYPE_CHECKING:
    from uuid import UUID

    import pytest

    from server.storage.conversations import Listed

AT = SystemClock().now()


def conversation(number: int) -> Conversation:
    return Conversation(
        app_id=uuid4(), user_id=uuid4(), conversation_id=uuid4(), seq=number, opened_at=AT, updated_at=AT
    )


def test_only_the_history_that_is_asked_about_counts() -> None:
    summaries, written = Summaries(), conversation(1)
    summaries.keep("h1", str(2**32 + 7), [written])
    kept = summaries.find(written.conversation_id, "h1")
    assert kept is not None
    assert (kept.version, kept.conversation) == ("7", written)
    assert summaries.find(written.conversation_id, "h2") is None
    summaries.keep("h2", "8", [])
    assert summaries.find(written.conversation_id, "h1") is None
    assert summaries.find(written.conversation_id, "h2") is None


def test_the_newest_are_kept() -> None:
    summaries = Summaries(most=2)
    first, second, third = (conversation(number) for number in range(3))
    summaries.keep("h", "1", [first, second])
    summaries.keep("h", "2", [first])
    summaries.keep("h", "3", [third])
    found = [summaries.find(each.conversation_id, "h") for each in (first, second, third)]
    assert [kept and kept.version for kept in found] == ["2", None, "3"]


async def summary(world: World, user_id: UUID, conversation_id: UUID) -> Listed:
    found = await conversations.find(world.database, world.app_id, user_id, conversation_id)
    assert found is not None
    return found


async def test_another_node_in_between_is_seen(world: World, database_url: str) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    async with world_on(database_url) as other:
        other.app_id = world.app_id
        for turn in range(6):
            node = (world, other)[turn % 2]
            author = world.author(user_id) if turn % 3 else AGENT
            await node.writer.append_one(node.post(user_id, conversation_id, node.message(author)))
        await other.writer.append_one(
            SetTags(app_id=world.app_id, user_id=user_id, conversation_id=conversation_id, tags=["late"])
        )
        await world.writer.append_one(world.post(user_id, conversation_id))
    assert await seqs_of(world, user_id, conversation_id) == list(range(1, 10))
    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.seq, listed.agent_unread, listed.user_unread, listed.tags) == (9, 6, 2, ["late"])


async def test_a_batch_that_is_given_up_leaves_nothing_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy it worked on was changed, and never committed."""
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    transaction = world.database.transaction

    def failing(**options: bool) -> object:
        monkeypatch.setattr(world.database, "transaction", transaction)
        return Failing(transaction(**options))

    class Failing:
        def __init__(self, inner: object) -> None:
            self.inner: object = inner

        async def __aenter__(self) -> object:
            return await self.inner.__aenter__()  # type: ignore[attr-defined]

        async def __aexit__(self, *_: object) -> None:
            lost = ConnectionResetError("on the way to COMMIT")
            await self.inner.__aexit__(type(lost), lost, None)  # type: ignore[attr-defined]

    monkeypatch.setattr(world.database, "transaction", failing)
    outcome = await world.writer.append_one(world.post(user_id, conversation_id))
    assert isinstance(outcome, Numbered)
    assert outcome.seq == 3
    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.seq, listed.rev, listed.agent_unread) == (3, 3, 2)


async def test_words_that_were_trimmed_do_not_come_back(world: World) -> None:
    """Retention changes the row behind the writer's back."""
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    async with world.database.session() as session:
        await session.connection.execute("update conversation set status = 'resolved', rev = rev + 1")
    later = SystemClock().now() + timedelta(days=1)
    assert await retention.trim(world.database, (world.app_id, user_id, conversation_id), later)
    await world.writer.append_one(
        SetTags(app_id=world.app_id, user_id=user_id, conversation_id=conversation_id, tags=["old"])
    )
    listed = (await summary(world, user_id, conversation_id)).conversation
    assert (listed.last_message, listed.headline) == (None, None)


async def test_an_erased_user_who_comes_back_begins_anew(world: World) -> None:
    user_id = await world.user()
    conversation_id, _ = await world.open(user_id)
    await world.writer.append_one(world.post(user_id, conversation_id))
    async with world.database.transaction() as session:
        assert await people.erase(session, world.app_id, user_id)
    await world.user()
    refused = (await world.writer.append([world.post(user_id, conversation_id)]))[0]
    assert not isinstance(refused, Numbered)
    await world.open(user_id)
    again = world.opening(user_id, conversation_id, text="again")
    assert (await world.writer.append_one(again)).seq == 2
    assert Author(AuthorType.USER, str(user_id)).key == world.author(user_id).key

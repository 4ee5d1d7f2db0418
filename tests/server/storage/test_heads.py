"""What the writer remembers of a user's log is never older than the log."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from server.clock import SystemClock
from server.domain.conversation import Conversation
from server.domain.events import Author, AuthorType
from server.domain.intents import SetTags
from server.domain.numbering import Ledger, Numbered
from server.storage import conversations, people, retention
from server.storage.heads import MOST_CONVERSATIONS, Heads
from tests.server.storage.world import AGENT, World, seqs_of, world_on

if TYPE_CHECKING:
    from uuid import UUID

    import pytest

    from server.storage.conversations import Listed

NOW = SystemClock().now()
APP = uuid4()


def ledger(user_id: UUID, history: str = "h", *conversation_ids: UUID) -> Ledger:
    made = Ledger(APP, user_id, 7, NOW, history)
    for conversation_id in conversation_ids:
        made.conversations[conversation_id] = Conversation(
            app_id=APP, user_id=user_id, conversation_id=conversation_id, opened_at=NOW, updated_at=NOW
        )
    return made


def test_what_was_written_in_another_history_is_gone() -> None:
    heads, ada, ben = Heads(), uuid4(), uuid4()
    heads.keep(ledger(ada), "6", "7")
    found = heads.find((APP, ada))
    assert found is not None
    assert (found.version, found.usn, heads.history) == ("7", 7, "h")
    heads.keep(ledger(ben, "h2"), "8", "9")
    assert heads.find((APP, ada)) is None
    assert heads.history == "h2"


def test_the_newest_users_are_kept() -> None:
    heads = Heads(most=2)
    first, second, third = uuid4(), uuid4(), uuid4()
    for user_id, version in ((first, "1"), (second, "1"), (first, "2"), (third, "3")):
        heads.keep(ledger(user_id), "0", version)
    found = [heads.find((APP, each)) for each in (first, second, third)]
    assert [kept and kept.version for kept in found] == ["2", None, "3"]


def test_conversations_of_an_older_version_are_not_kept() -> None:
    heads, ada, one, two, three = Heads(), uuid4(), uuid4(), uuid4(), uuid4()
    heads.keep(ledger(ada, "h", one), "1", "2")
    heads.keep(ledger(ada, "h", two), "2", "3")
    found = heads.find((APP, ada))
    assert found is not None
    assert found.conversations.keys() == {one, two}
    heads.keep(ledger(ada, "h", three), "4", "5")
    found = heads.find((APP, ada))
    assert found is not None
    assert found.conversations.keys() == {three}


def test_of_many_conversations_the_newest_are_kept() -> None:
    heads, ada = Heads(), uuid4()
    many = [uuid4() for _ in range(MOST_CONVERSATIONS + 3)]
    for number, each in enumerate(many):
        heads.keep(ledger(ada, "h", each), str(number), str(number + 1))
    found = heads.find((APP, ada))
    assert found is not None
    assert list(found.conversations) == many[3:]


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

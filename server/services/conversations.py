"""Conversations as the desk sees them: finding them, listing them, and moving them along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from server.bus.interface import Touched
from server.domain.bounds import check_time
from server.domain.conversation import Status, check_tags
from server.domain.errors import BadRequest, NotFound
from server.domain.intents import Assign, SetStatus, SetTags
from server.storage import agents, conversations, log, people, transactions

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from server.domain.agents import Agent
    from server.domain.events import Event
    from server.domain.numbering import Numbered
    from server.domain.people import EndUser
    from server.domain.transaction import Transaction
    from server.services.directory import Directory, Place
    from server.storage.conversations import InboxQuery, Listed
    from server.storage.database import Database
    from server.storage.writer import Writer

LIVE_TRANSACTIONS = 20
OTHERS = 20


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation with everything around it. `context` is the snapshot as it was frozen, in JSON."""

    listed: Listed
    user: EndUser
    context: bytes | None
    transactions: list[Transaction]
    others: list[Listed]


class Conversations:
    """Every method takes the agent who asks. What the agent may not see does not exist (404)."""

    def __init__(self, database: Database, writer: Writer, directory: Directory) -> None:
        self._database = database
        self._writer = writer
        self._directory = directory

    async def locate(self, agent: Agent, conversation_id: UUID) -> Place:
        """Where the conversation lives, if the agent works for its app. Raises NotFound."""
        place = await self._directory.find(conversation_id)
        if place.app_id not in agent.memberships:
            raise NotFound("There is no such conversation.", field="conversation")
        return place

    async def list_inbox(self, agent: Agent, query: InboxQuery) -> list[Listed]:
        """Summaries of the query's apps. Raises NotFound for an app that is not the agent's."""
        for app_id in query.apps:
            agent.require(app_id)
        return await conversations.list_inbox(self._database, query)

    async def find(self, agent: Agent, conversation_id: UUID) -> Listed:
        place = await self.locate(agent, conversation_id)
        found = await conversations.find(self._database, place.app_id, place.user_id, conversation_id)
        if found is None:
            raise NotFound("There is no such conversation.", field="conversation")
        return found

    async def refresh(self, places: list[tuple[UUID, UUID, UUID]]) -> list[Listed]:
        """The newest summaries of (app, user, conversation): what stands behind hints."""
        return await conversations.find_many(self._database, places)

    async def heads(self, places: list[tuple[UUID, UUID, UUID]]) -> dict[UUID, int]:
        """The newest `seq` of each (app, user, conversation): the sweep's look at what is watched."""
        return await conversations.heads(self._database, places)

    async def touched_since(self, apps: list[UUID], since: datetime, limit: int) -> list[Touched]:
        """What has changed in the inboxes of `apps`: the sweep's look at them."""
        return [Touched(*touched) for touched in await conversations.touched_since(self._database, apps, since, limit)]

    async def detail(self, agent: Agent, conversation_id: UUID) -> Detail:
        """The conversation, its user, the frozen context beside the live transactions, the user's other ones."""
        place = await self.locate(agent, conversation_id)
        app_id, user_id = place.app_id, place.user_id
        async with self._database.transaction(snapshot=True) as tx:
            listed = await conversations.list_of_user(tx, app_id, user_id, OTHERS + 1)
            user = await people.find(tx, app_id, user_id)
            recent = await transactions.list_newest(tx, app_id, user_id, LIVE_TRANSACTIONS)
        mine = next((each for each in listed if each.conversation.conversation_id == conversation_id), None)
        if mine is None:
            mine = await self.find(agent, conversation_id)
        context = mine.context or await conversations.find_snapshot(self._database, app_id, user_id, conversation_id)
        if user is None:
            raise NotFound("There is no such conversation.", field="conversation")
        live = [transaction for _, transaction in recent]
        missing = set(mine.conversation.transaction_ids) - {transaction.id for transaction in live}
        if missing:
            live += await transactions.find_many(self._database, app_id, user_id, sorted(missing))
        return Detail(
            listed=mine,
            user=user,
            context=context,
            transactions=live,
            others=[each for each in listed if each.conversation.conversation_id != conversation_id][:OTHERS],
        )

    async def events(self, agent: Agent, conversation_id: UUID, after: int, limit: int) -> list[Event]:
        """The thread after `seq`, notes included, in order."""
        place = await self.locate(agent, conversation_id)
        return await log.after_seq(self._database, place.app_id, place.user_id, conversation_id, after, limit)

    async def set_status(
        self, agent: Agent, conversation_id: UUID, status: str, snoozed_until: datetime | None = None
    ) -> Numbered:
        place = await self.locate(agent, conversation_id)
        check_time(snoozed_until, "snoozed_until")
        try:
            wanted = Status(status)
        except ValueError:
            raise BadRequest(f"`status` must be one of {', '.join(Status)}.", field="status") from None
        return await self._writer.append_one(
            SetStatus(
                app_id=place.app_id,
                user_id=place.user_id,
                conversation_id=conversation_id,
                author=agent.author,
                status=wanted,
                snoozed_until=snoozed_until,
            )
        )

    async def assign(self, agent: Agent, conversation_id: UUID, assignee_id: UUID | None) -> Numbered:
        """Give it to an agent of the same app, or put it back with None."""
        place = await self.locate(agent, conversation_id)
        assignee = None
        if assignee_id is not None:
            assignee = await agents.find_member(self._database, place.app_id, assignee_id)
            if assignee is None:
                raise NotFound("There is no such agent in this app.", field="agent")
        return await self._writer.append_one(
            Assign(
                app_id=place.app_id,
                user_id=place.user_id,
                conversation_id=conversation_id,
                author=agent.author,
                assignee=assignee.author if assignee else None,
            )
        )

    async def set_tags(self, agent: Agent, conversation_id: UUID, tags: list[str]) -> Numbered:
        place = await self.locate(agent, conversation_id)
        return await self._writer.append_one(
            SetTags(
                app_id=place.app_id,
                user_id=place.user_id,
                conversation_id=conversation_id,
                tags=check_tags(tags),
            )
        )

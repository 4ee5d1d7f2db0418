"""A phone's reading of its user's log: from a cursor, or from a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from server.domain.errors import NotFound
from server.storage import conversations, log, people, transactions

if TYPE_CHECKING:
    from uuid import UUID

    from server.domain.people import EndUser
    from server.domain.transaction import Transaction
    from server.storage.conversations import Listed
    from server.storage.database import Database

PAGE = 200
MOST_CONVERSATIONS = 200
RECENT_TRANSACTIONS = 20


class UserState(msgspec.Struct, frozen=True):
    """Everything a phone that knows nothing needs, as of one moment: `user.usn` is the log's head at that moment, in
    the database's `history`."""

    history: str

    user: EndUser
    conversations: list[Listed]
    transactions: list[Transaction]


class Reading:
    """Reads the log. Nothing here writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def history(self) -> str:
        """Names the history of the database: it changes when commits may have been lost."""
        return await log.history(self._database)

    async def after(self, app_id: UUID, user_id: UUID, usn: int, limit: int = PAGE) -> log.Page:
        """What the user may see after `usn`, in order, at most `limit`."""
        return await log.after_usn(self._database, app_id, user_id, usn, limit)

    async def snapshot(self, app_id: UUID, user_id: UUID) -> UserState:
        """One consistent read of a user's conversations and newest transactions."""
        async with self._database.transaction(snapshot=True) as tx:
            user = await people.find(tx, app_id, user_id)
            if user is None:
                raise NotFound("There is no such user.")
            history = await log.history(tx)
            listed = await conversations.list_of_user(tx, app_id, user_id, MOST_CONVERSATIONS)
            recent = await transactions.list_newest(tx, app_id, user_id, RECENT_TRANSACTIONS)
        return UserState(history, user, listed, [transaction for _, transaction in recent])

    async def standings(self, users: list[tuple[UUID, UUID]]) -> list[people.Standing]:
        """Where the logs of many users stand: the sweep's one query (S5)."""
        return await people.sweep(self._database, users)

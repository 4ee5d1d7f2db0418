"""Where a conversation lives: its id alone does not say, and every hot query must name its user's shard."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from server.domain.errors import NotFound
from server.storage import conversations
from server.storage.ids import quick

if TYPE_CHECKING:
    from server.storage.database import Database

MOST_REMEMBERED = 200_000


class Place(msgspec.Struct, frozen=True):
    """Where a conversation lives: its user's shard, and its id."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID


class Directory:
    """Looks conversations up. An entry is written once and never changes, so it is remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[UUID, Place] = {}

    async def find(self, conversation_id: UUID) -> Place:
        """Raises NotFound."""
        known = self._known.get(conversation_id)
        if known is None:
            found = await conversations.locate(self._database, conversation_id)
            if found is None:
                raise NotFound("There is no such conversation.", field="conversation")
            known = Place(*found, quick(conversation_id))
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[conversation_id] = known
        return known

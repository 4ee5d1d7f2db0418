"""What is written in the log of a conversation (protocol.md, "Event kinds")."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Kind(StrEnum):
    OPENED = "conversation.opened"
    MESSAGE = "message"
    NOTE = "note"
    STATUS = "conversation.status"
    ASSIGNED = "conversation.assigned"
    MERGED = "conversation.merged"
    RECEIPT = "receipt"
    TRANSACTION = "transaction.updated"
    ACTION = "action.updated"
    RATING_REQUESTED = "rating.requested"
    RATING_GIVEN = "rating.given"


class AuthorType(StrEnum):
    USER = "user"
    AGENT = "agent"
    BOT = "bot"
    SYSTEM = "system"


class Author(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who wrote an event. `id` is the user's or agent's id; the system's is `system`."""

    type: AuthorType
    id: str
    name: str | None = None
    avatar_url: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What a client id is unique under, together with the user whose log it is (S2)."""
        return (self.type._value_, self.id)


SYSTEM = Author(AuthorType.SYSTEM, "system")


class Event(msgspec.Struct, frozen=True):
    """One committed event. `usn` is None where the user may not see it; `body` is JSON text, as stored."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    seq: int
    usn: int | None
    kind: str
    author: Author
    client_id: UUID | None
    body: bytes
    at: datetime

"""A conversation's summary and the one table of how its status moves."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from server.domain.errors import BadRequest

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class Status(StrEnum):
    OPEN = "open"
    PENDING = "pending"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"

    __hash__ = str.__hash__  # an Enum's own is a Python function, called for each message


class Cause(StrEnum):
    """What can move a status."""

    USER_MESSAGE = "user message"
    AGENT_MESSAGE = "agent message"
    SET_OPEN = "set open"
    SET_PENDING = "set pending"
    SET_SNOOZED = "set snoozed"
    SET_RESOLVED = "set resolved"

    __hash__ = str.__hash__


# A customer who writes is heard: every status goes back to open. An agent's words move nothing by themselves;
# the agent says so when the ball is with the customer (pending), when to come back (snoozed), when it is done.
TRANSITIONS: dict[Cause, dict[Status, Status]] = {
    Cause.USER_MESSAGE: dict.fromkeys(Status, Status.OPEN),
    Cause.AGENT_MESSAGE: {status: status for status in Status},
    Cause.SET_OPEN: dict.fromkeys(Status, Status.OPEN),
    Cause.SET_PENDING: dict.fromkeys(Status, Status.PENDING),
    Cause.SET_SNOOZED: dict.fromkeys(Status, Status.SNOOZED),
    Cause.SET_RESOLVED: dict.fromkeys(Status, Status.RESOLVED),
}

SETTING: dict[Status, Cause] = {
    Status.OPEN: Cause.SET_OPEN,
    Status.PENDING: Cause.SET_PENDING,
    Status.SNOOZED: Cause.SET_SNOOZED,
    Status.RESOLVED: Cause.SET_RESOLVED,
}


class Conversation(msgspec.Struct, kw_only=True):
    """The summary row. Mutable: `numbering` changes it while the user's row is locked, storage writes it back.

    `rev` grows with each change; whoever holds a summary with a lower `rev` may replace it with this one.
    """

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    topic: str | None = None
    status: Status = Status.OPEN
    seq: int = 0
    rev: int = 0
    transaction_id: str | None = None
    transaction_ids: list[str] = []
    headline: str | None = None
    assignee: UUID | None = None
    tags: list[str] = []
    snoozed_until: datetime | None = None
    user_read_seq: int = 0
    agent_read_seq: int = 0
    user_unread: int = 0
    agent_unread: int = 0
    last_message: bytes | None = None
    last_message_seq: int = 0
    last_message_author: str | None = None
    other_message_seq: int = 0
    waiting_since: datetime | None = None
    last_wait_s: int | None = None
    answered_at: datetime | None = None
    opened_at: datetime
    updated_at: datetime

    def move(self, cause: Cause) -> Status | None:
        """Take `cause` into account; the previous status if the status changed, else None."""
        previous = self.status
        self.status = TRANSITIONS[cause][previous]
        if self.status is not Status.SNOOZED:
            self.snoozed_until = None
        if self.status is Status.RESOLVED:
            self.waiting_since = None
        return previous if self.status is not previous else None

    def newest_message_not_by(self, author: str) -> int:
        """The `seq` of the newest message by anyone but `author` (``type:id``); 0 if there is none."""
        return self.other_message_seq if self.last_message_author == author else self.last_message_seq

    def note_message(self, seq: int, author: str, preview: bytes) -> None:
        """Remember the message `seq` as the newest one."""
        if self.last_message_author is not None and self.last_message_author != author:
            self.other_message_seq = self.last_message_seq
        self.last_message_seq = seq
        self.last_message_author = author
        self.last_message = preview

    def asked(self, at: datetime) -> None:
        """The customer has spoken, and waits from the first unanswered message on."""
        if self.waiting_since is None:
            self.waiting_since = at

    def answered(self, at: datetime) -> None:
        """An agent has spoken: the wait is over, and remembered."""
        if self.waiting_since is not None:
            self.last_wait_s = max(0, int((at - self.waiting_since).total_seconds()))
            self.answered_at = at
            self.waiting_since = None


MAX_TAGS = 50
MAX_TAG_CHARS = 50


def check_tags(tags: list[str]) -> list[str]:
    """Tags as they are stored: trimmed, lower case, without repeats, in the order given."""
    cleaned = list(dict.fromkeys(tag.strip().lower() for tag in tags))
    if len(cleaned) > MAX_TAGS:
        raise BadRequest(f"A conversation has at most {MAX_TAGS} tags.", field="tags")
    for tag in cleaned:
        if not tag or len(tag) > MAX_TAG_CHARS or "\x00" in tag:
            raise BadRequest(f"A tag is 1 to {MAX_TAG_CHARS} characters long.", field="tags")
    return cleaned

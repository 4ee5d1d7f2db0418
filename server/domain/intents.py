"""What one may ask the log to take in: the items of `storage.writer`, one class an intent.

Every item names its user's shard. Items of one user are numbered in the order in which they are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from server.domain.action import Action, Cause, Definition
    from server.domain.conversation import Status
    from server.domain.events import Author
    from server.domain.message import MessageBody
    from server.domain.transaction import Transaction


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Base: whose log it is about. `history`: the only one in which it may be written, if the asker counts in one:
    what it has not sent, because it knows it stored, may be missing in another."""

    app_id: UUID
    user_id: UUID
    history: str | None = None


class Message(msgspec.Struct, frozen=True):
    """A message before it has numbers. `id` is its author's id for it, unique for good (S2)."""

    id: UUID
    author: Author
    body: MessageBody


class Open(Intent, frozen=True, kw_only=True):
    """Open a conversation, with its first message or without; doing so twice is the same as once.

    `transaction_id`: what the customer picked, by the app's own id. It need not be known to us (yet): a chat
    never waits for context.
    """

    conversation_id: UUID
    author: Author
    topic: str | None = None
    transaction_id: str | None = None
    message: Message | None = None


class Post(Intent, frozen=True, kw_only=True):
    """Add a message. `after`: the author's previous message, which must be stored (S3). `expected_seq`: refuse
    when someone else's message is newer than this."""

    conversation_id: UUID
    message: Message
    after: UUID | None = None
    expected_seq: int | None = None


class AddNote(Intent, frozen=True, kw_only=True):
    """Add a private note; the user never sees it."""

    conversation_id: UUID
    message: Message


class MarkRead(Intent, frozen=True, kw_only=True):
    """Move a read cursor forward to `seq`; a cursor never goes back nor beyond the newest event."""

    conversation_id: UUID
    reader: Literal["user", "agent"]
    author: Author
    seq: int


class SetStatus(Intent, frozen=True, kw_only=True):
    conversation_id: UUID
    author: Author
    status: Status
    snoozed_until: datetime | None = None


class Assign(Intent, frozen=True, kw_only=True):
    """`assignee`: the agent who takes it, or None to put it back."""

    conversation_id: UUID
    author: Author
    assignee: Author | None


class SetTags(Intent, frozen=True, kw_only=True):
    conversation_id: UUID
    tags: list[str]


class Rate(Intent, frozen=True, kw_only=True):
    """The customer's verdict; a later one replaces an earlier one."""

    conversation_id: UUID
    author: Author
    score: int
    comment: str | None = None


class PutTransaction(Intent, frozen=True, kw_only=True):
    """A version of a transaction, from the app's server. Older or equal versions change nothing."""

    transaction: Transaction


class PressAction(Intent, frozen=True, kw_only=True):
    """Ask for `action`, for the transaction as it is when this is written. `version`: of the transaction that the agent
    has seen; another one is a Conflict."""

    conversation_id: UUID
    author: Author
    action: Action
    definition: Definition
    parameters: dict[str, Any]
    version: int | None = None


class MoveAction(Intent, frozen=True, kw_only=True):
    """An action goes on. `claim`: only while it is still this one's. `by`: the agent who decides, `supervisor`: with
    that role or a higher one; `version`: of the transaction they have seen. `due_at`: when it is asked for next."""

    conversation_id: UUID
    author: Author
    action_id: UUID
    cause: Cause
    claim: UUID | None = None
    by: UUID | None = None
    supervisor: bool = False
    version: int | None = None
    due_at: datetime | None = None
    status: int | None = None
    error: str | None = None
    message: str | None = None


AnyIntent = (
    Open | Post | AddNote | MarkRead | SetStatus | Assign | SetTags | Rate | PutTransaction | PressAction | MoveAction
)

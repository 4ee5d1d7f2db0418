"""How what was numbered is handed to PostgreSQL: rows of the log, of summaries, and whom to push."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.domain.events import AuthorType, Kind
from server.domain.numbering import ClientKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from server.domain.conversation import Conversation
    from server.domain.events import Event
    from server.domain.numbering import Ledger


def pushes_of(ledgers: Iterable[Ledger]) -> list[tuple[UUID, UUID, UUID, int]]:
    """(app, user, conversation, seq) of the newest message for the user in each conversation."""
    newest = {
        event.conversation_id: (event.app_id, event.user_id, event.conversation_id, event.seq)
        for ledger in ledgers
        for event in ledger.events
        if event.kind == Kind.MESSAGE and event.author.type is not AuthorType.USER
    }
    return list(newest.values())


def event_row(ledger: Ledger, event: Event) -> tuple[Any, ...]:
    """In the order of the type `written_event`."""
    author = event.author
    digest = None
    if event.client_id is not None:
        digest = ledger.stored[ClientKey(*author.key, event.client_id)].digest
    return (
        event.app_id,
        event.user_id,
        event.conversation_id,
        event.seq,
        event.usn,
        event.kind,
        author.type._value_,
        author.id,
        author.name,
        author.avatar_url,
        event.client_id,
        digest,
        event.body,
        event.at,
    )


def summary_row(conversation: Conversation) -> tuple[Any, ...]:
    """In the order of the type `written_summary`."""
    return (
        conversation.app_id,
        conversation.user_id,
        conversation.conversation_id,
        conversation.seq,
        conversation.rev,
        conversation.status._value_,
        conversation.headline,
        conversation.assignee,
        conversation.snoozed_until,
        conversation.user_read_seq,
        conversation.agent_read_seq,
        conversation.user_unread,
        conversation.agent_unread,
        conversation.last_message,
        conversation.last_message_seq,
        conversation.last_message_author,
        conversation.other_message_seq,
        conversation.updated_at,
        conversation.waiting_since,
        conversation.last_wait_s,
        conversation.answered_at,
    )


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes, one a column."""
    return [[row[column] for row in rows] for column in range(width)]

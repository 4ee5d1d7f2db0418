"""How what was numbered is handed to PostgreSQL: rows of the log, of summaries, and whom to push."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.domain.events import AuthorType, Kind
from server.domain.numbering import client_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from server.domain.conversation import Conversation
    from server.domain.events import Event
    from server.domain.numbering import Ledger


def pushes_of(ledger: Ledger) -> list[tuple[UUID, int]]:
    """(conversation, seq) of the newest message for the user in each conversation."""
    newest = {
        event.conversation_id: event.seq
        for event in ledger.events
        if event.kind == Kind.MESSAGE and event.author.type is not AuthorType.USER
    }
    return list(newest.items())


def known_rows(ledger: Ledger, n: int) -> list[tuple[Any, ...]]:
    """The events of the user number `n` of a batch, in the order of the type `known_row`."""
    rows = []
    for event in ledger.events:
        author, conversation = event.author, ledger.touched[event.conversation_id]
        row = (
            n,
            event.conversation_id,
            event.seq,
            event.usn,
            event.kind,
            author.type._value_,
            author.id,
            author.name,
            author.avatar_url,
            event.client_id,
            _digest(ledger, event),
            event.body,
        )
        rows.append(row + (_changed(conversation) if event.seq == conversation.seq else _UNCHANGED))
    return rows


def _changed(conversation: Conversation) -> tuple[Any, ...]:
    return (
        conversation.rev,
        conversation.status._value_,
        conversation.user_read_seq,
        conversation.agent_read_seq,
        conversation.user_unread,
        conversation.agent_unread,
        conversation.last_message,
        conversation.last_message_seq,
        conversation.last_message_author,
        conversation.other_message_seq,
        conversation.waiting_since,
        conversation.last_wait_s,
        conversation.answered_at,
    )


_UNCHANGED = (None,) * 13


def _digest(ledger: Ledger, event: Event) -> bytes | None:
    if event.client_id is None:
        return None
    return ledger.stored[client_key(event.author, event.client_id)].digest


def event_row(ledger: Ledger, event: Event) -> tuple[Any, ...]:
    """In the order of the type `written_event`."""
    author = event.author
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
        _digest(ledger, event),
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

"""From rows to the domain's structures: one function a structure, used by every reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from server.domain.conversation import Conversation, Status
from server.domain.events import Author, AuthorType, Event
from server.domain.transaction import Amount, Transaction

if TYPE_CHECKING:
    from asyncpg import Record

_object = msgspec.json.Decoder(dict)
_STATUS = {status.value: status for status in Status}
_AUTHOR_TYPE = {kind.value: kind for kind in AuthorType}


def event_of(row: Record) -> Event:
    """From the columns of `event`."""
    return Event(
        row["app_id"],
        row["user_id"],
        row["conversation_id"],
        row["seq"],
        row["usn"],
        row["kind"],
        Author(_AUTHOR_TYPE[row["author_type"]], row["author_id"], row["author_name"], row["author_avatar"]),
        row["client_id"],
        row["body"],
        row["at"],
    )


def conversation_of(row: Record) -> Conversation:
    """From the columns of `conversation`."""
    return Conversation(
        app_id=row["app_id"],
        user_id=row["user_id"],
        conversation_id=row["conversation_id"],
        topic=row["topic"],
        status=_STATUS[row["status"]],
        seq=row["seq"],
        rev=row["rev"],
        transaction_id=row["transaction_id"],
        transaction_ids=row["transaction_ids"],
        headline=row["headline"],
        assignee=row["assignee"],
        tags=row["tags"],
        snoozed_until=row["snoozed_until"],
        user_read_seq=row["user_read_seq"],
        agent_read_seq=row["agent_read_seq"],
        user_unread=row["user_unread"],
        agent_unread=row["agent_unread"],
        last_message=row["last_message"],
        last_message_seq=row["last_message_seq"],
        last_message_author=row["last_message_author"],
        other_message_seq=row["other_message_seq"],
        waiting_since=row["waiting_since"],
        last_wait_s=row["last_wait_s"],
        answered_at=row["answered_at"],
        opened_at=row["opened_at"],
        updated_at=row["updated_at"],
    )


def transaction_of(row: Record) -> Transaction:
    """From the columns of `user_transaction`."""
    value = row["amount_value"]
    return Transaction(
        id=row["transaction_id"],
        version=row["version"],
        kind=row["kind"],
        status=row["status"],
        title=row["title"],
        amount=Amount(value, row["amount_currency"]) if value is not None else None,
        occurred_at=row["occurred_at"],
        url=row["url"],
        image_url=row["image_url"],
        attributes=_object.decode(row["attributes"]),
    )

"""What the cursors of our lists hold, checked: a cursor comes back from outside like anything else."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from server.domain.bounds import check_time
from server.domain.errors import BadRequest
from server.domain.paging import from_cursor, to_cursor
from server.domain.transaction import TransactionId

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Sort = Literal["opened", "updated"]


def conversation_cursor(sort: Sort, at: datetime, conversation: UUID) -> str:
    return to_cursor((sort, at, conversation))


def from_conversation_cursor(cursor: str | None, sort: Sort) -> tuple[datetime, UUID] | None:
    """Raises BadRequest for a cursor of the other order too: it would silently skip or repeat."""
    if cursor is None:
        return None
    made_for, at, conversation = from_cursor(cursor, tuple[Sort, Moment, UUID])
    if made_for != sort:
        raise BadRequest(f"This cursor belongs to `sort={made_for}`; keep the order while paging.", field="cursor")
    check_time(at, "cursor")
    return at, conversation


def transaction_cursor(recency: datetime, transaction: str) -> str:
    return to_cursor((recency, transaction))


def from_transaction_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    at, transaction = from_cursor(cursor, tuple[Moment, TransactionId])
    check_time(at, "cursor")
    if "\x00" in transaction:
        raise BadRequest("This is not a cursor of this list; leave it out to start anew.", field="cursor")
    return at, transaction


def id_cursor(last: UUID) -> str:
    return to_cursor((last,))


def from_id_cursor(cursor: str | None) -> UUID | None:
    if cursor is None:
        return None
    (last,) = from_cursor(cursor, tuple[UUID])
    return last


def event_cursor(seq: int) -> str:
    return to_cursor((seq,))


def from_event_cursor(cursor: str) -> int:
    (seq,) = from_cursor(cursor, tuple[Seq])
    return seq

"""Between the domain and the wire. Beside `user_connection` and `desk_connection` the only place that knows frames."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET

from sdk_protocol import frames, records
from sdk_protocol.codec import EncodedEvent
from sdk_protocol.errors import ErrorCode
from server.domain import message
from server.domain.errors import Conflict, DomainError, RateLimited, StaleHello, Unavailable
from server.domain.events import AuthorType

if TYPE_CHECKING:
    from server.bus.interface import Typing
    from server.domain.agents import Agent
    from server.domain.events import Author, Event
    from server.domain.message import MessageBody
    from server.domain.numbering import Numbered
    from server.domain.people import EndUser
    from server.domain.transaction import Transaction
    from server.services.reading import UserState
    from server.storage.conversations import Listed

_encode = msgspec.json.Encoder().encode
_snapshot = msgspec.json.Decoder(records.ContextSnapshot)
_last_message = msgspec.json.Decoder(dict)


class _Newest:
    """The time that was written last: all events of a batch have the same one, and each answer says it again."""

    at: datetime | None = None
    text = ""


def time_text(at: datetime) -> str:
    """RFC 3339, UTC, milliseconds."""
    if at is not _Newest.at:
        _Newest.at, _Newest.text = at, at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return _Newest.text


def message_body(body: msgspec.Struct, sender: Literal["user", "agent"]) -> MessageBody:
    """A body from a frame, checked by the domain's own rules. Raises BadRequest."""
    if isinstance(body, frames.Text):  # nearly all of them, and there is nothing else in it to check
        return message.from_struct(message.Text(text=body.text))
    return message.parse(_encode(body), sender)


def author_record(author: Author) -> records.Author:
    return records.Author(
        type=author.type._value_,
        id=author.id if author.type is not AuthorType.SYSTEM else UNSET,
        name=author.name if author.name is not None else UNSET,
        avatar_url=author.avatar_url if author.avatar_url is not None else UNSET,
    )


def event_frame(event: Event, *, desk: bool = False) -> frames.Event:
    """An event as its reader sees it: a device by `usn`, the desk by `seq`."""
    return frames.Event(
        usn=UNSET if desk or event.usn is None else event.usn,
        conversation=event.conversation_id,
        seq=event.seq,
        kind=event.kind,
        at=time_text(event.at),
        author=author_record(event.author),
        id=event.client_id if event.client_id is not None else UNSET,
        body=msgspec.Raw(event.body),
    )


def encoded(event: Event, *, desk: bool = False) -> EncodedEvent:
    """An event that may go to many sockets: encoded once a codec."""
    return EncodedEvent(event_frame(event, desk=desk))


def event_json(event: Event) -> bytes:
    """An event as its user sees it, for webhooks: the very text of the wire."""
    return _encode(event_frame(event))


def ok_frame(ref: int, numbered: Numbered, *, with_usn: bool = True) -> frames.Ok:
    return frames.Ok(
        ref=ref,
        conversation=numbered.conversation_id if numbered.conversation_id is not None else UNSET,
        seq=numbered.seq if numbered.seq is not None else UNSET,
        usn=numbered.usn if with_usn and numbered.usn is not None else UNSET,
        at=time_text(numbered.at) if numbered.at is not None else UNSET,
        duplicate=True if numbered.duplicate else UNSET,
    )


def error_frame(ref: int | msgspec.UnsetType, error: DomainError) -> frames.Error:
    retry_after = error.retry_after if isinstance(error, RateLimited | Unavailable) else None
    newer = error.events if isinstance(error, Conflict) else ()
    return frames.Error(
        ref=ref,
        code=ErrorCode(error.code),
        message=error.message,
        retry=error.retry,
        retry_after_ms=int(retry_after * 1000) if retry_after is not None else UNSET,
        field=error.field if error.field is not None else UNSET,
        events=[event_frame(event, desk=True) for event in newer] if newer else UNSET,
        attempt=error.newest if isinstance(error, StaleHello) else UNSET,
    )


def transaction_record(transaction: Transaction) -> records.Transaction:
    amount = transaction.amount
    return records.Transaction(
        id=transaction.id,
        version=transaction.version,
        kind=_given(transaction.kind),
        status=_given(transaction.status),
        title=_given(transaction.title),
        amount=records.Amount(value=amount.value, currency=amount.currency) if amount else UNSET,
        occurred_at=time_text(transaction.occurred_at) if transaction.occurred_at else UNSET,
        url=_given(transaction.url),
        image_url=_given(transaction.image_url),
        attributes=transaction.attributes or UNSET,
    )


def summary_record(listed: Listed, *, desk: bool) -> records.Summary:
    """A summary as its reader sees it; `unread` counts for that reader."""
    conversation = listed.conversation
    assignee = listed.assignee
    return records.Summary(
        id=conversation.conversation_id,
        topic=conversation.topic,
        status=conversation.status.value,
        seq=conversation.seq,
        rev=conversation.rev,
        user_read_seq=conversation.user_read_seq,
        agent_read_seq=conversation.agent_read_seq,
        unread=conversation.agent_unread if desk else conversation.user_unread,
        assignee=(
            records.AgentInfo(id=assignee.id, name=_given(assignee.name), avatar_url=_given(assignee.avatar_url))
            if assignee
            else UNSET
        ),
        last_message=_last_message_record(listed),
        context=_snapshot.decode(listed.context) if listed.context is not None else UNSET,
        opened_at=time_text(conversation.opened_at),
        snoozed_until=time_text(conversation.snoozed_until) if desk and conversation.snoozed_until else UNSET,
        app=str(conversation.app_id) if desk else UNSET,
        user=(
            records.UserInfo(
                id=str(conversation.user_id), external_id=listed.external_id, name=_given(listed.user_name)
            )
            if desk
            else UNSET
        ),
        tags=conversation.tags if desk else UNSET,
        headline=_given(conversation.headline) if desk else UNSET,
    )


def _last_message_record(listed: Listed) -> records.LastMessage | msgspec.UnsetType:
    raw = listed.conversation.last_message
    if raw is None:
        return UNSET
    last = _last_message.decode(raw)
    return records.LastMessage(
        seq=last["seq"],
        author=msgspec.convert(last["author"], records.Author),
        at=last["at"],
        kind=last["kind"],
        text=last["text"],
    )


def snapshot_frame(state: UserState) -> frames.Snapshot:
    return frames.Snapshot(
        usn=state.user.usn,
        conversations=[summary_record(listed, desk=False) for listed in state.conversations],
        transactions=[transaction_record(transaction) for transaction in state.transactions],
    )


def user_record(user: EndUser) -> records.UserInfo:
    return records.UserInfo(id=str(user.user_id), external_id=user.external_id, name=_given(user.name))


def agent_record(agent: Agent) -> records.AgentInfo:
    return records.AgentInfo(
        id=str(agent.agent_id), name=agent.name, avatar_url=_given(agent.avatar_url), email=agent.email
    )


def app_records(agent: Agent) -> list[records.AppInfo]:
    return [
        records.AppInfo(id=str(each.app_id), name=each.app_name, role=each.role.value)
        for each in agent.memberships.values()
    ]


def typing_signal(hint: Typing) -> frames.Signal:
    return frames.Signal(
        kind="typing",
        conversation=hint.conversation_id,
        author=records.Author(
            type=AuthorType(hint.author_type).value,
            id=hint.author_id,
            name=hint.author_name if hint.author_name is not None else UNSET,
        ),
        on=hint.on,
    )


def _given(value: str | None) -> str | msgspec.UnsetType:
    return value if value is not None else UNSET


def as_uuid(text: str) -> UUID | None:
    """An id of ours that arrives as text, or None if it cannot be one."""
    try:
        return UUID(text)
    except ValueError:
        return None

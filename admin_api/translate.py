"""From the domain to the shapes of answers (`records`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from admin_api import records
from server.domain.events import AuthorType

if TYPE_CHECKING:
    from server.domain.agents import Agent, Role
    from server.domain.events import Author, Event
    from server.domain.people import EndUser
    from server.domain.transaction import Transaction
    from server.services.conversations import Detail
    from server.services.webhooks import Made
    from server.storage.conversations import Listed
    from server.storage.push_outbox import PushState
    from server.storage.webhooks import Delivery as WebhookDelivery
    from server.storage.webhooks import Endpoint

_snapshot = msgspec.json.Decoder(records.ContextSnapshot)
_last_message = msgspec.json.Decoder(dict)


def time_text(at: datetime) -> str:
    """RFC 3339, UTC, milliseconds: as on the sockets."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def author_record(author: Author) -> records.Author:
    return records.Author(
        type=author.type.value,
        id=author.id if author.type is not AuthorType.SYSTEM else UNSET,
        name=_given(author.name),
        avatar_url=_given(author.avatar_url),
    )


def event_record(event: Event) -> records.Event:
    """As the desk sees it: by `seq`, without the user's own numbers."""
    return records.Event(
        conversation=event.conversation_id,
        seq=event.seq,
        kind=event.kind,
        at=time_text(event.at),
        author=author_record(event.author),
        id=event.client_id if event.client_id is not None else UNSET,
        body=msgspec.Raw(event.body),
    )


def exported_event(event: Event) -> records.ExportedEvent:
    """As the user sees it."""
    assert event.usn is not None
    return records.ExportedEvent(
        usn=event.usn,
        conversation=event.conversation_id,
        seq=event.seq,
        kind=event.kind,
        at=time_text(event.at),
        author=author_record(event.author),
        id=event.client_id if event.client_id is not None else UNSET,
        body=msgspec.Raw(event.body),
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


def summary_record(listed: Listed) -> records.Summary:
    """As the desk lists it."""
    conversation, assignee = listed.conversation, listed.assignee
    return records.Summary(
        id=conversation.conversation_id,
        topic=conversation.topic,
        status=conversation.status.value,
        seq=conversation.seq,
        rev=conversation.rev,
        user_read_seq=conversation.user_read_seq,
        agent_read_seq=conversation.agent_read_seq,
        unread=conversation.agent_unread,
        assignee=(
            records.AgentInfo(id=assignee.id, name=_given(assignee.name), avatar_url=_given(assignee.avatar_url))
            if assignee
            else UNSET
        ),
        last_message=_last_message_record(conversation.last_message),
        opened_at=time_text(conversation.opened_at),
        snoozed_until=time_text(conversation.snoozed_until) if conversation.snoozed_until else UNSET,
        app=str(conversation.app_id),
        user=records.Customer(
            id=str(conversation.user_id), external_id=listed.external_id, name=_given(listed.user_name)
        ),
        tags=conversation.tags,
        headline=_given(conversation.headline),
    )


def _last_message_record(raw: bytes | None) -> records.LastMessage | UnsetType:
    if raw is None:
        return UNSET
    last = _last_message.decode(raw)
    author = msgspec.convert(last["author"], records.Author)
    return records.LastMessage(seq=last["seq"], author=author, at=last["at"], kind=last["kind"], text=last["text"])


def user_record(user: EndUser) -> records.User:
    return records.User(
        id=user.user_id,
        external_id=user.external_id,
        name=user.name,
        email=user.email,
        phone=user.phone,
        locale=user.locale,
        properties=user.properties,
        created_at=time_text(user.created_at),
        updated_at=time_text(user.updated_at),
    )


def detail_record(detail: Detail) -> records.Detail:
    return records.Detail(
        conversation=summary_record(detail.listed),
        user=user_record(detail.user),
        context=_snapshot.decode(detail.context) if detail.context is not None else None,
        transactions=[transaction_record(each) for each in detail.transactions],
        others=[summary_record(each) for each in detail.others],
    )


def me_record(agent: Agent, csrf_token: str | None) -> records.Me:
    return records.Me(
        agent=records.AgentWithEmail(
            id=str(agent.agent_id), name=agent.name, avatar_url=_given(agent.avatar_url), email=agent.email
        ),
        apps=[
            records.AppInfo(id=str(each.app_id), name=each.app_name, role=each.role.value)
            for each in agent.memberships.values()
        ],
        csrf_token=csrf_token,
        expires_at=time_text(agent.expires_at) if agent.expires_at else None,
    )


def member_record(agent: Agent, role: Role) -> records.Member:
    return records.Member(id=str(agent.agent_id), name=agent.name, avatar_url=_given(agent.avatar_url), role=role.value)


def delivery_record(push: PushState) -> records.Delivery:
    return records.Delivery(
        device=push.device_id,
        platform=push.platform,
        state=_delivery_state(push),
        want_seq=push.want_seq,
        sent_seq=push.sent_seq,
        due_at=time_text(push.due_at),
        attempts=push.attempts,
        ambiguous=push.ambiguous,
        outcome=push.outcome,
        outcome_at=time_text(push.outcome_at) if push.outcome_at else None,
    )


def _delivery_state(push: PushState) -> Literal["queued", "accepted", "not_needed", "rejected"]:
    if push.dead:
        return "rejected"
    if push.want_seq > push.sent_seq:
        return "queued"
    return "accepted" if push.outcome == "accepted" else "not_needed"


def webhook_record(endpoint: Endpoint) -> records.Webhook:
    return records.Webhook(**_webhook_fields(endpoint))


def webhook_with_secret(made: Made) -> records.WebhookWithSecret:
    return records.WebhookWithSecret(**_webhook_fields(made.endpoint), secret=made.secret)


def _webhook_fields(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.endpoint_id,
        "url": endpoint.url,
        "events": endpoint.events,
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "state": _webhook_state(endpoint),
        "reason": endpoint.reason,
        "failing_since": _time(endpoint.failing_since),
        "created_at": time_text(endpoint.created_at),
        "updated_at": time_text(endpoint.updated_at),
    }


def _webhook_state(endpoint: Endpoint) -> Literal["active", "failing", "paused", "disabled"]:
    if not endpoint.enabled:
        return "disabled"
    if endpoint.paused_at is not None:
        return "paused"
    return "failing" if endpoint.failing_since is not None else "active"


def webhook_delivery_record(delivery: WebhookDelivery) -> records.WebhookDelivery:
    state: Any = delivery.state
    return records.WebhookDelivery(
        id=delivery.event_id,
        type=delivery.type,
        conversation=delivery.conversation_id,
        seq=delivery.seq,
        state=state,
        attempts=delivery.attempts,
        status=delivery.status,
        error=delivery.error,
        last_attempt_at=_time(delivery.tried_at),
        next_attempt_at=_time(delivery.next_at),
        created_at=time_text(delivery.created_at),
    )


def _time(at: datetime | None) -> str | None:
    return time_text(at) if at is not None else None


def _given(value: str | None) -> str | UnsetType:
    return value if value is not None else UNSET

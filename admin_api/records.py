"""The shapes of answers. Summaries, events and transactions read exactly as on the sockets (protocol.md), so that a
client needs one model for both; a test compares the two.

Times are RFC 3339 UTC with milliseconds. A field that is not known is left out, except where null is said to be sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from server.domain.webhook import EventType

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Count = Annotated[int, Meta(ge=0)]
Status = Literal["open", "pending", "snoozed", "resolved"]
MESSAGE_BODY = {"$ref": "#/components/schemas/MessageBody"}


class Record(Struct, kw_only=True, frozen=True):
    """Base of what is answered."""


class Author(Record, kw_only=True, frozen=True):
    """Who wrote an event. `id` is missing for `system`."""

    type: Literal["user", "agent", "bot", "system"]
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    avatar_url: str | UnsetType = UNSET


class Event(Record, kw_only=True, frozen=True):
    """One entry of a conversation's log. `id` is its sender's own id for it; `body` depends on `kind` (protocol.md)."""

    conversation: UUID
    seq: Annotated[int, Meta(ge=1)]
    kind: str
    at: Time
    author: Author
    id: UUID | UnsetType = UNSET
    body: Raw


class Amount(Record, kw_only=True, frozen=True):
    """Money: a decimal string and an ISO 4217 code."""

    value: str
    currency: str


class Transaction(Record, kw_only=True, frozen=True):
    """What the app sold, in its newest version known."""

    id: str
    version: Count
    kind: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    amount: Amount | UnsetType = UNSET
    occurred_at: Time | UnsetType = UNSET
    url: str | UnsetType = UNSET
    image_url: str | UnsetType = UNSET
    attributes: dict[str, Any] | UnsetType = UNSET


class ContextSnapshot(Record, kw_only=True, frozen=True):
    """What was known when the conversation was opened. Never changes."""

    transaction: Transaction | UnsetType | None = UNSET
    recent: list[Transaction] = []
    frozen_at: Time


class AgentInfo(Record, kw_only=True, frozen=True):
    id: str
    name: str | UnsetType = UNSET
    avatar_url: str | UnsetType = UNSET


class Customer(Record, kw_only=True, frozen=True):
    """The user a conversation is with, in a list."""

    id: str
    external_id: str
    name: str | UnsetType = UNSET


class LastMessage(Record, kw_only=True, frozen=True):
    """The newest message, cut to what a list shows."""

    seq: Annotated[int, Meta(ge=1)]
    author: Author
    at: Time
    kind: str
    text: str | UnsetType = UNSET


class Summary(Record, kw_only=True, frozen=True):
    """A conversation in a list. The greater `rev` is the newer. `unread` counts customer messages after the agents'
    read cursor; `headline` is one line about the chosen transaction."""

    id: UUID
    topic: str | None
    status: Status
    seq: Count
    rev: Count
    user_read_seq: Count
    agent_read_seq: Count
    unread: Count
    assignee: AgentInfo | UnsetType = UNSET
    last_message: LastMessage | UnsetType = UNSET
    opened_at: Time
    snoozed_until: Time | UnsetType = UNSET
    app: str
    user: Customer
    tags: list[str]
    headline: str | UnsetType = UNSET


class User(Record, kw_only=True, frozen=True):
    """Everything that is known of an end user."""

    id: UUID
    external_id: str
    name: str | None
    email: str | None
    phone: str | None
    locale: str | None
    properties: dict[str, Any]
    created_at: Time
    updated_at: Time


class Detail(Record, kw_only=True, frozen=True):
    """A conversation with everything around it: the frozen context beside the live transactions."""

    conversation: Summary
    user: User
    context: ContextSnapshot | None
    transactions: list[Transaction]
    others: list[Summary]


class Me(Record, kw_only=True, frozen=True):
    """The agent who asks. `csrf_token` goes into `X-CSRF-Token`; null for an API token, which needs none."""

    agent: AgentWithEmail
    apps: list[AppInfo]
    csrf_token: str | None
    expires_at: Time | None


class AgentWithEmail(Record, kw_only=True, frozen=True):
    id: str
    name: str
    avatar_url: str | UnsetType = UNSET
    email: str


class AppInfo(Record, kw_only=True, frozen=True):
    """An app the agent works for, and the agent's role in it."""

    id: str
    name: str
    role: Literal["agent", "supervisor", "admin"]


class Member(Record, kw_only=True, frozen=True):
    """An agent of an app: whom a conversation can be assigned to."""

    id: str
    name: str
    avatar_url: str | UnsetType = UNSET
    role: Literal["agent", "supervisor", "admin"]


class Delivery(Record, kw_only=True, frozen=True):
    """What became of the pushes of a conversation to one device.

    `queued`: one waits to be sent. `accepted`: the provider took it. `not_needed`: read, or stored on the device,
    before it was sent. `rejected`: given up, `outcome` says why.
    """

    device: UUID
    platform: str | None
    state: Literal["queued", "accepted", "not_needed", "rejected"]
    want_seq: Count
    sent_seq: Count
    due_at: Time
    attempts: Count
    ambiguous: bool
    outcome: str | None
    outcome_at: Time | None


class Webhook(Record, kw_only=True, frozen=True):
    """Where an app wants to hear of events.

    `active`: all is well. `failing`: the last attempts have failed, since `failing_since`. `paused`: it failed for a
    day; what happens is kept for it, `enabled` true ends it. `disabled`: switched off, by you or by its answer 410;
    what happens meanwhile is not kept. `reason` says why it is paused or was disabled.
    """

    id: UUID
    url: str
    events: list[EventType]
    description: str | None
    enabled: bool
    state: Literal["active", "failing", "paused", "disabled"]
    reason: str | None
    failing_since: Time | None
    created_at: Time
    updated_at: Time


class WebhookWithSecret(Webhook, kw_only=True, frozen=True):
    """`secret` is what its calls are signed with (Standard Webhooks); it cannot be read again."""

    secret: str


class WebhookDelivery(Record, kw_only=True, frozen=True):
    """What became of an event at a webhook. `id` is the event's, as in `webhook-id`.

    `status` and `error` are of the last attempt. `next_attempt_at` is null for what is settled, is under way, or waits
    for an earlier event of its conversation.
    """

    id: UUID
    type: str
    conversation: UUID
    seq: Annotated[int, Meta(ge=1)] | None
    state: Literal["pending", "delivered", "dead"]
    attempts: Count
    status: int | None
    error: str | None
    last_attempt_at: Time | None
    next_attempt_at: Time | None
    created_at: Time


class WebhookTest(Record, kw_only=True, frozen=True):
    """`status`: what it answered, null if it did not."""

    id: UUID
    ok: bool
    status: int | None
    error: str | None


class WebhookPage(Record, kw_only=True, frozen=True):
    items: list[Webhook]
    next_cursor: str | None


class WebhookDeliveryPage(Record, kw_only=True, frozen=True):
    items: list[WebhookDelivery]
    next_cursor: str | None


class ConversationPage(Record, kw_only=True, frozen=True):
    items: list[Summary]
    next_cursor: str | None


class EventPage(Record, kw_only=True, frozen=True):
    items: list[Event]
    next_cursor: str | None


class TransactionPage(Record, kw_only=True, frozen=True):
    items: list[Transaction]
    next_cursor: str | None


class MemberPage(Record, kw_only=True, frozen=True):
    items: list[Member]
    next_cursor: str | None


class DeliveryPage(Record, kw_only=True, frozen=True):
    items: list[Delivery]
    next_cursor: str | None


class Applied(Record, kw_only=True, frozen=True):
    """False: this or a newer version was known already, nothing has changed."""

    applied: bool


class Issued(Record, kw_only=True, frozen=True):
    """A user token (JWT) and when it runs out."""

    token: str
    expires_at: Time


class Proactive(Record, kw_only=True, frozen=True):
    """Where the message went."""

    conversation: UUID
    event: Event


class ExportedEvent(Record, kw_only=True, frozen=True):
    """An event as the user sees it."""

    usn: Annotated[int, Meta(ge=1)]
    conversation: UUID
    seq: Annotated[int, Meta(ge=1)]
    kind: str
    at: Time
    author: Author
    id: UUID | UnsetType = UNSET
    body: Raw


class Export(Record, kw_only=True, frozen=True):
    """Everything we hold of a user that the user may see."""

    user: User
    transactions: list[Transaction]
    events: list[ExportedEvent]
    exported_at: Time

"""The objects inside frames: people, transactions, summaries (docs/protocol.md)."""

from typing import Annotated, Any
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from sdk_protocol.bodies import UserBody
from sdk_protocol.fields import (
    FRAME_BYTES,
    HISTORY_EVENTS,
    TEXT_BYTES,
    AuthorType,
    Count,
    Currency,
    Decimal,
    EventSeq,
    Identifier,
    Name,
    Platform,
    Rev,
    Seq,
    Status,
)


class Record(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Base of the objects inside frames."""


class Device(Record, kw_only=True, frozen=True):
    """The installation that says `hello`. `id` is made by the client once and kept for good."""

    id: UUID
    platform: Platform
    sdk: Name | UnsetType = UNSET
    app_version: Name | UnsetType = UNSET
    locale: Name | UnsetType = UNSET


class Author(Record, kw_only=True, frozen=True):
    """Who wrote an event. `id` is missing for `system`."""

    type: AuthorType
    id: str | UnsetType = UNSET
    name: str | UnsetType | None = UNSET
    avatar_url: str | UnsetType | None = UNSET


class UserInfo(Record, kw_only=True, frozen=True):
    """An end user. A device sees the first three fields of itself; the desk sees all that is known."""

    id: str
    external_id: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    locale: str | UnsetType | None = UNSET
    properties: dict[str, Any] | UnsetType = UNSET


class AgentInfo(Record, kw_only=True, frozen=True):
    """A person at the desk. `email` and `role` are sent to agents only."""

    id: str
    name: str | UnsetType | None = UNSET
    avatar_url: str | UnsetType | None = UNSET
    email: str | UnsetType = UNSET
    role: str | UnsetType = UNSET


class AppInfo(Record, kw_only=True, frozen=True):
    """An app an agent works for; `role` is the agent's in it."""

    id: str
    name: str | UnsetType = UNSET
    role: str | UnsetType = UNSET


class Amount(Record, kw_only=True, frozen=True):
    """Money: a decimal string and an ISO 4217 code. Never a float."""

    value: Decimal
    currency: Currency


class Transaction(Record, kw_only=True, frozen=True):
    """What the app sold: a ride, an order, a payment. `id` is the app's own; a greater `version` wins."""

    id: str
    version: int
    kind: str | UnsetType | None = UNSET
    status: str | UnsetType | None = UNSET
    title: str | UnsetType | None = UNSET
    amount: Amount | UnsetType | None = UNSET
    occurred_at: str | UnsetType | None = UNSET
    url: str | UnsetType | None = UNSET
    image_url: str | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType = UNSET


class ContextSnapshot(Record, kw_only=True, frozen=True):
    """What was known when the conversation was opened: the chosen transaction and the newest ones. Never changes."""

    transaction: Transaction | UnsetType | None = UNSET
    recent: list[Transaction]
    frozen_at: str


class LastMessage(Record, kw_only=True, frozen=True):
    """The newest message of a conversation, cut to what a list shows. `kind` is that of its body."""

    seq: EventSeq
    author: Author
    at: str
    kind: str
    text: str | UnsetType = UNSET


class Summary(Record, kw_only=True, frozen=True):
    """A conversation in a list. Applied last-writer-wins by `rev`. `app`, `user`, `tags` and `headline` (one line that
    says what the chosen transaction is and how it stands) are sent to agents only.

    `unread` counts for its receiver: messages of the other side after the own read cursor.
    """

    id: UUID
    topic: str | None
    status: Status
    seq: Seq
    rev: Rev
    user_read_seq: Seq
    agent_read_seq: Seq
    unread: Count
    assignee: AgentInfo | UnsetType | None = UNSET
    last_message: LastMessage | UnsetType | None = UNSET
    context: ContextSnapshot | UnsetType | None = UNSET
    opened_at: str
    snoozed_until: str | UnsetType | None = UNSET
    app: str | UnsetType = UNSET
    user: UserInfo | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    headline: str | UnsetType | None = UNSET


class OpeningMessage(Record, kw_only=True, frozen=True):
    """The first message, sent together with `open`. `id` as in `send`."""

    id: UUID
    body: UserBody


class InboxFilter(Record, kw_only=True, frozen=True):
    """Which conversations an agent watches. `assignee`: `me`, `none` or an agent's id."""

    status: Status | UnsetType = UNSET
    assignee: Identifier | UnsetType = UNSET
    topic: Name | UnsetType = UNSET
    tag: Name | UnsetType = UNSET


class Limits(Struct, kw_only=True, frozen=True):
    """What the server accepts and offers: bytes of a client frame, bytes of a text, events of a history page, and how
    much is offered before it waits for an `ack` (S6)."""

    frame_bytes: int = FRAME_BYTES
    text_bytes: int = TEXT_BYTES
    history_events: int = HISTORY_EVENTS
    unacked_events: int = 64
    unacked_bytes: int = 256 * 1024


class PushKeys(Record, kw_only=True, frozen=True):
    """`keys` of a browser's PushSubscription, base64url (W3C Push API)."""

    p256dh: Annotated[str, Meta(min_length=1, max_length=512)]
    auth: Annotated[str, Meta(min_length=1, max_length=512)]


class WebPushSubscription(Record, kw_only=True, frozen=True):
    """`PushSubscription.toJSON()` of a browser (W3C Push API). Its `expirationTime` is ignored."""

    endpoint: Annotated[str, Meta(max_length=2048, pattern=r"^https?://")]
    keys: PushKeys

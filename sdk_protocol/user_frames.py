"""Frames from the user's device (docs/protocol.md, *Frames from the user's device*)."""

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from sdk_protocol.bodies import UserBody
from sdk_protocol.errors import ErrorCode, Refused
from sdk_protocol.fields import (
    HISTORY_EVENTS,
    Attempt,
    Capability,
    EventSeq,
    Identifier,
    Name,
    PushProvider,
    Ref,
    ShortText,
    Token,
    Usn,
)
from sdk_protocol.records import Device, OpeningMessage, WebPushSubscription


class Frame(Struct, tag_field="t", kw_only=True, frozen=True, omit_defaults=True):
    """Base of all frames: an object whose tag is `t`. Optional fields are UNSET when they were not sent."""


class Hello(Frame, tag="hello", kw_only=True, frozen=True):
    """The first frame. `usn` and `epoch`: the last event stored on this device and the history it belongs to.

    `attempt`: which hello of this device it is. One that is not newer than what the server has seen changes nothing.
    """

    token: Token
    device: Device
    epoch: Name | UnsetType = UNSET
    usn: Usn | UnsetType = UNSET
    foreground: bool
    caps: Annotated[list[Capability], Meta(max_length=32)] | UnsetType = UNSET
    attempt: Attempt | UnsetType = UNSET


class Open(Frame, tag="open", kw_only=True, frozen=True):
    """Open a conversation under an id the client made; opening twice is safe. `transaction`: the app's own id."""

    ref: Ref
    conversation: UUID
    topic: Name | UnsetType = UNSET
    transaction: Identifier | UnsetType = UNSET
    message: OpeningMessage | UnsetType = UNSET


class Send(Frame, tag="send", kw_only=True, frozen=True):
    """Send a message. `id`: its identity for ever (S2); `after` is this sender's previous, unacknowledged one (S3)."""

    ref: Ref
    conversation: UUID
    id: UUID
    body: UserBody
    after: UUID | UnsetType = UNSET


class Ack(Frame, tag="ack", kw_only=True, frozen=True):
    """Everything up to `usn` is stored on this device. Cumulative, no answer."""

    usn: Usn


class Read(Frame, tag="read", kw_only=True, frozen=True):
    """The user has seen the conversation up to `seq`. No answer; the others get a `receipt` event."""

    conversation: UUID
    seq: EventSeq


class Typing(Frame, tag="typing", kw_only=True, frozen=True):
    """The user is (or no longer) typing. No answer."""

    conversation: UUID
    on: bool


class Foreground(Frame, tag="foreground", kw_only=True, frozen=True):
    """The app came to the front or left it. No answer."""

    on: bool


class History(Frame, tag="history", kw_only=True, frozen=True):
    """Older events of a conversation, those before `before` (exclusive; the newest when missing). Answer: `page`."""

    ref: Ref
    conversation: UUID
    before: EventSeq | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=HISTORY_EVENTS)] | UnsetType = UNSET


class Rate(Frame, tag="rate", kw_only=True, frozen=True):
    """The user's rating, 1 (bad) to 5 (good)."""

    ref: Ref
    conversation: UUID
    score: Annotated[int, Meta(ge=1, le=5)]
    comment: ShortText | UnsetType = UNSET


class Press(Frame, tag="press", kw_only=True, frozen=True):
    """The user pressed `button` (its id) of the card or question at `seq`."""

    ref: Ref
    conversation: UUID
    seq: EventSeq
    button: Identifier


class PushToken(Frame, tag="push_token", kw_only=True, frozen=True):
    """Where to push. `token`: a string (fcm, apns), the browser's subscription (webpush), or null to remove it."""

    ref: Ref
    provider: PushProvider
    token: Token | WebPushSubscription | None

    def __post_init__(self) -> None:
        if self.token is None:
            return
        if (self.provider == "webpush") != isinstance(self.token, WebPushSubscription):
            wanted = "the browser's subscription object" if self.provider == "webpush" else "a string"
            raise Refused(
                ErrorCode.BAD_REQUEST, f"the token of {self.provider} is {wanted}, or null to remove it", "token"
            )


class Refresh(Frame, tag="refresh", kw_only=True, frozen=True):
    """A newer token for the same user, before the old one expires. `ok` carries `token_expires_at`."""

    ref: Ref
    token: Token


class Logout(Frame, tag="logout", kw_only=True, frozen=True):
    """Forget this device's push tokens, answer `ok`, then close 4401."""

    ref: Ref


class Ping(Frame, tag="ping", frozen=True):
    """Answered by `pong`. For clients whose WebSocket library hides control frames."""

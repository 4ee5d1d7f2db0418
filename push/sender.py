"""The interface every push provider implements, and the words it answers in. Described in docs/push.md.

**Guarantee.** `send` makes one attempt, at most one request that can show something to the person, and says what
became of it. It never retries what a provider may have delivered, never batches, never queues: retrying, backing off
and giving up belong to the caller, who has a durable outbox. Providers have no idempotency key and sometimes answer 503
to messages they then deliver, so *at least once* is all there is; what keeps it to one visible notification per
conversation is that a repeat carries the same `Notification.tag` and replaces the first.

**What an implementation owes.** It returns an `Outcome` for everything a provider or a network can do; it raises only
for a mistake of the program (`ValueError`: an address it cannot serve; `RuntimeError`: closed, or used from a second
event loop) and lets `asyncio.CancelledError` through. It ends by itself within its own timeout, never blocks the event
loop, and leaves nothing behind that could hold up the next send. `tests/contracts/test_push_sender.py` is this
paragraph as a test.

**What a caller owes.** Commit the claim before calling; keep the lease longer than the sender's timeout; pass
`quiet=True` once an earlier attempt for the same content came back ambiguous; call `close` in the loop that sent.

    Outcome            the caller then
    ├── Sent           marks it sent
    ├── TokenGone      removes the address, if it is unchanged since the claim
    ├── Retry          waits `retry_after` or backs off; `throttled` slows the project, `ambiguous` makes repeats quiet
    ├── Rejected       files a dead letter: this content will never be accepted
    └── ConfigFault    opens the app's circuit and turns health red: no send of this app can work
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Provider: TypeAlias = Literal["fcm", "apns", "webpush"]
AddressKind: TypeAlias = Literal["token", "fid", "subscription"]
Platform: TypeAlias = Literal["ios", "android", "web", "other"]

DAY_SECONDS = 24 * 60 * 60
MAX_TAG_BYTES = 64
"""`apns-collapse-id` may not exceed 64 bytes (Apple, "Sending notification requests to APNs")."""
MAX_DATA_BYTES = 1024
"""Bytes of `Notification.data` as compact JSON: it holds ids, and the text needs the rest of the 4,096."""
MAX_TTL_SECONDS = 28 * DAY_SECONDS
"""FCM keeps nothing longer (firebase.google.com/docs/cloud-messaging, "Set the lifespan of a message")."""
MAX_BADGE = 2**31 - 1
MAX_LOCALE_CHARS = 35
"""RFC 5646 section 4.4.1: 35 characters hold every tag without extensions."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one device can be reached.

    provider: whose sender to use.
    kind: what `value` is: `"token"` (an FCM registration token, an APNs device token), `"fid"` (a Firebase installation
        id, which replaces tokens in FCM since 2026) or `"subscription"` (web push: `{"endpoint", "keys": {"p256dh",
        "auth"}}`).
    value: never shown in a `repr`, because whoever holds it together with the credentials can reach the device.
    platform: as in the device's `hello` (protocol.md); decides how a clear is expressed.
    """

    provider: Provider
    kind: AddressKind
    value: str | Mapping[str, Any] = field(repr=False)
    platform: Platform = "other"


@dataclass(frozen=True, slots=True)
class Notification:
    """What the device should show, already localised: nothing is looked up or translated after this point.

    title, body: any text of any length; the sender shortens it to fit (push/payload.py). Ignored when `clear`.
    tag: the conversation's id, 1 to 64 bytes of UTF-8. A later notification with the same tag replaces the earlier.
    badge: the absolute number on the app's icon at the moment of sending, never a difference; None leaves it alone.
    data: strings for the app's SDK (`conversation`, `seq`, …), at most `MAX_DATA_BYTES` together. FCM reserves
        `from`, `message_type` and what starts with `google` or `gcm`.
    clear: show nothing; take away what is shown for `tag` and set the badge (it was read on another device).
    ttl: seconds the provider may keep it for a device that is off; 0 means now or never, 28 days is the most.
    locale: BCP 47 tag of title and body, for the app's SDK; None if unknown.

    Raises ValueError naming the field that cannot be sent by any provider.
    """

    title: str
    body: str
    tag: str
    badge: int | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    clear: bool = False
    ttl: int = DAY_SECONDS
    locale: str | None = None

    def __post_init__(self) -> None:
        if not self.tag or len(self.tag.encode("utf-8", "replace")) > MAX_TAG_BYTES:
            raise ValueError(
                f"tag must be 1 to {MAX_TAG_BYTES} bytes of UTF-8: use the conversation's id (APNs refuses longer ones)"
            )
        if not self.tag.isprintable() or not self.tag.isascii():
            raise ValueError("tag must be printable ASCII: it travels in an HTTP header to APNs")
        if self.badge is not None and not 0 <= self.badge <= MAX_BADGE:
            raise ValueError(f"badge must be the absolute count of unread messages, 0 or more, not {self.badge}")
        if not 0 <= self.ttl <= MAX_TTL_SECONDS:
            raise ValueError(f"ttl must be 0 to {MAX_TTL_SECONDS} seconds, not {self.ttl}")
        if self.locale is not None and not (self.locale.isascii() and len(self.locale) <= MAX_LOCALE_CHARS):
            raise ValueError(
                f"locale must be a BCP 47 tag of at most {MAX_LOCALE_CHARS} characters, not {self.locale!r}"
            )
        _check_data(self.data)


def _check_data(data: Mapping[str, str]) -> None:
    for key, text in data.items():
        if not isinstance(text, str):
            raise ValueError(f"data[{key!r}] must be a string (FCM takes nothing else), not {type(text).__name__}")
    try:
        size = len(json.dumps(dict(data), ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ValueError("data must be text that can be encoded as UTF-8; it contains half a character") from error
    if size > MAX_DATA_BYTES:
        raise ValueError(
            f"data takes {size} bytes as JSON, more than {MAX_DATA_BYTES}: send ids and let the app fetch the rest"
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted it with an explicit 200. `message_id` is the provider's name for it."""

    message_id: str


@dataclass(frozen=True, slots=True)
class TokenGone:
    """This address will never work again. `at`: since when, if the provider says (APNs 410): an address registered
    later than that is a new one and stays."""

    reason: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now.

    retry_after: seconds the provider asked for, or None. Never None when `throttled`.
    ambiguous: the device may have received it all the same: repeats must be quiet.
    throttled: we send too much (429): slow the whole project, not this device only.
    """

    reason: str
    retry_after: float | None = None
    ambiguous: bool = False
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider will never accept this content (400). Other content to the same address may well work."""

    reason: str


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """The provider refuses our credentials or our project; a person has to repair what `reason` names."""

    reason: str


Outcome: TypeAlias = Sent | TokenGone | Retry | Rejected | ConfigFault


class Sender(Protocol):
    """Sends one notification to one address. See the top of this file for guarantee and obligations."""

    async def send(self, address: Address, notification: Notification, *, quiet: bool = False) -> Outcome:
        """Make one attempt. `quiet` shows it without sound or vibration: for repeats of an ambiguous attempt.

        Raises ValueError if the address is of another provider or kind, RuntimeError after `close`.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection. Closing twice is harmless; sending afterwards raises RuntimeError."""
        ...

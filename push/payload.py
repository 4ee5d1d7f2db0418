"""What a notification looks like to FCM: one JSON object, at most 4,096 bytes whatever people write. Pure.

The shape is the `Message` of FCM's HTTP v1 API (projects.messages). push/fcm.py hands it to firebase-admin's encoder,
which must produce exactly this object; a test compares them. Why each field is there is docs/push.md, "The payload".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from push.text import clean, shorten

if TYPE_CHECKING:
    from push.sender import Address, Notification

PAYLOAD_LIMIT = 4096
"""Bytes FCM and APNs accept (firebase.google.com/docs/cloud-messaging, "About FCM messages"). The address is not
counted there; the budgets below leave it 200 bytes all the same."""
TITLE_BYTES = 256
BODY_BYTES = 1400
QUIET_CHANNEL = "deskbell_quiet"
"""The Android channel without sound an app's SDK creates. Since Android 8 the channel decides about sound, not the
message; where the channel does not exist, Android falls back to the app's default one."""

_RESERVED_KEYS = frozenset({"from", "message_type"})
_RESERVED_PREFIXES = ("google", "gcm")


def fcm_message(address: Address, notification: Notification, *, quiet: bool, now: float) -> dict[str, Any]:
    """The message for `notification`, `{address.kind: address.value}` included.

    quiet: no sound; everything else, above all the tag, is the same, so that a repeat replaces the first silently.
    now: Unix seconds; APNs wants the moment of expiry, not a duration.

    Raises ValueError naming the key of `data` that FCM reserves.
    """
    data = _data(notification)
    message: dict[str, Any] = {
        "data": data,
        "android": {"priority": "normal" if notification.clear else "high", "ttl": f"{notification.ttl}s"},
        "apns": {"headers": _apns_headers(notification, now)},
        address.kind: address.value,
    }
    if aps := _aps(notification, quiet):
        message["apns"]["payload"] = {"aps": aps}
    if address.platform == "web":
        message["webpush"] = {
            "headers": {"TTL": str(notification.ttl), "Urgency": "normal" if notification.clear else "high"}
        }
    if notification.clear:
        return message

    message["notification"] = {
        "title": shorten(clean(notification.title), TITLE_BYTES),
        "body": shorten(clean(notification.body), BODY_BYTES),
    }
    # Not android.collapse_key: a device has four of them, and collapsible messages are throttled to one in 3 minutes.
    android: dict[str, Any] = {"tag": notification.tag}
    if quiet:
        android |= {"channel_id": QUIET_CHANNEL, "notification_priority": "PRIORITY_LOW"}
    else:
        android["sound"] = "default"
    if notification.badge:
        # Without a count launchers add one per message; a badge must be absolute.
        android["notification_count"] = notification.badge
    message["android"]["notification"] = android
    if address.platform == "web":
        message["webpush"]["notification"] = {"tag": notification.tag, "renotify": not quiet, "silent": quiet}
    return message


def payload_bytes(message: dict[str, Any]) -> int:
    """Bytes of `message` on the wire, as compact UTF-8 JSON."""
    return len(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))


def summary_text(
    count: int,
    preview: str,
    show_preview: bool,
    *,
    one: str = "New message",
    several: str = "{count} new messages",
) -> str:
    """The body for `count` messages the person has not seen: the words themselves only for a single one.

    show_preview: False for apps that keep their customers' words off the lock screen.
    one, several: the same in the person's language; `{count}` in `several` is replaced.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more: there is nothing to announce about {count} messages")
    if count > 1:
        return several.replace("{count}", str(count))
    return (clean(preview) if show_preview else "") or one


def _data(notification: Notification) -> dict[str, str]:
    data = {"type": "clear" if notification.clear else "message", "conversation": notification.tag}
    if notification.badge is not None:
        data["badge"] = str(notification.badge)
    if notification.locale:
        data["locale"] = notification.locale
    data |= notification.data
    for key in data:
        if key in _RESERVED_KEYS or key.startswith(_RESERVED_PREFIXES):
            raise ValueError(f"data[{key!r}] uses a key FCM reserves; rename it")
    return data


def _apns_headers(notification: Notification, now: float) -> dict[str, str]:
    background = notification.clear and notification.badge is None
    return {
        "apns-collapse-id": notification.tag,
        # APNs refuses a badge in a push of type background (Apple, "Pushing background updates to your App").
        "apns-push-type": "background" if background else "alert",
        "apns-priority": "5" if notification.clear else "10",
        "apns-expiration": str(int(now) + notification.ttl) if notification.ttl else "0",
    }


def _aps(notification: Notification, quiet: bool) -> dict[str, Any]:
    aps: dict[str, Any] = {}
    if notification.badge is not None:
        aps["badge"] = notification.badge
    if notification.clear:
        aps["content-available"] = 1
    elif not quiet:
        aps["sound"] = "default"
    return aps

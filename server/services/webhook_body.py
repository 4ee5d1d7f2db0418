"""What a webhook says: the body of a call, made from the log when it is sent (http.md, "Webhook events")."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from server.domain.webhook import PING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from server.domain.events import Event
    from server.storage.webhook_outbox import Lane, Look, Waiting

TRIMMED = b'{"trimmed":true}'
"""What retention leaves of an event's body (storage/sql/queries/retention.sql)."""

_encode = msgspec.json.Encoder().encode


class User(msgspec.Struct, frozen=True):
    id: UUID
    external_id: str


class Data(msgspec.Struct, frozen=True):
    conversation: UUID
    user: User
    event: msgspec.Raw


class Notice(msgspec.Struct, frozen=True):
    """`id` is the event's, the same at every try and for every endpoint of the app."""

    id: UUID
    type: str
    created_at: str
    app: UUID
    data: Any


def body_of(lane: Lane, seen: Look, waiting: Waiting, wire: Callable[[Event], bytes]) -> bytes | None:
    """The same bytes at every try. None if what it is about is not known any more."""
    event = waiting.event
    if event is not None and event.body != TRIMMED:
        said, at = wire(event), event.at
    elif waiting.payload is not None:
        said, at = waiting.payload, waiting.wanted_at
    else:
        return None
    data = Data(lane.conversation_id, User(lane.user_id, seen.external_id), msgspec.Raw(said))
    return _encode(Notice(waiting.event_id, waiting.type, _time(at), lane.app_id, data))


def ping(event_id: UUID, app_id: UUID, at: datetime) -> bytes:
    """What a test sends."""
    return _encode(Notice(event_id, PING, _time(at), app_id, {}))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

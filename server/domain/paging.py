"""Opaque cursors of lists (http.md, "Common"): what the last item was sorted by, so that paging is by key."""

from __future__ import annotations

import base64
from typing import TypeVar

import msgspec

from server.domain.errors import BadRequest

T = TypeVar("T")

MAX_LIMIT = 200


def to_cursor(key: object) -> str:
    """The cursor after an item whose sort key is `key` (anything msgspec can encode)."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def from_cursor(cursor: str, shape: type[T]) -> T:
    """The sort key in a cursor of ours, as `shape`. Raises BadRequest for anything else."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=shape)
    except (ValueError, msgspec.DecodeError):
        raise BadRequest("This is not a cursor of this list; leave it out to start anew.", field="cursor") from None

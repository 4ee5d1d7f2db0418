"""Webhooks: which events leave the house, and when a failed call is tried again (docs/webhooks.md)."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, get_args

from server.domain.events import Kind

EventType = Literal[
    "conversation.opened",
    "conversation.status",
    "conversation.assigned",
    "message.created",
    "rating.given",
    "action.updated",
    "push.failed",
]
TYPES: tuple[str, ...] = get_args(EventType)
PING = "ping"
"""What a test sends. Nobody subscribes to it."""

# Whatever is not here stays inside: private notes above all.
TYPE_OF: dict[str, EventType] = {
    Kind.OPENED.value: "conversation.opened",
    Kind.STATUS.value: "conversation.status",
    Kind.ASSIGNED.value: "conversation.assigned",
    Kind.MESSAGE.value: "message.created",
    Kind.RATING_GIVEN.value: "rating.given",
    Kind.ACTION.value: "action.updated",
}

MAX_ENDPOINTS = 10
MAX_DESCRIPTION = 200
OVERLAP = timedelta(hours=24)
"""How long a replaced secret goes on signing beside the new one."""
MOST_SECRETS = 5

PAUSES_S = (2, 10, 60, 300, 1800, 7_200, 18_000, 36_000, 50_400, 57_600, 86_400)
"""After the first failure, the second …: twelve attempts in three days, and a last one when they are over."""
GIVEN_UP_AFTER = timedelta(hours=72)
LONGEST_RETRY_AFTER_S = 3600.0
"""An endpoint may ask for more, but a mistake in its clock or its units must not silence it for days."""

PAUSED_AFTER = timedelta(hours=24)
PAUSED_FAILURES = 5
"""An endpoint is paused after a day of nothing but failures, these many at least."""

HELD_FROM = 5
LONGEST_HOLD_S = 30.0
"""From so many failures in a row on, an endpoint gets a single call at a time, this far apart at most."""


def pause_after(attempts: int, luck: float) -> float:
    """Seconds until the next attempt when `attempts` have failed. `luck`, from 0 to 1, takes away up to a quarter, so
    that what failed together does not come back together."""
    return PAUSES_S[min(attempts, len(PAUSES_S)) - 1] * (1 - luck / 4)


def hold_after(failures: int, luck: float) -> float | None:
    """Seconds in which an endpoint is not called after `failures` in a row; None: it may be."""
    if failures < HELD_FROM:
        return None
    return float(min(LONGEST_HOLD_S, 2 ** min(failures - HELD_FROM, 10))) * (1 - luck / 4)

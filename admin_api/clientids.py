"""Which client id a creating request has, so that its repetition is found for good (protocol.md, S2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.domain.errors import IdempotencyConflict
from server.domain.ids import client_id_of, new_id

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from server.domain.events import Event, Kind


REPLAYED = {"Idempotent-Replayed": "true"}
"""Beside the first answer, when it is given again."""


def client_id(given: UUID | None, key: str | None, *, scope: UUID, verb: str, now: datetime) -> UUID:
    """The `id` of the body; else one made from the `Idempotency-Key`, which is the caller's (`scope`) and the verb's
    own; else a fresh one."""
    if given is not None:
        return given
    return client_id_of(scope, f"{verb} {key}") if key is not None else new_id(now)


def check_same_kind(event: Event, kind: Kind) -> None:
    """An id that was a note cannot come back as a message: the customer would never get it. Raises
    IdempotencyConflict."""
    if event.kind != kind:
        raise IdempotencyConflict(f"This id was used for a {event.kind}; make a new id.", field="id")

"""The outbox of webhooks: what endpoints are to hear, in lanes that keep a conversation's order (docs/webhooks.md).

`want` belongs into the transaction that writes the events: committed together or not at all. Which endpoint wants what
is kept in the process; the number of its last change, which every batch reads along with its locks, tells whether it is
still so. An app without endpoints thus costs a comparison a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec

from server.domain.ids import new_id
from server.domain.webhook import TYPE_OF
from server.storage import people
from server.storage.rows import event_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from asyncpg import Record

    from server.domain.events import Event
    from server.domain.numbering import Ledger
    from server.domain.webhook import EventType
    from server.storage.database import Database, Session

Row = tuple[UUID, UUID, UUID, UUID, UUID, str, "int | None", "bytes | None"]


class Subscriptions:
    """Which endpoints of an app want which events: `(app, type) → endpoints`, as of change `number` in `history`."""

    def __init__(self) -> None:
        self._as_of = ("", 0)
        self._wanting: dict[tuple[UUID, str], list[UUID]] = {}

    def number_in(self, history: str) -> int:
        """Of the last change that is known here; -1 if nothing is known of this history."""
        return self._as_of[1] if self._as_of[0] == history else -1

    async def read(self, session: Session, history: str, number: int) -> None:
        """Make it as new as `number`, which was read in this transaction."""
        if self._as_of == (history, number):
            return
        wanting: dict[tuple[UUID, str], list[UUID]] = {}
        for row in await session.rows("list_webhook_subscriptions") if number else ():
            for kind in row["events"]:
                wanting.setdefault((row["app_id"], kind), []).append(row["endpoint_id"])
        self._wanting, self._as_of = wanting, (history, number)

    def rows(self, ledgers: Iterable[Ledger], now: datetime) -> list[Row]:
        """A delivery for each new event and endpoint that wants it. One event has one id for all endpoints."""
        wanting = self._wanting
        if not wanting:
            return []
        wanted: list[tuple[Event, EventType, list[UUID]]] = []
        for event in (event for ledger in ledgers for event in ledger.events):
            kind = TYPE_OF.get(event.kind)
            if kind is None or event.usn is None:  # what the user may not see is nobody else's business either
                continue
            endpoints = wanting.get((event.app_id, kind))
            if endpoints:
                wanted.append((event, kind, endpoints))
        ids = sorted(new_id(now) for _ in wanted)  # lists are in their order
        return [
            (event.app_id, event.user_id, event.conversation_id, endpoint, event_id, kind, event.seq, None)
            for (event, kind, endpoints), event_id in zip(wanted, ids, strict=True)
            for endpoint in endpoints
        ]


async def want(session: Session, rows: list[Row], now: datetime) -> None:
    """Put deliveries at the ends of their lanes, in this order."""
    if rows:
        await session.run("want_webhooks", *[[row[column] for row in rows] for column in range(8)], now)


async def want_other(
    session: Session,
    app_id: UUID,
    user_id: UUID,
    conversation_id: UUID,
    kind: EventType,
    payload: bytes,
    now: datetime,
) -> int:
    """An event that is not in the log (`push.failed`): `payload`, JSON, is what it says. In the transaction in which it
    happened. Locks the user. Returns how many endpoints will hear of it."""
    endpoints = [row["endpoint_id"] for row in await session.rows("list_wanting_webhooks", app_id, kind)]
    if not endpoints or not await people.lock(session, app_id, user_id):
        return 0
    event_id = new_id(now)
    place = (app_id, user_id, conversation_id)
    await want(session, [(*place, endpoint, event_id, kind, None, payload) for endpoint in endpoints], now)
    return len(endpoints)


class Lane(NamedTuple):
    """The deliveries of a conversation for an endpoint, ours while the claim `token` holds."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    endpoint_id: UUID
    token: UUID


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The next delivery of a lane. `event` None: it is not in the log, `payload` has it; or it is gone from there."""

    place: int
    event_id: UUID
    type: str
    attempts: int
    queued_at: datetime
    wanted_at: datetime
    payload: bytes | None
    event: Event | None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a call depends on, read right before it is made. `sealed`: the secrets, encrypted, newest first."""

    head: int
    url: str
    open: bool
    held_until: datetime | None
    failures: int
    retry_from: datetime
    sealed: list[bytes]
    external_id: str
    waiting: Waiting | None


async def claim(
    database: Database,
    now: datetime,
    until: datetime,
    token: UUID,
    *,
    busy: Mapping[UUID, int],
    per_endpoint: int,
    endpoint: UUID | None,
    limit: int,
) -> list[Lane]:
    """Take lanes in which something is due. `busy`: how many of each endpoint this process works on already.
    `endpoint`: of this one only."""
    rows = await database.rows(
        "claim_webhooks", now, token, until, list(busy), list(busy.values()), per_endpoint, endpoint, limit
    )
    return [Lane(row["app_id"], row["user_id"], row["conversation_id"], row["endpoint_id"], token) for row in rows]


async def look(database: Database, lane: Lane, now: datetime) -> Look | None:
    """None if the lane is not ours any more."""
    row = await database.row("look_before_webhook", *lane, now)
    return _look(row) if row else None


def _look(row: Record) -> Look:
    waiting = None
    if row["place"] is not None:
        waiting = Waiting(
            place=row["place"],
            event_id=row["event_id"],
            type=row["type"],
            attempts=row["attempts"],
            queued_at=row["queued_at"],
            wanted_at=row["wanted_at"],
            payload=row["payload"],
            event=event_of(row) if row["kind"] is not None else None,
        )
    return Look(
        head=row["head"],
        url=row["url"],
        open=row["enabled"] and row["paused_at"] is None and row["deleted_at"] is None,
        held_until=row["held_until"],
        failures=row["failures"],
        retry_from=row["retry_from"],
        sealed=row["sealed"],
        external_id=row["external_id"],
        waiting=waiting,
    )


async def settle(
    database: Database,
    lane: Lane,
    place: int,
    *,
    state: str,
    due_at: datetime,
    keep: bool,
    status: int | None,
    error: str | None,
    at: datetime,
) -> bool:
    """Write down an attempt; with another state than pending the lane goes on behind it. `keep`: the claim, until
    `due_at`. False if it was not ours any more."""
    values = (place, state != "pending", due_at, keep, state, status, error, at)
    return bool(await database.run("settle_webhook", *lane, *values))


async def release(database: Database, lane: Lane, due_at: datetime, *, done: int = 0) -> None:
    """Give the claim back. `done`: nothing waits in the lane up to there."""
    await database.run("release_webhooks", *lane, due_at, done)


async def oldest_due(database: Database, now: datetime) -> datetime | None:
    """Since when something is due that nobody works on, though its endpoint is well."""
    due: datetime | None = await database.value("oldest_webhook", now)
    return due


async def purge(database: Database, endpoint_id: UUID, state: str, before: UUID, limit: int, *, gone: bool) -> int:
    """Forget up to `limit` deliveries whose event is older than the id `before`, and lanes that are empty then. `gone`:
    the endpoint is deleted. Returns how many there were."""
    async with database.transaction() as tx:
        rows: list[Any] = await tx.rows("purge_webhook_deliveries", endpoint_id, state, before, limit)
        if rows:
            columns = [[row[column] for row in rows] for column in range(3)]
            await tx.run("purge_webhook_lanes", *columns, endpoint_id, gone)
    return len(rows)

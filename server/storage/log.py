"""Reading the log: by the user's `usn`, or by a conversation's `seq`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from server.storage.rows import event_of

if TYPE_CHECKING:
    from uuid import UUID

    from asyncpg import Record

    from server.domain.events import Event
    from server.storage.database import Database, Session


class Page(NamedTuple):
    """Events in order, and the history whose numbers they carry; None if there are no events to ask with."""

    events: list[Event]
    history: str | None


async def after_usn(database: Database, app_id: UUID, user_id: UUID, usn: int, limit: int) -> Page:
    """What the user may see after `usn`, in order."""
    return _page(await database.rows("events_after_usn", app_id, user_id, usn, limit))


async def after_seq(
    database: Database, app_id: UUID, user_id: UUID, conversation_id: UUID, seq: int, limit: int
) -> list[Event]:
    """A conversation after `seq`, in order, private notes included."""
    rows = await database.rows("events_after_seq", app_id, user_id, conversation_id, seq, limit)
    return [event_of(row) for row in rows]


async def page_before(
    database: Database, app_id: UUID, user_id: UUID, conversation_id: UUID, before: int, limit: int
) -> Page:
    """The newest `limit` events of a conversation before `seq` that the user may see, in order."""
    rows = await database.rows("events_before_seq", app_id, user_id, conversation_id, before, limit)
    rows.reverse()
    return _page(rows)


async def find(database: Database, app_id: UUID, user_id: UUID, conversation_id: UUID, seq: int) -> Event | None:
    row = await database.row("find_event", app_id, user_id, conversation_id, seq)
    return event_of(row) if row else None


async def history(source: Database | Session) -> str:
    """Names the history of this database: it changes when commits may have been lost (protocol.md, "Numbers")."""
    return str(await source.value("find_history"))


def _page(rows: list[Record]) -> Page:
    return Page([event_of(row) for row in rows], rows[0]["history"] if rows else None)

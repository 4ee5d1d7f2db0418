"""A past for a database: users who have talked, written in SQL as the server would have left it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = 50
"""Of each conversation; the first says that it was opened, the others are messages of both sides in turn."""
CHUNK = 20_000
"""Users written at once: a million events."""

# Rows lie as they do when all talk at the same time: those of one conversation far apart.
SEED = f"""
insert into end_user (app_id, user_id, external_id, usn, created_at, updated_at)
select app_id, user_id, external_id, {EVENTS}, at, at from seed_user;
insert into conversation_directory (conversation_id, app_id, user_id)
select conversation_id, app_id, user_id from seed_user;
insert into context_snapshot (app_id, user_id, conversation_id, body, frozen_at)
select app_id, user_id, conversation_id, '{{"recent":[],"frozen_at":"2026-01-01T00:00:00Z"}}', at from seed_user;
insert into conversation (app_id, user_id, conversation_id, status, seq, rev, agent_unread, user_unread, last_message,
    last_message_seq, last_message_author, other_message_seq, answered_at, last_wait_s, opened_at, updated_at)
select app_id, user_id, conversation_id, case when n % 10 = 0 then 'open' else 'resolved' end, {EVENTS}, {EVENTS},
    {EVENTS // 2}, {EVENTS - 1 - EVENTS // 2},
    json_build_object('seq', {EVENTS}, 'kind', 'text', 'text', repeat('x', 150),
        'author', json_build_object('type', 'user', 'id', user_id), 'at', '2026-01-01T00:00:00Z'),
    {EVENTS}, 'user:' || user_id, {EVENTS - 1}, at, 60, at, at + interval '{EVENTS} minutes'
from seed_user;
insert into event (app_id, user_id, conversation_id, seq, usn, kind, author_type, author_id, client_id, digest, body,
    at)
select app_id, user_id, conversation_id, s, s, case when s = 1 then 'conversation.opened' else 'message' end,
    case when s % 2 = 0 or s = 1 then 'user' else 'agent' end,
    case when s % 2 = 0 or s = 1 then user_id::text else '00000000-0000-0000-0000-000000000001' end,
    case when s > 1 then gen_random_uuid() end, case when s > 1 then decode(md5(s::text), 'hex') end,
    case when s = 1 then '{{"context":{{"recent":[],"frozen_at":"2026-01-01T00:00:00Z"}}}}'::json
        else json_build_object('kind', 'text', 'text', repeat('x', 150)) end,
    at + s * interval '1 minute'
from generate_series(1, {EVENTS}) s, seed_user
order by s;
"""


class History:
    """Users of one app, `EVENTS` events each."""

    def __init__(self, dsn: str, app: str, seed: int) -> None:
        self._dsn = dsn
        self._app = UUID(app)
        self._draw = random.Random(seed)
        self.users: list[tuple[str, str]] = []
        """(external id, conversation)."""

    @property
    def events(self) -> int:
        return len(self.users) * EVENTS

    async def grow(self, events: int, say: Callable[[str], None]) -> int:
        """Add users until there are `events`, and have PostgreSQL look at it all. Returns its size in bytes."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(
                "create temporary table seed_user (n integer, app_id uuid, user_id uuid, external_id text,"
                " conversation_id uuid, at timestamptz)"
            )
            while self.events < events:
                say(f"{self.events:,} of {events:,} events written")
                await self._write(connection, min(CHUNK, (events - self.events) // EVENTS or 1))
            say("vacuum analyze")
            await connection.execute("vacuum analyze")
            size: int = await connection.fetchval("select pg_database_size(current_database())")
            return size
        finally:
            await connection.close()

    async def _write(self, connection: asyncpg.Connection[asyncpg.Record], users: int) -> None:
        start = len(self.users)
        made = [
            (start + n, f"grown-{start + n}", UUID(int=self._draw.getrandbits(128), version=4)) for n in range(users)
        ]
        await connection.execute("truncate seed_user")
        await connection.copy_records_to_table(
            "seed_user",
            # The server computes a user's id from the app's (docs/decisions/0002-user-id-from-external-id.md).
            records=[(n, self._app, uuid5(self._app, name), name, conversation) for n, name, conversation in made],
            columns=["n", "app_id", "user_id", "external_id", "conversation_id"],
        )
        await connection.execute("update seed_user set at = now() - interval '400 days' + n * interval '1 second'")
        await connection.execute(SEED)
        self.users += [(name, str(conversation)) for _, name, conversation in made]

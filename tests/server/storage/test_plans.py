"""No statement reads a large table from end to end: the plan of each, on tables of useful size, is one of indexes.

So what is asked every second costs the same at a thousand messages and at ten million (docs/storage.md).
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncpg
import pytest

from server.clock import SystemClock
from server.storage.migrate import migrate
from server.storage.queries import Query, load_queries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresForTests

USERS, CONVERSATIONS, EVENTS = 20_000, 2, 6
"""Users of an app, conversations of each, events in each: so many that an index is cheaper than looking at all."""
LARGE = {
    "action",
    "context_snapshot",
    "conversation",
    "conversation_directory",
    "device",
    "device_directory",
    "end_user",
    "event",
    "push_state",
    "user_transaction",
    "webhook_delivery",
    "webhook_lane",
}

# Statements that are planned for the values they are given, here those of a first page: PostgreSQL does so by itself
# for a limit, and we ask for it for the inbox, whose filters may be set or not.
APP = "'{00000000-0000-0000-0000-000000000001}'"
VALUES = {
    "list_inbox_by_opened": f"({APP}, null, null, false, null, null, null, null, null, 51)",
    "list_inbox_by_updated": f"({APP}, 'open', null, false, null, null, null, null, null, 51)",
    "claim_pushes": "(now(), gen_random_uuid(), now() + interval '1 minute', 50)",
    "claim_actions": "(now(), gen_random_uuid(), now() + interval '1 minute', '{}', 16)",
    "list_actions": f"({APP}, '{{awaiting_approval,unknown}}', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 51)",
    "claim_webhooks": "(now(), gen_random_uuid(), now() + interval '1 minute', '{}', '{}', 16, null, 256)",
}

SEED = f"""
insert into app (app_id, name, created_at) values ('00000000-0000-0000-0000-000000000001', 'a', now());
create temporary table seed_user as
select '00000000-0000-0000-0000-000000000001'::uuid as app_id, md5('u' || u)::uuid as user_id, u,
    md5('d' || u)::uuid as device_id, now() - u * interval '1 minute' as at
from generate_series(1, {USERS}) u;
insert into end_user (app_id, user_id, external_id, usn, created_at, updated_at)
select app_id, user_id, u, {CONVERSATIONS * EVENTS}, at, at from seed_user;
insert into device (app_id, user_id, device_id, epoch, platform, push_provider, push_token, created_at, last_seen_at)
select app_id, user_id, device_id, 1, 'ios', 'fcm', 't' || u, at, at from seed_user;
insert into device_directory (app_id, device_id, user_id) select app_id, device_id, user_id from seed_user;
insert into user_transaction (app_id, user_id, transaction_id, version, created_at, updated_at)
select app_id, user_id, 'ride-' || t, 1, at, at from seed_user, generate_series(1, 3) t;
insert into conversation (app_id, user_id, conversation_id, status, seq, rev, opened_at, updated_at, waiting_since,
    answered_at)
select app_id, user_id, md5('c' || u || '.' || c)::uuid, case when c = 1 then 'open' else 'resolved' end,
    {EVENTS}, {EVENTS}, at, at, case when c = 1 and u % 50 = 0 then at end, at
from seed_user, generate_series(1, {CONVERSATIONS}) c;
insert into conversation_directory (conversation_id, app_id, user_id)
select conversation_id, app_id, user_id from conversation;
insert into context_snapshot (app_id, user_id, conversation_id, body, frozen_at)
select app_id, user_id, conversation_id, '{{}}', updated_at from conversation;
insert into push_state (app_id, user_id, device_id, conversation_id, epoch, want_seq, sent_seq, wanted_at, due_at)
select c.app_id, c.user_id, s.device_id, c.conversation_id, 1, 2, case when s.u % 100 = 0 then 1 else 2 end,
    s.at, s.at
from conversation c join seed_user s using (app_id, user_id);
insert into event (app_id, user_id, conversation_id, seq, usn, kind, author_type, author_id, client_id, digest, body,
    at)
select app_id, user_id, conversation_id, s, (n - 1) * {EVENTS} + s, 'message', 'user', user_id::text,
    md5(conversation_id::text || s)::uuid, '\\x00', '{{"kind":"text","text":"hello"}}', updated_at
from (select *, row_number() over (partition by user_id order by conversation_id) n from conversation) c,
    generate_series(1, {EVENTS}) s;
insert into webhook_endpoint (endpoint_id, app_id, url, events, retry_from, made_as, created_at, updated_at)
select md5('w' || w)::uuid, '00000000-0000-0000-0000-000000000001', 'https://a.example/' || w, '{{message.created}}',
    now(), '', now(), now()
from generate_series(1, 3) w;
insert into webhook_secret (secret_id, endpoint_id, sealed, created_at)
select md5(endpoint_id::text)::uuid, endpoint_id, '\\x00', now() from webhook_endpoint;
insert into webhook_lane (app_id, user_id, conversation_id, endpoint_id, head, done, due_at)
select c.app_id, c.user_id, c.conversation_id, md5('w1')::uuid, 2, case when s.u % 100 = 0 then 1 else 2 end, s.at
from conversation c join seed_user s using (app_id, user_id);
insert into webhook_delivery (app_id, user_id, conversation_id, endpoint_id, place, event_id, type, seq, state,
    queued_at, created_at)
select l.app_id, l.user_id, l.conversation_id, l.endpoint_id, p, md5(l.conversation_id::text || p)::uuid,
    'message.created', p, case when p <= l.done then 'delivered' else 'pending' end, l.due_at, l.due_at
from webhook_lane l, generate_series(1, 2) p;
insert into action_definition (definition_id, app_id, name, title, url, parameters, made_as, created_at, updated_at)
select md5('a' || a)::uuid, '00000000-0000-0000-0000-000000000001', 'refund' || a, 'Refund', 'https://a.example/',
    '{{}}', '', now(), now()
from generate_series(1, 3) a;
insert into action (app_id, user_id, action_id, conversation_id, listed_as, definition_id, name, title, parameters,
    state, requested_by, requested_at, made_as, since, due_at, updated_at)
select c.app_id, c.user_id, md5('a' || c.conversation_id)::uuid, c.conversation_id, md5('l' || c.conversation_id)::uuid,
    md5('a1')::uuid, 'refund1', 'Refund', '{{}}', case when s.u % 100 = 0 then 'unknown' else 'done' end,
    gen_random_uuid(), s.at, '', s.at, case when s.u % 100 = 0 then s.at end, s.at
from conversation c join seed_user s using (app_id, user_id);
"""


@pytest.fixture(scope="module")
def seeded(postgres: PostgresForTests) -> Iterator[str]:
    """A migrated database with a past, for all tests of this file: they only look."""
    with postgres.fresh_database() as url:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(_seed(url))
        yield url


async def _seed(url: str) -> None:
    await migrate(url, SystemClock())
    connection = await asyncpg.connect(url)
    await connection.execute(SEED)
    await connection.execute("analyze")
    await connection.close()


async def plan_of(url: str, query: Query) -> str:
    """How the statement is carried out when it has been prepared and used for a while."""
    connection = await asyncpg.connect(url, server_settings={"jit": "off"})
    try:
        await connection.execute(f"prepare seen as {query.sql}")
        arguments = VALUES.get(query.name)
        if query.name.startswith("list_inbox"):
            await connection.execute("set plan_cache_mode = force_custom_plan")
        if arguments is None:
            await connection.execute("set plan_cache_mode = force_generic_plan")
            values = max((int(number) for number in re.findall(r"\$(\d+)", query.sql)), default=0)
            arguments = f"({', '.join(['null'] * values)})" if values else ""
        for _ in range(8):  # after five times PostgreSQL decides whether one plan is good enough for all values
            await connection.fetch(f"explain execute seen{arguments}")
        rows = await connection.fetch(f"explain execute seen{arguments}")
        return "\n".join(row[0] for row in rows)
    finally:
        await connection.close()


def read_whole(plan: str) -> list[str]:
    """The large tables that a plan reads from end to end."""
    return [table for table in re.findall(r"Seq Scan on (\w+)", plan) if table in LARGE]


@pytest.mark.parametrize("query", load_queries().values(), ids=lambda query: query.name)
async def test_no_large_table_is_read_from_end_to_end(seeded: str, query: Query) -> None:
    plan = await plan_of(seeded, query)
    assert read_whole(plan) == [], plan


@pytest.mark.parametrize("name", ["append_known", "write_log", "load_heads"])
async def test_a_batch_finds_conversations_by_their_whole_key(seeded: str, name: str) -> None:
    """PostgreSQL 18 can skip through an index that has the id in its last place, which reads much more."""
    plan = await plan_of(seeded, load_queries()[name])
    found = re.findall(r"Scan using (\w+) on conversation c .*\n\s+Index Cond: (.*)", plan)
    assert [(index, condition.count(" = ")) for index, condition in found] == [("conversation_pkey", 3)], plan


async def test_a_statement_without_an_index_would_be_found(seeded: str) -> None:
    missing = Query("missing", "user", "select 1 from event where kind = $1 and author_id = $2", "nowhere")
    assert read_whole(await plan_of(seeded, missing)) == ["event"]

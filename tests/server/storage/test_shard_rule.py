"""Rule 3 of the architecture: the end user is the shard. Read from the schema and from the queries themselves."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from server.storage.queries import Query, load_queries

SCHEMA = (resources.files("server.storage") / "sql" / "schema.sql").read_text(encoding="utf-8")
KINDS = {"user", "directory", "reference", "local"}

# Looking across the users of an app, or over everything, is for these alone, and each says why.
ACROSS = {
    "list_inbox_by_opened": "the inbox lists an app's conversations",
    "list_inbox_by_updated": "the inbox lists an app's conversations",
    "list_expired_conversations": "retention looks over everything, every ten minutes",
    "list_waiting": "the queue of an app",
    "list_recent_waits": "how long answers of an app took",
    "list_touched_since": "the sweep over watched inboxes, every few seconds",
    "lock_token_devices": "a token has one owner across users; once a registration",
    "strip_push_token": "a token has one owner across users; once a registration",
    "claim_pushes": "workers take whatever is due",
    "oldest_push": "health",
    "claim_webhooks": "workers take whatever is due",
    "resume_webhooks": "an app switches its endpoint on again",
    "oldest_webhook": "health",
    "list_webhook_deliveries": "an app looks after its endpoint",
    "find_webhook_delivery": "an app looks after its endpoint",
    "purge_webhook_deliveries": "retention looks over everything, every ten minutes",
    "claim_actions": "workers take whatever is due",
    "oldest_action": "health",
    "find_action": "an agent names an action by its id alone",
    "list_actions": "what waits for approval in an app",
    "list_stale_statistics": "the planner's picture of each table, every few seconds",
}


def strip_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql)


def tables() -> dict[str, tuple[str, str]]:
    """name → (shard kind, definition)"""
    found = {}
    for match in re.finditer(r"-- shard: (\w+)\ncreate table (\w+) \((.*?)\n\);", SCHEMA, re.DOTALL):
        found[match[2]] = (match[1], match[3])
    return found


def breaks_of_table(name: str, kind: str, definition: str, schema: str) -> list[str]:
    """What is wrong with a user-sharded table: a missing column, or a unique key that spans shards."""
    if kind != "user":
        return []
    broken = [f"{name} lacks {column}" for column in ("app_id", "user_id") if f"\n    {column} " not in definition]
    keys = re.findall(r"(?:primary key|unique) \(([^)]*)\)", definition)
    keys += re.findall(rf"create unique index \w+ on {name}\s*\(([^)]*)\)", schema)
    broken += [f"{name}: unique ({key}) spans shards" for key in keys if not {"app_id", "user_id"} <= set(_names(key))]
    if re.search(r"^\s+\w+ [^,\n]*(primary key|unique)", definition, re.MULTILINE):
        broken.append(f"{name}: a unique column spans shards")
    return broken


def breaks_of_query(query: Query, sharded: set[str]) -> list[str]:
    """A query that touches a user's rows names app and user, unless its scope says that it looks across."""
    sql = strip_comments(query.sql)
    touched = {table for table in sharded if re.search(rf"\b(?:from|join|into|update)\s+{table}\b", sql)}
    if query.scope in ("app", "system"):
        return [] if query.name in ACROSS else [f"{query.name} looks across users and is not on the list"]
    if query.scope in ("reference", "directory"):
        return [f"{query.name} ({query.scope}) touches {table}" for table in touched]
    if not touched:
        return [f"{query.name} says it is a user's and touches no table of users"]
    broken = []
    for table in touched:
        insert = re.search(rf"insert into {table}\b[^(]*\(([^)]*)\)", sql)
        if insert:
            if not {"app_id", "user_id"} <= set(_names(insert[1])):
                broken.append(f"{query.name}: insert into {table} without app_id and user_id")
            continue
        alias = re.search(rf"\b(?:from|join|update)\s+{table}\b(?:\s+(?:as\s+)?(\w+))?", sql)
        assert alias
        name = alias[1] if alias[1] not in (None, "set", "where", "join", "left", "on", "order") else None
        for column in ("app_id", "user_id"):
            wanted = rf"\b{name}\.{column}\s*=" if name else rf"(?<![.\w]){column}\s*="
            flipped = rf"=\s*{name}\.{column}\b" if name else None
            if not re.search(wanted, sql) and not (flipped and re.search(flipped, sql)):
                broken.append(f"{query.name}: {table} is not narrowed by {column}")
    return broken


def _names(key: str) -> list[str]:
    return [part.strip().split()[0] for part in key.split(",") if part.strip()]


def sharded_tables() -> set[str]:
    return {name for name, (kind, _) in tables().items() if kind == "user"}


def test_every_table_says_what_it_is() -> None:
    created = re.findall(r"create table (\w+)", SCHEMA)
    assert sorted(created) == sorted(tables())
    assert {kind for kind, _ in tables().values()} <= KINDS


def test_tables_of_users_are_keyed_by_app_and_user() -> None:
    broken = [line for name, (kind, body) in tables().items() for line in breaks_of_table(name, kind, body, SCHEMA)]
    assert broken == []


@pytest.mark.parametrize("query", load_queries().values(), ids=lambda query: query.name)
def test_every_query_keeps_to_its_scope(query: Query) -> None:
    assert breaks_of_query(query, sharded_tables()) == []


def test_the_list_of_those_that_look_across_is_not_longer_than_it_must_be() -> None:
    across = {query.name for query in load_queries().values() if query.scope in ("app", "system")}
    assert across == set(ACROSS)


def test_the_rule_finds_a_table_that_breaks_it() -> None:
    assert breaks_of_table("t", "user", "\n    app_id uuid,\n    x int unique,\n    primary key (app_id)", "") == [
        "t lacks user_id",
        "t: unique (app_id) spans shards",
        "t: a unique column spans shards",
    ]
    assert breaks_of_table("t", "user", "\n    app_id uuid\n    user_id uuid", "create unique index i on t (x)")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from event e where e.app_id = $1",
        "update conversation set x = 1 where conversation_id = $1",
        "insert into event (app_id, seq) values ($1, $2)",
        "delete from event where seq = $1",
        "select 1 from event e join conversation c on c.app_id = e.app_id and c.topic = e.kind where c.app_id = $1",
    ],
)
def test_the_rule_finds_a_query_that_breaks_it(sql: str) -> None:
    assert breaks_of_query(Query("q", "user", sql, "q.sql"), sharded_tables())


def test_queries_of_reference_scope_may_not_touch_users() -> None:
    query = Query("q", "reference", "select * from end_user where app_id = $1 and user_id = $2", "q.sql")
    assert breaks_of_query(query, sharded_tables()) == ["q (reference) touches end_user"]

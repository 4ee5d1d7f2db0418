"""Loads the named queries of `sql/queries/*.sql`.

A query stands under two comment lines and a description:

    -- name: lock_users
    -- scope: user
    -- What it does and why.

`scope` is the shard rule made visible (docs/storage.md): `user` names both app_id and user_id of one or more users;
`app` lists across the users of one app; `directory` looks one id up; `reference` touches only small shared tables;
`system` is a worker's or a sweep's look over everything that is due. A test holds each query to its scope.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Literal, cast

import msgspec

Scope = Literal["user", "app", "directory", "reference", "system"]

_HEAD = re.compile(r"^-- name: (\w+)\n-- scope: (\w+)\n", re.MULTILINE)


class Query(msgspec.Struct, frozen=True):
    name: str
    scope: Scope
    sql: str
    source: str


def load_queries() -> dict[str, Query]:
    """Every query by name. Raises ValueError for a name that is used twice."""
    queries: dict[str, Query] = {}
    folder = resources.files("server.storage") / "sql" / "queries"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        for query in split(file.read_text(encoding="utf-8"), file.name):
            if query.name in queries:
                raise ValueError(f"two queries are called {query.name}: {queries[query.name].source} and {file.name}")
            queries[query.name] = query
    return queries


def split(text: str, source: str) -> list[Query]:
    """The queries of one file."""
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [
        Query(head[1], cast("Scope", head[2]), _statement(text[head.end() : end]), source)
        for head, end in zip(heads, ends, strict=True)
    ]


def _statement(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().rstrip(";")

"""Apps, the keys that sign their users' tokens, and their server keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record

    from server.storage.database import Database, Session


class App(msgspec.Struct, frozen=True):
    app_id: UUID
    name: str


class AppKey(msgspec.Struct, frozen=True):
    """`material`: an encrypted HS256 secret, or a public key in PEM."""

    app_id: UUID
    kid: str
    alg: str
    material: bytes


def _app(row: Record) -> App:
    return App(row["app_id"], row["name"])


def _key(row: Record) -> AppKey:
    return AppKey(row["app_id"], row["kid"], row["alg"], row["material"])


async def insert_app(session: Session, app: App, at: datetime) -> None:
    await session.run("insert_app", app.app_id, app.name, at)


async def insert_key(session: Session, key: AppKey, at: datetime) -> None:
    await session.run("insert_app_key", key.app_id, key.kid, key.alg, key.material, at)


async def insert_server_key(session: Session, key_hash: bytes, app_id: UUID, name: str, at: datetime) -> None:
    await session.run("insert_server_key", key_hash, app_id, name, at)


async def find_app(database: Database, app_id: UUID) -> App | None:
    row = await database.row("find_app", app_id)
    return _app(row) if row else None


async def list_apps(database: Database) -> list[App]:
    return [_app(row) for row in await database.rows("list_apps")]


async def find_key(database: Database, app_id: UUID, kid: str) -> AppKey | None:
    row = await database.row("find_app_key", app_id, kid)
    return _key(row) if row else None


async def list_keys(database: Database, app_id: UUID) -> list[AppKey]:
    return [_key(row) for row in await database.rows("list_app_keys", app_id)]


async def find_by_server_key(database: Database, key_hash: bytes) -> App | None:
    row = await database.row("find_server_key", key_hash)
    return _app(row) if row else None


async def find_sealed_secret(database: Database) -> bytes | None:
    """Any stored secret, sealed."""
    sealed: bytes | None = await database.value("find_sealed_secret")
    return sealed

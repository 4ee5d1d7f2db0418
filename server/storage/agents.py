"""Agents, their memberships and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from server.domain.agents import Agent, Membership, Role

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from asyncpg import Record

    from server.storage.database import Database, Session


class Credentials(msgspec.Struct, frozen=True):
    """What a log-in is checked against; `password_hash` is None for one who cannot log in with a password."""

    agent: Agent
    password_hash: str | None


def _agent(row: Record, memberships: list[Record] | None = None) -> Agent:
    return Agent(
        agent_id=row["agent_id"],
        email=row["email"],
        name=row["name"],
        avatar_url=row["avatar_url"],
        memberships={
            each["app_id"]: Membership(each["app_id"], each["name"], Role(each["role"])) for each in memberships or ()
        },
    )


async def upsert(session: Session, agent: Agent, password_hash: str | None, at: datetime) -> Agent:
    """Make the agent, or find the one with this e-mail address; a given password replaces the known one."""
    row = await session.row(
        "upsert_agent", agent.agent_id, agent.email, agent.name, agent.avatar_url, password_hash, at
    )
    assert row is not None
    return _agent(row)


async def put_membership(session: Session, app_id: UUID, agent_id: UUID, role: Role, at: datetime) -> None:
    await session.run("put_membership", app_id, agent_id, role.value, at)


async def insert_token(
    session: Session, token_hash: bytes, agent_id: UUID, kind: str, at: datetime, expires_at: datetime | None
) -> None:
    await session.run("insert_agent_token", token_hash, agent_id, kind, at, expires_at)


async def delete_token(database: Database, token_hash: bytes) -> None:
    await database.run("delete_agent_token", token_hash)


async def delete_expired_tokens(database: Database, now: datetime) -> int:
    return await database.run("delete_expired_agent_tokens", now)


async def find_by_token(database: Database, token_hash: bytes, now: datetime) -> tuple[Agent, str] | None:
    """The agent behind a token that is valid now, and the token's kind: `token` or `session`."""
    async with database.session() as session:
        row = await session.row("find_agent_by_token", token_hash, now)
        if row is None:
            return None
        memberships = await session.rows("list_memberships", row["agent_id"])
    return msgspec.structs.replace(_agent(row, memberships), expires_at=row["expires_at"]), row["kind"]


async def find_by_email(database: Database, email: str) -> Credentials | None:
    async with database.session() as session:
        row = await session.row("find_agent_by_email", email)
        if row is None:
            return None
        memberships = await session.rows("list_memberships", row["agent_id"])
    return Credentials(_agent(row, memberships), row["password_hash"])


async def find_member(database: Database, app_id: UUID, agent_id: UUID) -> Agent | None:
    """An agent, if it works for the app."""
    row = await database.row("find_member", app_id, agent_id)
    return _agent(row) if row else None


async def list_members(database: Database, app_id: UUID) -> list[tuple[Agent, Role]]:
    return [(_agent(row), Role(row["role"])) for row in await database.rows("list_members", app_id)]

"""Agents: making them, and finding out who is at the door."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from server.domain.agents import Agent, Role, check_email
from server.domain.errors import BadRequest, NotFound, Unauthorized
from server.domain.ids import AGENT_TOKEN_PREFIX, SESSION_PREFIX, new_id, new_secret, secret_hash
from server.storage import agents

if TYPE_CHECKING:
    from uuid import UUID

    from server.clock import Clock
    from server.services.rates import Rates
    from server.storage.database import Database

SESSION_LIFETIME = timedelta(hours=12)
AT_ONCE = 2
"""Password checks at a time: each takes a core for some 50 ms and 64 MiB."""


class NewAgent(msgspec.Struct, frozen=True):
    """`token` and `password` are shown here and never again."""

    agent: Agent
    token: str
    password: str


class Agents:
    """Agents and their credentials. Passwords are hashed with Argon2id, in a thread, a few at a time."""

    def __init__(self, database: Database, clock: Clock, attempts: Rates) -> None:
        self._database = database
        self._clock = clock
        self._attempts = attempts
        self._hasher = PasswordHasher()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._decoy: str | None = None

    async def create(
        self, email: str, app_id: UUID, role: str = "agent", *, name: str | None = None, password: str | None = None
    ) -> NewAgent:
        """Make an agent of an app, or give an existing one (by e-mail address) a new password, token and role."""
        email = check_email(email)
        try:
            checked_role = Role(role)
        except ValueError:
            raise BadRequest(f"`role` must be one of {', '.join(Role)}.", field="role") from None
        password = password or secrets.token_urlsafe(12)
        token = new_secret(AGENT_TOKEN_PREFIX)
        hashed = await self._hash(password)
        now = self._clock.now()
        wanted = Agent(agent_id=new_id(now), email=email, name=name or email.partition("@")[0])
        async with self._database.transaction() as session:
            agent = await agents.upsert(session, wanted, hashed, now)
            await agents.put_membership(session, app_id, agent.agent_id, checked_role, now)
            await agents.insert_token(session, secret_hash(token), agent.agent_id, "token", now, None)
        return NewAgent(agent, token, password)

    async def log_in(self, email: str, password: str) -> tuple[Agent, str]:
        """The agent and a session secret for a cookie. Raises Unauthorized, or RateLimited after many attempts."""
        email = email.strip().lower()
        self._attempts.take(f"login:{email}")
        found = await agents.find_by_email(self._database, email) if len(email) <= 254 and "\x00" not in email else None
        # An unknown address costs as much time as a known one, so that addresses cannot be found out.
        hashed = found.password_hash if found and found.password_hash else await self._decoy_hash()
        fits = await self._verify(hashed, password)
        if found is None or not fits or found.password_hash is None:
            raise Unauthorized("E-mail address or password is wrong.")
        secret = new_secret(SESSION_PREFIX)
        now = self._clock.now()
        async with self._database.session() as session:
            await agents.insert_token(
                session, secret_hash(secret), found.agent.agent_id, "session", now, now + SESSION_LIFETIME
            )
        return msgspec.structs.replace(found.agent, expires_at=now + SESSION_LIFETIME), secret

    async def log_out(self, secret: str) -> None:
        await agents.delete_token(self._database, secret_hash(secret))

    async def by_token(self, token: str) -> Agent:
        """The agent behind an API token (`dba_…`). Raises Unauthorized."""
        return await self._find(token, AGENT_TOKEN_PREFIX, "token")

    async def by_session(self, secret: str) -> Agent:
        """The agent behind a console session. Raises Unauthorized."""
        return await self._find(secret, SESSION_PREFIX, "session")

    async def member(self, app_id: UUID, agent_id: UUID) -> Agent:
        found = await agents.find_member(self._database, app_id, agent_id)
        if found is None:
            raise NotFound("There is no such agent in this app.", field="agent")
        return found

    async def members(self, app_id: UUID) -> list[tuple[Agent, Role]]:
        return await agents.list_members(self._database, app_id)

    async def forget_expired(self) -> None:
        """Delete sessions that have run out."""
        await agents.delete_expired_tokens(self._database, self._clock.now())

    async def _find(self, secret: str, prefix: str, kind: str) -> Agent:
        found = None
        if secret.startswith(prefix):
            found = await agents.find_by_token(self._database, secret_hash(secret), self._clock.now())
        if found is None or found[1] != kind:
            raise Unauthorized("This needs an agent's token (dba_…) or a console session that has not expired.")
        return found[0]

    async def _hash(self, password: str) -> str:
        async with self._at_once:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _verify(self, hashed: str, password: str) -> bool:
        async with self._at_once:
            try:
                return await asyncio.to_thread(self._hasher.verify, hashed, password)
            except (Argon2Error, InvalidHashError):
                return False

    async def _decoy_hash(self) -> str:
        if self._decoy is None:
            self._decoy = await self._hash(secrets.token_urlsafe(12))
        return self._decoy

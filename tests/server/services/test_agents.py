"""Agents: logging in, tokens, sessions, and which apps they work for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest
from argon2 import PasswordHasher

from server.domain.agents import Role
from server.domain.errors import BadRequest, NotFound, RateLimited, Unauthorized
from server.services import agents as service
from server.services.agents import SESSION_LIFETIME

if TYPE_CHECKING:
    from tests.support.services import World


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real password hash takes 50 ms of a core, by design; these take none."""
    monkeypatch.setattr(service, "PasswordHasher", partial(PasswordHasher, time_cost=1, memory_cost=64))


def test_a_real_hash_is_expensive() -> None:
    # OWASP's Password Storage Cheat Sheet: Argon2id with 19 MiB and two rounds, or more.
    assert PasswordHasher().memory_cost >= 19 * 1024
    assert PasswordHasher().time_cost >= 2


async def test_a_new_agent_logs_in_with_the_password_shown_once(world: World) -> None:
    app = (await world.app()).app
    made = await world.agents.create(" Robin@Example.com", app.app_id, "supervisor", name="Robin")
    agent, secret = await world.agents.log_in("ROBIN@example.com ", made.password)
    assert (agent.agent_id, agent.name, agent.email) == (made.agent.agent_id, "Robin", "robin@example.com")
    assert agent.memberships[app.app_id].role is Role.SUPERVISOR
    assert agent.memberships[app.app_id].app_name == "Kestrel"
    assert secret.startswith("dbc_")
    assert (await world.agents.by_session(secret)).agent_id == agent.agent_id
    assert (await world.agents.by_token(made.token)).agent_id == agent.agent_id
    assert len(made.password) >= 16


async def test_nothing_that_opens_a_door_is_in_the_database(world: World) -> None:
    made = await world.agents.create("robin@example.com", (await world.app()).app.app_id)
    _, secret = await world.agents.log_in("robin@example.com", made.password)
    async with world.database.session() as session:
        rows = [
            *await session.connection.fetch("select * from agent"),
            *await session.connection.fetch("select * from agent_token"),
        ]
    dump = repr([dict(row) for row in rows])
    for secret_text in (made.password, made.token, secret):
        assert secret_text not in dump
    assert "$argon2id$" in dump


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(world: World) -> None:
    made = await world.agents.create("robin@example.com", (await world.app()).app.app_id)
    answers = []
    for email, password in (
        ("robin@example.com", made.password + "x"),
        ("robin@example.com", ""),
        ("nobody@example.com", made.password),
        ("x" * 300, made.password),
        ("robin@example.com\x00", made.password),
        ("", ""),
    ):
        with pytest.raises(Unauthorized) as refused:
            await world.agents.log_in(email, password)
        answers.append((refused.value.message, refused.value.field))
    assert len(set(answers)) == 1


async def test_an_unknown_address_costs_a_password_check_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or addresses could be found out with a stopwatch."""
    checked: list[str] = []
    verify = world.agents._verify

    async def counting(hashed: str, password: str) -> bool:
        checked.append(hashed)
        return await verify(hashed, password)

    monkeypatch.setattr(world.agents, "_verify", counting)
    without_password = await world.agent(await world.app())
    for email in ("nobody@example.com", without_password.email, "\x00"):
        with pytest.raises(Unauthorized):
            await world.agents.log_in(email, "guess")
    assert len(checked) == 3
    assert all(hashed.startswith("$argon2id$") for hashed in checked)


async def test_guessing_is_slowed_down_by_address_and_not_for_others(world: World) -> None:
    app = (await world.app()).app.app_id
    robin = await world.agents.create("robin@example.com", app)
    sam = await world.agents.create("sam@example.com", app)
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await world.agents.log_in("robin@example.com", "guess")
    for spelling in ("robin@example.com", " ROBIN@example.com"):
        with pytest.raises(RateLimited) as refused:
            await world.agents.log_in(spelling, robin.password)
        assert 0 < refused.value.retry_after <= 30
    await world.agents.log_in("sam@example.com", sam.password)
    world.clock.move(30)
    await world.agents.log_in("robin@example.com", robin.password)


async def test_a_session_ends_after_twelve_hours_and_by_logging_out(world: World) -> None:
    made = await world.agents.create("robin@example.com", (await world.app()).app.app_id)
    agent, first = await world.agents.log_in("robin@example.com", made.password)
    _, second = await world.agents.log_in("robin@example.com", made.password)
    assert agent.expires_at == world.clock.now() + SESSION_LIFETIME
    await world.agents.log_out(first)
    with pytest.raises(Unauthorized):
        await world.agents.by_session(first)
    world.clock.move(SESSION_LIFETIME.total_seconds() - 1)
    assert (await world.agents.by_session(second)).expires_at == agent.expires_at
    world.clock.move(1)
    with pytest.raises(Unauthorized, match="expired"):
        await world.agents.by_session(second)
    assert (await world.agents.by_token(made.token)).expires_at is None


async def test_expired_sessions_are_deleted_and_nothing_else(world: World) -> None:
    made = await world.agents.create("robin@example.com", (await world.app()).app.app_id)
    await world.agents.log_in("robin@example.com", made.password)
    world.clock.move(1)
    _, later = await world.agents.log_in("robin@example.com", made.password)
    world.clock.move(SESSION_LIFETIME.total_seconds() - 0.5)
    await world.agents.forget_expired()
    await world.agents.by_session(later)
    await world.agents.by_token(made.token)
    async with world.database.session() as session:
        assert await session.connection.fetchval("select count(*) from agent_token") == 2


async def test_a_token_is_no_session_and_a_session_no_token(world: World) -> None:
    made = await world.agents.create("robin@example.com", (await world.app()).app.app_id)
    _, session = await world.agents.log_in("robin@example.com", made.password)
    for wrong in (session, "", "dba_", made.token[:-1], made.token + " ", "dba_\x00"):
        with pytest.raises(Unauthorized):
            await world.agents.by_token(wrong)
    with pytest.raises(Unauthorized):
        await world.agents.by_session(made.token)


async def test_the_same_address_again_is_the_same_agent_with_a_new_password(world: World) -> None:
    kestrel, heron = await world.app("Kestrel"), await world.app("Heron")
    first = await world.agents.create("robin@example.com", kestrel.app.app_id)
    second = await world.agents.create("Robin@example.com", heron.app.app_id, "admin")
    assert second.agent.agent_id == first.agent.agent_id
    with pytest.raises(Unauthorized):
        await world.agents.log_in("robin@example.com", first.password)
    agent, _ = await world.agents.log_in("robin@example.com", second.password)
    assert {app: membership.role for app, membership in agent.memberships.items()} == {
        kestrel.app.app_id: Role.AGENT,
        heron.app.app_id: Role.ADMIN,
    }
    for made in (first, second):
        assert (await world.agents.by_token(made.token)).agent_id == agent.agent_id


async def test_a_disabled_agent_is_nobody(world: World) -> None:
    app = (await world.app()).app.app_id
    made = await world.agents.create("robin@example.com", app)
    _, session_secret = await world.agents.log_in("robin@example.com", made.password)
    async with world.database.session() as session:
        await session.connection.execute("update agent set disabled_at = now()")
    with pytest.raises(Unauthorized):
        await world.agents.log_in("robin@example.com", made.password)
    with pytest.raises(Unauthorized):
        await world.agents.by_session(session_secret)
    with pytest.raises(Unauthorized):
        await world.agents.by_token(made.token)
    with pytest.raises(NotFound):
        await world.agents.member(app, made.agent.agent_id)
    assert await world.agents.members(app) == []


async def test_only_members_are_found_in_an_app(world: World) -> None:
    kestrel, heron = await world.app("Kestrel"), await world.app("Heron")
    robin = await world.agent(kestrel, name="Robin", role=Role.ADMIN)
    alex = await world.agent(kestrel, heron, name="Alex")
    members = await world.agents.members(kestrel.app.app_id)
    assert [(agent.name, role) for agent, role in members] == [("Alex", Role.AGENT), ("Robin", Role.ADMIN)]
    assert (await world.agents.member(heron.app.app_id, alex.agent_id)).name == "Alex"
    for agent_id in (robin.agent_id, UUID(int=1)):
        with pytest.raises(NotFound):
            await world.agents.member(heron.app.app_id, agent_id)


async def test_what_no_agent_can_be_made_of(world: World) -> None:
    app = (await world.app()).app.app_id
    with pytest.raises(BadRequest) as refused:
        await world.agents.create("robin", app)
    assert refused.value.field == "email"
    with pytest.raises(BadRequest, match="agent, supervisor, admin") as refused:
        await world.agents.create("robin@example.com", app, "owner")
    assert refused.value.field == "role"
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await world.agents.create("robin@example.com", UUID(int=1))
    async with world.database.session() as session:
        assert await session.connection.fetchval("select count(*) from agent") == 0, "all or nothing"

"""Actions at a real endpoint that honours the key, by workers that die between any two steps (docs/actions.md)."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from server.clock import SystemClock
from server.config import Config
from server.domain.action import State
from server.domain.transaction import Amount, Transaction
from server.outgoing.aiohttp import AiohttpOutgoing
from server.services.action_calls import LEASE, ActionCalls
from server.services.action_definitions import Wanted
from server.services.directory import Place
from server.services.people import Facts
from server.telemetry import get_logger
from server.wiring import Node
from tests.server.services.action_stage import SCHEMA, Stage, stage_on
from tests.support.refunds import Refunds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from server.domain.action import Action
    from server.domain.intents import AnyIntent
    from server.outgoing.interface import Call, Outcome, Outgoing
    from server.storage.actions import Claimed
    from server.storage.batch import Outcome as Written

SECRET = "a secret key for tests, long enough"
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
BOUNDARIES = ("claimed", "looked", "sent", "answered", "written")


class Killed(BaseException):
    """The worker is no more."""


class Mortal:
    """A worker that dies at a boundary, around real parts."""

    def __init__(self, stage: Stage, outgoing: Outgoing, app: Refunds) -> None:
        self.stage = stage
        self.outgoing = outgoing
        self.app = app
        self.dies_at: str | None = None
        world = stage.world
        parts: Any = self
        self.calls = ActionCalls(
            world.database, parts, parts, world.vault, world.clock, world.metrics, get_logger("test"), luck=lambda: 0.0
        )

    async def post(self, call: Call) -> Outcome:
        if self.dies_at == "looked":
            raise Killed
        if self.dies_at == "sent":
            await self._die_under_way(call)
        outcome = await self.outgoing.post(call)
        if self.dies_at == "answered":
            raise Killed
        return outcome

    async def _die_under_way(self, call: Call) -> None:
        self.app.reached.clear()
        self.app.hold.clear()
        calling = asyncio.ensure_future(self.outgoing.post(call))
        reached = asyncio.ensure_future(self.app.reached.wait())
        await asyncio.wait({calling, reached}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        for task in (calling, reached):
            task.cancel()
        await asyncio.gather(calling, reached, return_exceptions=True)
        self.app.hold.set()
        raise Killed

    async def append(self, intents: Sequence[AnyIntent]) -> list[Written]:
        outcomes = await self.stage.world.writer.append(intents)
        if self.dies_at == "written":
            raise Killed
        return outcomes

    async def work(self, dies_at: str | None) -> list[Claimed]:
        """What is due now, until it is done or the worker is dead. Returns what was claimed."""
        self.dies_at = dies_at
        found = await self.calls.claim(1)
        for claimed in found:
            if dies_at == "claimed":
                return found
            try:
                await self.calls.ask(claimed)
            except Killed:
                return found
        return found


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with stage_on(database_url) as ready:
        yield ready


async def pressed(stage: Stage, url: str, *, count: int) -> list[Action]:
    # The world's clock stands in 2030, and nothing outside is allowed there: the endpoint is put in place by hand.
    made = await stage.define(allow_parallel=True)
    await stage.world.database.pool.execute(
        "update action_definition set url = $2 where definition_id = $1", made.definition.definition_id, url
    )
    return [await stage.press() for _ in range(count)]


async def settle(stage: Stage, mortal: Mortal) -> None:
    """Healthy workers, for as long as something is due within an hour."""
    for _ in range(12):
        while await mortal.work(None):
            pass
        stage.world.clock.move(300)


async def check(stage: Stage, app: Refunds, actions: list[Action]) -> None:
    keys = {str(action.action_id) for action in actions}
    assert app.effects == dict.fromkeys(keys, 1)
    assert {len(bodies) for bodies in app.bodies.values()} == {1}, "a repeat said something else"
    for action in actions:
        assert (await stage.now(action)).state is State.DONE
    thread = [(event.kind, msgspec.json.decode(event.body)) for event in await stage.thread()]
    done = [
        body["action"]["id"] for kind, body in thread if kind == "action.updated" and body["action"]["state"] == "done"
    ]
    assert sorted(done) == sorted(keys)
    assert sum(kind == "message" for kind, _ in thread) == len(actions)


async def test_killed_at_every_boundary_twice_it_happens_once(stage: Stage) -> None:
    app = Refunds()
    outgoing = AiohttpOutgoing(SystemClock(), [LOOPBACK])
    try:
        async with app.listening() as url:
            mortal = Mortal(stage, outgoing, app)
            actions: list[Action] = []
            for deaths in itertools.product(BOUNDARIES, repeat=2):
                if not actions:
                    actions += await pressed(stage, url, count=1)
                else:
                    actions.append(await stage.press())
                for nth, dies_at in enumerate(deaths):
                    claimed = await mortal.work(dies_at)
                    if nth == 0:
                        assert [each.action_id for each in claimed] == [actions[-1].action_id]
                    assert await mortal.calls.claim(1) == [], "somebody else's while the lease holds"
                    stage.world.clock.move(LEASE.total_seconds() + 1)
                await settle(stage, mortal)
            await check(stage, app, actions)
    finally:
        await outgoing.close()


@pytest.mark.parametrize("seed", range(3))
async def test_any_trouble_at_both_ends(stage: Stage, seed: int) -> None:
    luck = random.Random(seed)
    app = Refunds(lambda _key: luck.choice([None, None, "lost", "cut", "broken", "pending"]))
    outgoing = AiohttpOutgoing(SystemClock(), [LOOPBACK])
    try:
        async with app.listening() as url:
            mortal = Mortal(stage, outgoing, app)
            actions = await pressed(stage, url, count=15)
            for _ in range(60):
                await mortal.work(luck.choice([None, *BOUNDARIES]))
                stage.world.clock.move(luck.choice([0, 5, LEASE.total_seconds()]))
            app.trouble = lambda _key: None
            await settle(stage, mortal)
            await check(stage, app, actions)
            assert max(app.calls.values()) > 1
    finally:
        await outgoing.close()


async def test_the_worker_of_a_node_asks_by_itself(database_url: str, tmp_path: Path) -> None:
    config = Config.load({"HOME": str(tmp_path), "DESKBELL_ALLOW_PRIVATE_TARGETS": "127.0.0.0/8"})
    node = await Node.open(config, SystemClock(), database_url, SECRET, frozenset({"workers"}))
    app = Refunds()
    try:
        async with app.listening() as url, asyncio.timeout(30):
            services = node.services
            app_id = (await services.apps.create("Kestrel")).app.app_id
            made = await services.action_definitions.create(
                app_id, Wanted(name="refund", title="Refund", url=url, kinds=["ride"], parameters=SCHEMA)
            )
            app.secret = made.secret
            await services.people.put(app_id, "blanca", Facts())
            user = await services.people.find(app_id, "blanca")
            ride = Transaction(id="ride-1", version=1, kind="ride", amount=Amount("9", "EUR"))
            await services.context.put_transaction(app_id, "blanca", ride)
            place = Place(app_id, user.user_id, user.user_id)
            await services.messaging.open(place, user.author)
            account = await services.agents.create("noor@example.org", app_id)
            agent = await services.agents.by_token(account.token)
            listed = (
                await services.actions.press(
                    agent, place.conversation_id, "refund", parameters={"amount": "5"}, transaction="ride-1"
                )
            ).listed
            while listed.action.state is not State.DONE:
                await asyncio.sleep(0.02)
                listed = await services.actions.find(agent, listed.action.action_id)
        assert app.effects == {str(listed.action.action_id): 1}
        assert listed.action.attempts == 1
    finally:
        await node.close()

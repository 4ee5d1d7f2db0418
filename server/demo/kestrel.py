"""Kestrel, a ride-hailing app that exists only in the demo: its customers, its rides, its agent, and some life."""

from __future__ import annotations

import json
import os
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from server.demo.life import Life
from server.demo.rides import CUSTOMERS, OTHERS, QUESTIONS, past_ride
from server.domain.errors import NotFound
from server.domain.ids import new_id
from server.domain.intents import Message
from server.domain.message import Text, from_struct
from server.services.directory import Place
from server.services.people import Facts

if TYPE_CHECKING:
    from pathlib import Path

    from server.wiring import Node

APP_NAME = "Kestrel"
AGENT_EMAIL = "robin@kestrel.example"
AGENT_NAME = "Robin"
RIDES_EACH = 6
TOKEN_LIFETIME = timedelta(hours=24)


class Kestrel:
    """The demo's app. What must be known at the next start (it is shown only once elsewhere) is kept in `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, Any] = {}
        self._node: Node | None = None

    async def settle(self, node: Node) -> None:
        """Make app, agent, customers and rides, unless they are there from an earlier start."""
        self._node = node
        if self._path.exists():
            self._kept = json.loads(self._path.read_text())
            try:
                await node.services.apps.find(UUID(self._kept["app"]))
            except NotFound:
                self._kept = {}
        if not self._kept:
            await self._found(node)

    async def facts(self, base_url: str) -> dict[str, Any]:
        """What `demo --json` prints (http.md, "Command line")."""
        session = await self.session()
        return {
            "url": base_url,
            "desk_url": f"{base_url}/desk",
            "phone_url": f"{base_url}/phone",
            "app": self._kept["app"],
            "server_key": self._kept["server_key"],
            "identity": self._kept["identity"],
            "agent": self._kept["agent"],
            "users": session["users"],
        }

    async def session(self) -> dict[str, Any]:
        """What the demo's own pages need to log in by themselves: fresh tokens of the customers, the agent's login."""
        app_id = UUID(self._kept["app"])
        assert self._node is not None
        users = []
        for external_id, name, _, _ in CUSTOMERS:
            token, _ = await self._node.services.identity.issue(app_id, external_id, TOKEN_LIFETIME)
            users.append({"external_id": external_id, "name": name, "token": token})
        agent = {"email": self._kept["agent"]["email"], "password": self._kept["agent"]["password"]}
        return {"app": self._kept["app"], "name": APP_NAME, "users": users, "agent": agent}

    @property
    def first_thread(self) -> str:
        """The conversation that waits for an answer from the beginning."""
        return str(self._kept["first_thread"])

    def live(self, node: Node) -> None:
        """Let rides go on, and customers ask for help now and then."""
        Life(node, UUID(self._kept["app"])).start()

    async def _found(self, node: Node) -> None:
        made = await node.services.apps.create(APP_NAME)
        app_id = made.app.app_id
        agent = await node.services.agents.create(AGENT_EMAIL, app_id, "admin", name=AGENT_NAME)
        await self._invite_customers(node, app_id)
        thread = await self._open_first_thread(node, app_id)
        self._kept = {
            "app": str(app_id),
            "server_key": made.server_key,
            "identity": {"kid": made.identity.kid, "alg": made.identity.alg, "secret": made.identity.secret},
            "agent": {"email": agent.agent.email, "password": agent.password, "token": agent.token},
            "first_thread": str(thread),
        }
        self._keep()

    async def _invite_customers(self, node: Node, app_id: UUID) -> None:
        rng = random.Random(7)
        now = node.clock.now()
        number = 1000
        rides = []
        for external_id, name, email, locale in CUSTOMERS + OTHERS:
            await node.services.people.put(
                app_id, external_id, Facts(name=name, email=email, locale=locale, properties={"plan": "standard"})
            )
            for ride in range(RIDES_EACH):
                number += 1
                rides.append((external_id, past_ride(rng, number, now, ride * 1.3 + rng.random())))
        await node.services.context.put_transactions(app_id, rides)

    async def _open_first_thread(self, node: Node, app_id: UUID) -> UUID:
        """So that the desk is not empty when it is opened first."""
        external_id = OTHERS[0][0]
        user = await node.services.people.find(app_id, external_id)
        rides = await node.services.context.list_transactions(app_id, external_id, 1)
        topic, lines = QUESTIONS[0]
        place = Place(app_id, user.user_id, new_id(node.clock.now()))
        for position, line in enumerate(lines):
            message = Message(new_id(node.clock.now()), user.author, from_struct(Text(text=line)))
            if position == 0:
                await node.services.messaging.open(
                    place, user.author, topic=topic, transaction_id=rides[0][1].id, first=message
                )
            else:
                await node.services.messaging.post(place, message)
        return place.conversation_id

    def _keep(self) -> None:
        """Written whole or not at all: secrets of the demo, readable by its owner only."""
        draft = self._path.with_suffix(".tmp")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._kept, file)
        draft.replace(self._path)

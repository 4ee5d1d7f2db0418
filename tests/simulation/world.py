"""One run: builds everybody, lets the plan happen, waits until all is well again, and looks."""

from __future__ import annotations

import random
import traceback
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from sdk_protocol.frames import Text
from sdk_protocol.states import ClientState
from server.domain.events import Author, AuthorType
from server.domain.people import EndUser
from server.gateway.translate import snapshot_frame
from server.services.reading import UserState
from server.storage.conversations import Listed
from tests.simulation import tokens
from tests.simulation.agent import Agent
from tests.simulation.bus import Bus
from tests.simulation.database import APP, Database
from tests.simulation.mishaps import MISHAPS
from tests.simulation.node import Node
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.phone import Phone, opening
from tests.simulation.timeline import RunsHot, Timeline

if TYPE_CHECKING:
    from sdk_protocol.frames import Snapshot
    from sdk_protocol.records import OpeningMessage
    from tests.simulation.database import Rows
    from tests.simulation.network import Link
    from tests.simulation.weather import Act, Plan

START = datetime(2030, 1, 1, tzinfo=UTC)
START_S = START.timestamp()
LAST_SPAN_S = 19.0
"""No mishap lasts longer, but for an app that sleeps."""
SETTLES_WITHIN_S = 240.0
LOOK_EVERY_S = 0.5
SWEEP_AT_MOST_S = 2.0
UNTOLD = frozenset({"sweeps", "pages read", "hints stale", "tokens asked for"})
"""Counted, but no line of a story."""


class Finding(NamedTuple):
    """What a run has shown to be wrong."""

    rule: str
    text: str
    at: float


class World:
    def __init__(self, plan: Plan, *, tracing: bool = False) -> None:
        self.plan = plan
        self.climate = climate = plan.climate
        self.timeline = Timeline()
        self.at = self.timeline.at
        self.dice = random.Random(plan.seed + 1_000_003)
        self.counts: dict[str, int] = {}
        self.story: list[str] | None = [] if tracing else None
        self.tokens_away = False
        self.disturbed_until = 0.0
        self._ids = 0
        self.user_ids = [UUID(int=10 + 7 * number) for number in range(climate.users)]
        self._authors = {
            id: Author(AuthorType.USER, str(id), f"user {number}") for number, id in enumerate(self.user_ids)
        }
        self.oracle = Oracle(self)
        self.db = Database(self, self.user_ids)
        self.bus = Bus(self)
        self.nodes: list[Node] = []
        for number in range(climate.nodes):
            self.nodes.append(Node(self, number, climate.node_skew * number))
        self.agents = [Agent(self, number) for number in range(2)]
        self.phones: list[Phone] = []
        for number in range(climate.users * climate.devices):
            skew = climate.device_skew if number % 2 else 0.0
            self.phones.append(Phone(self, number, number % climate.users, skew))

    # -- for everybody -------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.timeline.now

    def wall(self, skew: float) -> float:
        return START_S + self.timeline.now + skew

    def date(self, wall: float) -> datetime:
        return START + timedelta(seconds=wall - START_S)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        if self.story is not None and what not in UNTOLD:
            self.say(what)

    def say(self, what: str) -> None:
        """One line of the story, when it is told."""
        if self.story is not None:
            self.story.append(f"{self.timeline.now:9.3f}  {what}")

    def latency(self) -> float:
        return self.climate.latency * (0.5 + self.dice.random())

    def database_time(self) -> float:
        return self.climate.database * self.dice.random()

    def new_id(self) -> UUID:
        self._ids += 1
        return UUID(int=(0x7000_8000 << 64) + self._ids)

    def words(self, chance: float) -> str:
        """Mostly short; now and then long enough to fill a window by itself."""
        size = chance * 53 % 1
        return f"words {self._ids} " + "x" * (int(size * 3000) if size > 0.95 else int(size * 40))

    def new_message(self, chance: float) -> OpeningMessage:
        return opening(self.new_id(), Text(text=self.words(chance)))

    def user_of(self, token: str) -> UUID:
        return self.user_ids[tokens.user_of(token)]

    def author_of(self, user_id: UUID) -> Author:
        return self._authors[user_id]

    def token_for(self, user: int) -> str:
        """As the app's own server signs it, with the right time."""
        return tokens.token_of(user, self.wall(self.climate.token_life))

    def route(self) -> Node | None:
        """Where the load balancer sends a new socket: to a node that is ready, as far as it knows."""
        ready = [node for node in self.nodes if node.up and not node.draining]
        if not ready or self.dice.random() < 0.05:
            return self.dice.choice(self.nodes)
        return self.dice.choice(ready)

    def snapshot_of(self, rows: Rows) -> Snapshot:
        """One consistent read of everything a phone needs."""
        at = self.date(self.wall(0.0))
        user = EndUser(app_id=APP, user_id=rows.user_id, external_id="u", usn=rows.usn, created_at=START, updated_at=at)
        listed = [
            Listed(conversation=each, external_id="u", user_name=None, assignee=None)
            for each in rows.conversations.values()
        ]
        return snapshot_frame(UserState(self.db.epoch_name, user, listed, []))

    # -- the run -------------------------------------------------------------------------------------------

    def run(self) -> Finding | None:
        """Everything from the first second to the last look. None: nothing was wrong."""
        try:
            for act in self.plan.acts:
                self.at(act.at, None, self._happen, act)
            self.timeline.run(self.climate.horizon + LAST_SPAN_S)
            self._settle()
            self.oracle.settled()
            self._last_word()
        except Violation as violation:
            return self._found(violation.rule, str(violation))
        except RunsHot as hot:
            busy = sorted(self.counts.items(), key=lambda item: -item[1])[:4]
            return self._found("no busy circles", f"{hot}: {busy}")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
            return self._found(f"{type(error).__name__} in {where}", f"{type(error).__name__}: {error} ({where})")
        return None

    def _found(self, rule: str, text: str) -> Finding:
        self.say(f"FOUND {text}")
        return Finding(rule, text, self.now)

    def _settle(self) -> None:
        """The troubles are over. Hints still get lost: without a sweep it would not end."""
        deadline = self.now + SETTLES_WITHIN_S
        while (reason := self.oracle.unsettled()) is not None:
            if self.now >= deadline:
                raise Violation("everything arrives", f"{SETTLES_WITHIN_S:.0f} s after the last trouble {reason}")
            self.timeline.run(self.now + LOOK_EVERY_S)

    def _last_word(self) -> None:
        """S5: with the bus dead, an event is on every connected phone within a sweep."""
        self.bus.dead = True
        began = self.now
        for number in range(len(self.user_ids)):
            self.agents[0].do("agent_post", (number + 0.5) / len(self.user_ids), 0.9)
        written_by = began + 2.0 + 8 * self.climate.database
        while any(agent.pending for agent in self.agents) and self.now < written_by:
            self.timeline.run(self.now + 0.1)
        # An agent whose node is frozen or gone has not been heard: what counts is what was written.
        heads = {user_id: rows.usn for user_id, rows in self.db.users.items()}
        slack = 6 * self.climate.database + 4 * self.climate.latency
        links = [self._well(phone) for phone in self.phones]
        self.timeline.run(self.now + SWEEP_AT_MOST_S + slack)
        for phone, link in zip(self.phones, links, strict=True):
            head = heads[phone.user_id]
            # One that lost its socket, or has not noticed yet that it is dead or choked, has an excuse.
            if link is not None and link is phone.link and link.quiet and phone.disk.usn < head:
                text = f"phone {phone.number} has {phone.disk.usn} of {head} after {self.now - began:.1f} s"
                raise Violation("S5 within a sweep", text)
        self._settle()
        self.oracle.settled()

    @staticmethod
    def _well(phone: Phone) -> Link | None:
        """The phone's link if it is live and nothing is stuck in it."""
        live = phone.session.phase is ClientState.LIVE and phone.link is not None and phone.link.quiet
        return phone.link if live else None

    # -- acts ----------------------------------------------------------------------------------------------

    def _happen(self, act: Act) -> None:
        kind, who, chance = act.kind, act.who, act.chance
        self.say(f"-- {kind} who={who:.3f} chance={chance:.3f} span={act.span}")
        phone = self.phones[int(who * len(self.phones))]
        match kind:
            case "write":
                phone.write(chance, 1 + int(chance * 3))
            case "burst":
                phone.write(chance, 10 + int(chance * 50))
            case "open":
                phone.open(chance)
            case "again":
                phone.repeat(chance, None)
            case "misuse":
                phone.repeat(chance, "something else")
            case "read" | "rate" | "history":
                phone.ask(kind, chance)
            case "agent_post" | "agent_burst" | "agent_note" | "agent_status" | "agent_read":
                self.agents[int(chance * 13) % 2].do(kind, who, chance)
            case _:
                self.counts[kind] = self.counts.get(kind, 0) + 1
                MISHAPS[kind](self, act, phone)


def run(plan: Plan, *, tracing: bool = False) -> tuple[Finding | None, World]:
    """Run a plan from its beginning."""
    world = World(plan, tracing=tracing)
    return world.run(), world

"""Agents: they write through any node and ask again, under the same id, until they know."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from server.domain.conversation import Status
from server.domain.errors import Conflict, DomainError, NotFound, Unavailable
from server.domain.events import Author, AuthorType
from server.domain.intents import AddNote, AnyIntent, Assign, MarkRead, Message, Post, SetStatus
from server.domain.message import Text, from_struct
from server.gateway.connection import ANSWER_WITHIN_S
from tests.simulation.database import APP
from tests.simulation.oracle import Violation

if TYPE_CHECKING:
    from server.domain.numbering import Numbered
    from tests.simulation.world import World

ASK_AGAIN_S = 1.0
STATUSES = (Status.OPEN, Status.PENDING, Status.RESOLVED)


class Agent:
    """`pending`: requests without an answer."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.author = Author(AuthorType.AGENT, str(UUID(int=900 + number)), f"agent {number}")
        self.pending = 0

    def do(self, kind: str, who: float, chance: float) -> None:
        """Something in a conversation that exists."""
        rows = self._world.db.users[self._world.user_ids[int(who * len(self._world.user_ids))]]
        if not rows.conversations or self._world.db.away:
            return
        known = list(rows.conversations.values())
        conversation = known[int(chance * 89 % 1 * len(known))]
        user_id, place = rows.user_id, conversation.conversation_id
        seq = max(1, int(chance * 31 % 1 * (conversation.seq + 1)))
        if kind in ("agent_post", "agent_burst"):
            for number in range(1 if kind == "agent_post" else 3 + int(chance * 25)):
                words = self._world.words(chance + number)
                message = Message(self._world.new_id(), self.author, from_struct(Text(text=words)))
                expected = conversation.seq if number == 0 and chance < 0.3 else None
                self._begin(
                    Post(app_id=APP, user_id=user_id, conversation_id=place, message=message, expected_seq=expected)
                )
        elif kind == "agent_note":
            message = Message(self._world.new_id(), self.author, from_struct(Text(text="between us")))
            self._begin(AddNote(app_id=APP, user_id=user_id, conversation_id=place, message=message))
        elif kind == "agent_read":
            self._begin(
                MarkRead(
                    app_id=APP, user_id=user_id, conversation_id=place, reader="agent", author=self.author, seq=seq
                )
            )
        elif chance < 0.5:
            status = STATUSES[int(chance * 6)]
            self._begin(
                SetStatus(app_id=APP, user_id=user_id, conversation_id=place, author=self.author, status=status)
            )
        else:
            assignee = self.author if chance < 0.8 else None
            self._begin(
                Assign(app_id=APP, user_id=user_id, conversation_id=place, author=self.author, assignee=assignee)
            )

    def _begin(self, intent: AnyIntent) -> None:
        self.pending += 1
        Errand(self._world, self, intent).try_it()


class Errand:
    """One request until its outcome is known."""

    __slots__ = ("_agent", "_done", "_intent", "_tries", "_world")

    def __init__(self, world: World, agent: Agent, intent: AnyIntent) -> None:
        self._world = world
        self._agent = agent
        self._intent = intent
        self._tries = 0
        self._done = False

    def try_it(self) -> None:
        if self._done:
            return
        self._tries += 1
        self._world.at(ANSWER_WITHIN_S, None, self._silence, self._tries)
        node = self._world.route()
        if node is not None and node.up and not node.draining:
            writer, intents = node.writer, [self._intent]
            # On the node's own time: it is void if the node dies before the request arrives.
            node.later(self._world.latency(), writer.append, intents, lambda outcomes: self._answered(outcomes[0]))

    def _silence(self, tries: int) -> None:
        if not self._done and tries == self._tries:
            self._world.count("agents that asked again")
            self.try_it()

    def _answered(self, outcome: Numbered | DomainError) -> None:
        if self._done:
            return
        if isinstance(outcome, Unavailable):
            self._world.at(ASK_AGAIN_S, None, self._again, self._tries)
            return
        self._done = True
        self._agent.pending -= 1
        intent = self._intent
        if isinstance(outcome, DomainError):
            expected = isinstance(outcome, Conflict) or (isinstance(outcome, NotFound) and self._world.db.epoch > 1)
            if not expected:
                raise Violation("nothing is refused", f"an agent hears {outcome.code}: {outcome.message}")
            self._world.count(f"agents hear {outcome.code}")
        elif isinstance(intent, (Post, AddNote)):
            self._world.oracle.agent_acked(intent.message.id, outcome, intent.user_id)

    def _again(self, tries: int) -> None:
        if tries == self._tries:
            self.try_it()

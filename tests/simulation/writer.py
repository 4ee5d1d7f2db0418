"""Group commit, as `server.storage.writer` does it: lanes, batches, and what happens when the database goes away.

One callback for each `await`. A batch is locked and numbered, then its COMMIT is on its way: a node that dies before
that loses it, one that dies after it loses only the answer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from server.domain.errors import DomainError, Unavailable
from server.domain.numbering import Numbered, apply
from server.storage.writer import BATCH, LANES, PATIENCE_S, RETRY_PAUSE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from server.domain.intents import AnyIntent
    from tests.simulation.database import Batch, Logged
    from tests.simulation.node import Node

    Outcome = Numbered | DomainError
    Answer = Callable[[list[Outcome]], None]


class Waiting:
    """Intents of one caller, to be written together and in order."""

    __slots__ = ("answer", "intents")

    def __init__(self, intents: Sequence[AnyIntent], answer: Answer) -> None:
        self.intents = intents
        self.answer = answer


class Writer:
    def __init__(self, node: Node) -> None:
        self._node = node
        self.lanes = [deque[Waiting]() for _ in range(LANES)]
        self.under_way: list[Transaction | None] = [None] * LANES

    def append(self, intents: Sequence[AnyIntent], answer: Answer) -> None:
        """Write `intents` of one user; `answer` gets an outcome for each, after the commit."""
        lane = intents[0].user_id.int % LANES
        self.lanes[lane].append(Waiting(intents, answer))
        if self.under_way[lane] is None:
            self._next(lane)

    def _next(self, lane: int) -> None:
        queue = self.lanes[lane]
        if not queue:
            self.under_way[lane] = None
            return
        self.under_way[lane] = transaction = Transaction(self._node, lane, _take(queue))
        transaction.begin()

    def written(self, lane: int, taken: list[Waiting], outcomes: list[Outcome]) -> None:
        """Answer everyone in the batch, and take the next."""
        position = 0
        for waiting in taken:
            mine = outcomes[position : position + len(waiting.intents)]
            position += len(waiting.intents)
            waiting.answer(mine)
        self._next(lane)

    def died(self) -> None:
        """The node is gone: its connections to the database close, what was not yet committed is rolled back."""
        for transaction in self.under_way:
            if transaction is not None and not transaction.committing:
                self._node.world.db.release(transaction)
        self.lanes = [deque[Waiting]() for _ in range(LANES)]
        self.under_way = [None] * LANES


def _take(queue: deque[Waiting]) -> list[Waiting]:
    taken = [queue.popleft()]
    size = len(taken[0].intents)
    while queue and size + len(queue[0].intents) <= BATCH:
        size += len(queue[0].intents)
        taken.append(queue.popleft())
    return taken


class Transaction:
    """One batch until it has its outcomes."""

    __slots__ = ("_crashes", "_deadline", "_intents", "_lane", "_ledgers", "_node", "_outcomes", "_taken", "committing")

    def __init__(self, node: Node, lane: int, taken: list[Waiting]) -> None:
        self._node = node
        self._lane = lane
        self._taken = taken
        self._intents = [intent for waiting in taken for intent in waiting.intents]
        self._deadline = node.world.now + PATIENCE_S
        self._ledgers: list[Batch] = []
        self._outcomes: list[Outcome] = []
        self._crashes = 0
        self.committing = False

    def begin(self) -> None:
        self._node.later(self._node.world.database_time(), self._lock)

    def _lock(self) -> None:
        db = self._node.world.db
        if db.away:
            self._lost()
            return
        self._crashes = db.crashes
        users: list[UUID] = sorted({intent.user_id for intent in self._intents})
        db.lock(users, self, self._node, self._number, self._lost)

    def _number(self) -> None:
        world = self._node.world
        if world.db.crashes != self._crashes:
            self._lost()
            return
        ledgers = world.db.load(self._intents, self._node.wall_time())
        self._outcomes = []
        for intent in self._intents:
            try:
                self._outcomes.append(apply(ledgers[intent.user_id], intent))
            except DomainError as refusal:
                self._outcomes.append(refusal)
        self._ledgers = list(ledgers.values())
        self._node.later(world.database_time(), self._send_commit)

    def _send_commit(self) -> None:
        world = self._node.world
        if world.db.crashes != self._crashes:
            self._lost()
            return
        self.committing = True
        # From here on it is the database's: the node's death does not stop it.
        world.at(world.database_time(), None, self._commit, self._node.life)

    def _commit(self, life: int) -> None:
        world = self._node.world
        db = world.db
        node_lives = life == self._node.life
        dice = world.dice.random()
        unknown = dice < world.climate.commit_unknown
        if db.crashes != self._crashes or (unknown and dice < world.climate.commit_unknown / 2):
            world.count("commits rolled back at the end")
            db.release(self)
            if node_lives:
                self._node.later(world.database_time(), self._lost)
            return
        history, visible = db.epoch_name, db.commit(self._ledgers)
        db.release(self)
        world.count("commits")
        if not node_lives:
            world.count("commits whose node had died")
        elif unknown:
            world.count("commits with unknown outcome")
            self._node.later(world.database_time(), self._ask, history, visible)
        else:
            self._node.later(world.database_time(), self._committed, visible)

    def _ask(self, history: str, visible: dict[UUID, list[Logged]]) -> None:
        """The answer to COMMIT was lost: what has become of it?"""
        node = self._node
        if not node.world.db.away:
            if node.history() == history:
                self._committed(visible)
            else:
                self._lost()
        elif node.world.now >= self._deadline:
            self._give_up()
        else:
            node.later(RETRY_PAUSE_S, self._ask, history, visible)

    def _committed(self, visible: dict[UUID, list[Logged]]) -> None:
        for user_id, logged in visible.items():
            self._node.world.bus.committed(user_id, logged, self._ledgers[0].history)
        self._node.writer.written(self._lane, self._taken, self._outcomes)

    def _lost(self) -> None:
        """The connection to the database broke: write the batch again, for as long as patience lasts."""
        self.committing = False
        self._ledgers = []
        node = self._node
        node.world.db.release(self)
        if node.world.now >= self._deadline:
            self._give_up()
            return
        node.world.count("batches written again")
        node.later(RETRY_PAUSE_S, self._lock)

    def _give_up(self) -> None:
        self._node.world.count("batches given up")
        lost = Unavailable("The database is not available; try again with the same id.")
        self._node.writer.written(self._lane, self._taken, [lost] * len(self._intents))

"""The one write path of the log: group commit.

Callers hand over *lists* of intents and wait for their outcomes. Whatever waits is written in one transaction, so the
cost of a commit is shared by everyone who waits for it, and a message that comes alone does not wait for company: in
one statement if all it needs is known (`storage.known`), else the long way (`storage.batch`). Users are hashed to a
lane; a lane has one transaction under way at a time, so intents of one user are written in the order in which they
were handed over. An outcome is given only after the commit (rule 2).

What happens when PostgreSQL goes away in the middle: the batch is written again on a new connection, for as long as
`PATIENCE_S` allows. When the answer to COMMIT was lost, the next try looks, under the lock, whether its events stand
where they were put, so what has no id of its own (a rating, a status) is not written twice either. After that the
waiting callers get Unavailable; nothing is known to be written, and the same id may be tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from server.domain.errors import DomainError, Unavailable
from server.storage.batch import Batch, Doubt, Outcome, Written
from server.storage.heads import Heads
from server.storage.known import KnownBatch
from server.storage.webhook_outbox import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.domain.intents import AnyIntent
    from server.domain.numbering import Numbered
    from server.storage.database import Database
    from server.storage.heads import UserKey
    from server.tasks import Tasks
    from server.telemetry import Metrics

LANES = 2
"""While PostgreSQL works on one batch the other is numbered. With one lane a message takes a fifth less CPU on both
sides, and a third less gets through the writer (docs/performance.md)."""
BATCH = 300
MOST_WAITING = 20_000
PATIENCE_S = 7.0
RETRY_PAUSE_S = 0.1
CONTENTION = (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
MOST_CONTENDED = 5


class Waiting:
    """Intents of one caller, to be written together and in order. `done` gets an outcome for each, once."""

    __slots__ = ("done", "intents")

    def __init__(self, intents: Sequence[AnyIntent], done: Callable[[list[Outcome]], None]) -> None:
        self.intents = intents
        self.done = done


class Writer:
    """Start with `start()`; `announce` is called after each commit, before any caller learns of it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        *,
        announce: Callable[[Written], None],
        push_grace: timedelta = timedelta(seconds=4),
        lanes: int = LANES,
    ) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._announce = announce
        self._grace = push_grace
        self._lanes = [deque[Waiting]() for _ in range(lanes)]
        self._wake = [asyncio.Event() for _ in range(lanes)]
        self._waiting = 0
        self._heads = Heads()
        self._subscriptions = Subscriptions()
        self._drained = asyncio.Event()
        """Set when nothing waits while closing."""
        self._closing = False

    def start(self, tasks: Tasks) -> None:
        # Asking for the running loop is a system call in CPython 3.11: not once a message.
        self._loop = asyncio.get_running_loop()
        for number in range(len(self._lanes)):
            tasks.start(f"writer lane {number}", lambda number=number: self._run(number), restart=True)  # type: ignore[misc]  # mypy cannot type a lambda's default

    @property
    def waiting(self) -> int:
        """How many intents wait for a commit."""
        return self._waiting

    def submit(self, intent: AnyIntent, done: Callable[[list[Outcome]], None]) -> None:
        """Write one intent, and call `done` with its outcome after the commit: the way of a message, without a task.

        Raises Unavailable when too many wait; then `done` is not called.
        """
        if self._closing or self._waiting >= MOST_WAITING:
            raise Unavailable("Too much is waiting to be written; try again with the same id.", retry_after=1.0)
        self._waiting += 1
        self._enqueue(hash(intent.user_id) % len(self._lanes), Waiting((intent,), done))

    async def append(self, intents: Sequence[AnyIntent]) -> list[Outcome]:
        """Write `intents` and return an outcome for each, in order; a refused one is its DomainError.

        Each user's intents are kept in order. They are one commit only if they belong to one user; a caller must not
        count on more. Cancelling the caller does not cancel the commit. Raises Unavailable when too many wait.
        """
        if self._closing or self._waiting + len(intents) > MOST_WAITING:
            raise Unavailable("Too much is waiting to be written; try again with the same id.", retry_after=1.0)
        lanes: dict[int, list[int]] = {}
        for position, intent in enumerate(intents):
            lanes.setdefault(hash(intent.user_id) % len(self._lanes), []).append(position)
        self._waiting += len(intents)
        answers = []
        for lane, positions in lanes.items():
            answer = _Answer(self._loop)
            self._enqueue(lane, Waiting([intents[at] for at in positions], answer.settle))
            answers.append((positions, answer))
        outcomes: list[Outcome | None] = [None] * len(intents)
        for positions, answer in answers:
            for at, outcome in zip(positions, await answer.future, strict=True):
                outcomes[at] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    async def append_one(self, intent: AnyIntent) -> Numbered:
        """Write one intent. Raises its DomainError if it is refused."""
        answer = _Answer(self._loop)
        self.submit(intent, answer.settle)
        outcome = (await answer.future)[0]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Refuse what comes now and return when all that waited has its outcome."""
        self._closing = True
        if self._waiting:
            await self._drained.wait()

    def _enqueue(self, lane: int, waiting: Waiting) -> None:
        self._lanes[lane].append(waiting)
        wake = self._wake[lane]
        if not wake.is_set():
            wake.set()

    async def _run(self, number: int) -> None:
        queue, wake = self._lanes[number], self._wake[number]
        while True:
            await wake.wait()
            wake.clear()
            while queue:
                await self._commit(_take(queue))

    async def _commit(self, taken: list[Waiting]) -> None:
        """Write one batch and answer everyone in it, come what may."""
        batch = KnownBatch(self._heads, self._subscriptions, self._clock.now())
        try:
            numbered = {waiting: found for waiting in taken if (found := batch.number(waiting.intents)) is not None}
        except Exception:
            self._heads.clear()
            self._log.exception("a batch takes the long way")
            numbered = {}
        if numbered:
            missed = await self._write_known(batch, numbered)
            taken = [waiting for waiting in taken if waiting not in numbered or waiting in missed]
        if taken:
            await self._write_all(taken, {})

    async def _write_known(
        self, batch: KnownBatch, numbered: dict[Waiting, tuple[UserKey, list[Outcome]]]
    ) -> set[Waiting]:
        """Write what is numbered already. Returns those of whom nothing was written."""
        try:
            # One statement is a transaction; what webhooks are to hear takes a second one.
            opened = self._database.transaction() if batch.deliveries else self._database.session()
            async with opened as session:
                written, users = await batch.write(session, self._grace)
        except Unavailable:
            self._heads.clear()
            await self._write_all(list(numbered), batch.doubt())
            return set()
        except Exception:
            self._heads.clear()
            self._log.warning("a batch takes the long way", exc_info=True)
            return set(numbered)
        batch.remember()
        taken = [waiting for waiting, (user, _) in numbered.items() if user in users]
        if taken:
            self._tell(written, sum(len(waiting.intents) for waiting in taken))
            self._answer_soon(taken, [outcome for waiting in taken for outcome in numbered[waiting][1]])
        return numbered.keys() - set(taken)

    async def _write_all(self, taken: list[Waiting], doubts: dict[UserKey, Doubt]) -> None:
        """The long way. `doubts`: what an earlier try made of these intents."""
        intents = [intent for waiting in taken for intent in waiting.intents]
        try:
            outcomes = await self._write(intents, doubts)
        except Exception:
            # Whatever it was, callers must not wait for ever, and must not be told that nothing was written.
            self._log.exception("a batch could not be written", intents=len(intents))
            outcomes = [Unavailable("The message could not be written; try again with the same id.")] * len(intents)
        self._answer_soon(taken, outcomes)

    def _answer_soon(self, taken: list[Waiting], outcomes: list[Outcome]) -> None:
        # In the turn in which the hints of this commit are handed over on this node, so that what both have to say to
        # one socket is one write to the kernel.
        self._loop.call_soon(self._answer, taken, outcomes)

    def _answer(self, taken: list[Waiting], outcomes: list[Outcome]) -> None:
        position = 0
        for waiting in taken:
            end = position + len(waiting.intents)
            try:
                waiting.done(outcomes[position:end])
            except Exception:  # one caller's fault must not keep the others waiting
                self._log.exception("the outcome of a write was not taken")
            position = end
        self._waiting -= len(outcomes)
        if self._closing and not self._waiting:
            self._drained.set()

    async def _write(self, intents: list[AnyIntent], doubts: dict[UserKey, Doubt]) -> list[Outcome]:
        deadline = self._clock.monotonic() + PATIENCE_S
        contended = 0
        while True:
            batch = Batch(intents, self._clock.now(), self._grace, self._subscriptions, doubts)
            try:
                async with self._database.transaction() as session:
                    written = await batch.write(session)
            except Unavailable as lost:
                # Once it was numbered, nobody knows whether it was committed; the next try looks, under the lock.
                doubts = doubts | batch.doubt()
                self._heads.clear()
                if self._clock.monotonic() >= deadline:
                    return [lost] * len(intents)
                await self._clock.sleep(RETRY_PAUSE_S)
            except asyncpg.PostgresError as error:
                self._heads.clear()
                # Another node opened the same conversation id at the same moment: the second look sees it.
                if isinstance(error, CONTENTION) and contended < MOST_CONTENDED:
                    contended += 1
                    continue
                # One of them cannot be written as it is; find it by writing each alone.
                if len(intents) == 1:
                    raise
                return [outcome for intent in intents for outcome in await self._alone(intent)]
            else:
                batch.remember(self._heads)
                self._tell(written, len(intents))
                return written.outcomes

    def _tell(self, written: Written, count: int) -> None:
        """`count` intents are committed: say so."""
        self._metrics.commits.inc()
        self._metrics.commit_items.inc(count)
        self._metrics.commit_batch_size.observe(count)
        self._announce(written)

    async def _alone(self, intent: AnyIntent) -> list[Outcome]:
        try:
            return await self._write([intent], {})
        except asyncpg.PostgresError:
            self._log.exception("an intent could not be written", intent=type(intent).__name__)
            return [Unavailable("The message could not be written.")]


class _Answer:
    """A future that is settled unless its waiter has left."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[list[Outcome]] = loop.create_future()

    def settle(self, outcomes: list[Outcome]) -> None:
        if not self.future.done():
            self.future.set_result(outcomes)


def _take(queue: deque[Waiting]) -> list[Waiting]:
    """What waits, up to a batch; a single caller's list is never split."""
    taken = [queue.popleft()]
    size = len(taken[0].intents)
    while queue and size + len(queue[0].intents) <= BATCH:
        size += len(queue[0].intents)
        taken.append(queue.popleft())
    return taken

"""A node with one fault planted in it: `python -m tests.faults.planted_node --mutation NAME serve --port …`.

The server has no hooks for this: the one place is replaced from outside, then the ordinary command line runs. Every
plant insists that what it replaces is there, so a change of the server cannot quietly make the gate meaningless.
"""

from __future__ import annotations

import asyncio
import contextvars
import fcntl
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk_protocol.cursor import Judgement, ReadCursor
from sdk_protocol.server_session import ServerSession
from server.cli import main
from server.domain.numbering import Ledger, Numbered
from server.gateway import user_connection
from server.gateway.sweep import Sweep
from server.storage import database, writer
from server.storage.queries import load_queries
from server.storage.writer import Waiting, Writer
from server.wiring import Node

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sdk_protocol.codec import EncodedEvent
    from server.domain.conversation import Conversation
    from server.domain.events import Event
    from server.domain.intents import Message
    from server.gateway.resume import Beginning
    from server.storage.batch import Written

UNCOMMITTED_S = 0.1
LIFETIME = timedelta(seconds=0.3)


def ack_before_commit() -> None:
    """Callers get their outcome as soon as the batch is written, a moment before the transaction commits."""
    taken: contextvars.ContextVar[list[Waiting]] = contextvars.ContextVar("taken")
    commit, write = Writer._commit, _found(writer, "write_batch")

    async def remembering(self: Writer, batch: list[Waiting]) -> None:
        taken.set(batch)
        await commit(self, batch)

    async def early(*arguments: Any) -> Written:
        written: Written = await write(*arguments)
        position = 0
        for waiting in taken.get():
            mine = written.outcomes[position : position + len(waiting.intents)]
            position += len(waiting.intents)
            if len(mine) == len(waiting.intents):
                waiting.done(mine)  # told once more after the commit, which is one answer too many and ignored
        await asyncio.sleep(UNCOMMITTED_S)
        return written

    _replace(Writer, "_commit", remembering)
    _replace(writer, "write_batch", early)


def sequence_cursor() -> None:
    """Numbers come from a sequence: taken before the commit, without the lock, never given back. Readers follow with
    a cursor ("greater than the last one"), for a sequence has holes."""
    append = Ledger.append

    def from_sequence(
        self: Ledger, conversation: Conversation, *arguments: Any, visible: bool = True, **options: Any
    ) -> Event:
        conversation.seq = _next_number(conversation.conversation_id) - 1
        if visible:
            self.usn = _next_number(self.user_id) - 1
        return append(self, conversation, *arguments, visible=visible, **options)

    judge, sent = ReadCursor.judge, ReadCursor.sent

    def greater(self: ReadCursor, usn: int, size: int = 0) -> Judgement:
        judgement = judge(self, usn, size)
        return Judgement.NEXT if judgement is Judgement.GAP and self.room else judgement

    def skip(self: ReadCursor, usn: int, size: int, now: float) -> None:
        self.offered = usn - 1
        sent(self, usn, size, now)

    _replace(Ledger, "append", from_sequence)
    _replace(ReadCursor, "judge", greater)
    _replace(ReadCursor, "sent", skip)
    _rewrite("lock_users", "for update of u", "")


def idempotency_lifetime() -> None:
    """A repeat is recognised for a moment only (others keep ids for 30 s, or two minutes; here it is 0.3 s)."""
    earlier, start = Ledger.earlier, Node._start

    def forgetful(self: Ledger, message: Message, conversation_id: UUID) -> Numbered | None:
        found = earlier(self, message, conversation_id)
        return None if found is not None and found.at is not None and self.now - found.at > LIFETIME else found

    async def without_index(self: Node) -> None:
        await self.database.pool.execute("drop index if exists event_client_id")
        await start(self)

    _replace(Ledger, "earlier", forgetful)
    _replace(Node, "_start", without_index)


def no_sweep() -> None:
    """What the bus loses stays lost until the device reconnects."""

    async def nothing(_self: Sweep) -> None:
        return

    _replace(Sweep, "sweep", nothing)


def push_by_presence() -> None:
    """Whoever has an open socket in the foreground is not pushed to."""
    _rewrite(
        "want_push",
        "d.push_token is not null",
        "d.push_token is not null and (d.foreground_until is null or d.foreground_until <= $5)",
    )


def dropping_flow_control() -> None:
    """A reader whose window is full loses the event."""
    offer = ServerSession.offer

    def dropping(self: ServerSession, event: EncodedEvent, now: float) -> tuple[Judgement, str | bytes | None]:
        judgement, data = offer(self, event, now)
        if judgement is not Judgement.FULL:
            return judgement, data
        assert self.cursor is not None
        self.cursor.sent(self.cursor.offered + 1, 0, now)
        return Judgement.STALE, None

    _replace(ServerSession, "offer", dropping)


def resume_off_by_one() -> None:
    """A device that resumes is continued one event too late."""
    begin = _found(user_connection, "begin")

    async def late(*arguments: Any) -> Beginning:
        beginning: Beginning = await begin(*arguments)
        if beginning.snapshot is None and beginning.cursor.offered < beginning.head:
            beginning.cursor.offered += 1
        return beginning

    _replace(user_connection, "begin", late)


PLANTS: dict[str, Callable[[], None]] = {
    "ack before commit": ack_before_commit,
    "cursor over a sequence": sequence_cursor,
    "idempotency with a lifetime": idempotency_lifetime,
    "no sweep": no_sweep,
    "push decided by presence": push_by_presence,
    "flow control that drops": dropping_flow_control,
    "resume off by one": resume_off_by_one,
}


def _found(owner: Any, name: str) -> Any:
    found = getattr(owner, name, None)
    assert callable(found), f"{owner.__name__}.{name} is gone: plant this fault somewhere else"
    return found


def _replace(owner: Any, name: str, by: Any) -> None:
    _found(owner, name)
    setattr(owner, name, by)


def _rewrite(query: str, old: str, new: str) -> None:
    """Replace a part of one named query."""
    queries = load_queries()
    assert old in queries[query].sql, f"the query {query} does not say `{old}` any more: plant this fault elsewhere"
    original = queries[query]
    queries[query] = type(original)(original.name, original.scope, original.sql.replace(old, new), original.source)
    _replace(database, "load_queries", lambda: queries)


def _next_number(name: UUID) -> int:
    """A sequence for all nodes of this deployment: a file, counted up under its lock."""
    folder = Path(os.environ["HOME"]) / "sequences"
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / str(name), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        number = int(os.pread(descriptor, 32, 0) or b"0") + 1
        os.pwrite(descriptor, str(number).encode(), 0)
        return number
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] != "--mutation" or sys.argv[2] not in PLANTS:
        sys.exit(f"usage: python -m tests.faults.planted_node --mutation NAME serve …    NAME: {', '.join(PLANTS)}")
    PLANTS[sys.argv[2]]()
    main(args=sys.argv[3:], prog_name="deskbell")

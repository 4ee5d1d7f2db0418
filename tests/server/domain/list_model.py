"""What a user's log should be, said with lists: the oracle for `domain.numbering`.

A conversation is the list of its events; everything else (numbers, counters, who wrote last) is read off the lists
each time it is asked for, never kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from server.domain.conversation import Status
from server.domain.events import SYSTEM, Author, AuthorType
from server.domain.intents import (
    AddNote,
    AnyIntent,
    Assign,
    MarkRead,
    Message,
    MoveAction,
    Open,
    Post,
    PressAction,
    PutTransaction,
    Rate,
    SetStatus,
    SetTags,
)

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from server.domain.transaction import Transaction

TakenId = tuple[tuple[str, str], "UUID"]


@dataclass
class Line:
    """One event. `client`: its author and the author's id for it."""

    kind: str
    author: Author
    body: dict[str, Any]
    visible: bool = True
    client: TakenId | None = None
    digest: bytes | None = None


@dataclass
class Thread:
    lines: list[Line] = field(default_factory=list)
    status: Status = Status.OPEN
    snoozed_until: datetime | None = None
    assignee: str | None = None
    tags: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    picked: str | None = None
    headline: str | None = None
    read: dict[str, int] = field(default_factory=lambda: {"user": 0, "agent": 0})
    rating: tuple[int, str | None] | None = None

    def messages(self) -> list[tuple[int, Line]]:
        return [(seq, line) for seq, line in enumerate(self.lines, 1) if line.kind == "message"]

    def unread(self, reader: str) -> int:
        return sum(
            seq > self.read[reader] and (line.author.type is AuthorType.USER) == (reader == "agent")
            for seq, line in self.messages()
        )


@dataclass
class Verdict:
    """What the answer must be. `error` is the code of the refusal; `place` is (conversation, seq) of the answer."""

    error: str | None = None
    place: tuple[UUID, int] | None = None
    duplicate: bool = False
    applied: bool = True


def refused(code: str) -> Verdict:
    return Verdict(error=code)


class ListModel:
    def __init__(self, foreign: set[UUID]) -> None:
        self.foreign = foreign
        self.threads: dict[UUID, Thread] = {}
        self.log: list[tuple[UUID, int]] = []
        """(conversation, seq) of what the user may see: the position is the usn, less one."""
        self.taken: dict[TakenId, tuple[UUID, int, bytes]] = {}
        self.transactions: dict[str, Transaction] = {}

    def usn_of(self, place: tuple[UUID, int]) -> int | None:
        return self.log.index(place) + 1 if place in self.log else None

    def take(self, intent: AnyIntent, now: datetime) -> Verdict:
        if isinstance(intent, PutTransaction):
            return self._put(intent.transaction)
        if isinstance(intent, Open):
            return self._open(intent)
        thread = self.threads.get(intent.conversation_id)
        if thread is None:
            return refused("not_found")
        match intent:
            case Post():
                return self._post(intent, thread)
            case AddNote(message=message):
                return self._repeat(intent.conversation_id, message) or self._write(
                    intent.conversation_id, self._line("note", message, visible=False)
                )
            case MarkRead():
                reached = min(intent.seq, len(thread.lines))
                if reached <= thread.read[intent.reader]:
                    return Verdict(applied=False)
                thread.read[intent.reader] = reached
                body: dict[str, Any] = {"reader": intent.reader, "seq": reached}
                return self._write(intent.conversation_id, Line("receipt", intent.author, body))
            case SetStatus():
                return self._set_status(intent, thread, now)
            case Assign():
                wanted = intent.assignee.id if intent.assignee else None
                if wanted == thread.assignee:
                    return Verdict(applied=False)
                thread.assignee = wanted
                who = {"id": wanted, "name": intent.assignee.name} if intent.assignee else None
                return self._write(
                    intent.conversation_id, Line("conversation.assigned", intent.author, {"assignee": who})
                )
            case SetTags():
                changed = thread.tags != intent.tags
                thread.tags = list(intent.tags)
                return Verdict(applied=changed)
            case Rate():
                if thread.rating == (intent.score, intent.comment):
                    return Verdict(applied=False)
                thread.rating = (intent.score, intent.comment)
                said = {"comment": intent.comment} if intent.comment else {}
                return self._write(
                    intent.conversation_id, Line("rating.given", intent.author, {"score": intent.score, **said})
                )
            case PressAction() | MoveAction():
                raise AssertionError("actions have a machine of their own, in test_action.py")

    def _post(self, intent: Post, thread: Thread) -> Verdict:
        message = intent.message
        repeat = self._repeat(intent.conversation_id, message)
        if repeat is not None:
            return repeat
        if intent.after is not None:
            before = self.taken.get((message.author.key, intent.after))
            if before is None or before[0] != intent.conversation_id:
                return refused("out_of_order")
        if intent.expected_seq is not None:
            others = [seq for seq, line in thread.messages() if line.author.key != message.author.key]
            if others and others[-1] > intent.expected_seq:
                return refused("conflict")
        return self._say(intent.conversation_id, message)

    def _open(self, intent: Open) -> Verdict:
        message = intent.message
        if intent.conversation_id in self.threads:
            if message is None:
                return Verdict(place=(intent.conversation_id, 1), duplicate=True, applied=False)
            return self._repeat(intent.conversation_id, message) or self._say(intent.conversation_id, message)
        if intent.conversation_id in self.foreign:
            return refused("not_found")
        if message is not None and (message.author.key, message.id) in self.taken:
            return refused("idempotency_conflict")
        chosen = self.transactions.get(intent.transaction_id) if intent.transaction_id is not None else None
        self.threads[intent.conversation_id] = Thread(
            subjects=[intent.transaction_id] if intent.transaction_id is not None else [],
            picked=intent.transaction_id,
            headline=chosen.headline if chosen else None,
        )
        topic = {"topic": intent.topic} if intent.topic is not None else {}
        verdict = self._write(intent.conversation_id, Line("conversation.opened", intent.author, topic))
        return self._say(intent.conversation_id, message) if message else verdict

    def _set_status(self, intent: SetStatus, thread: Thread, now: datetime) -> Verdict:
        if (intent.status is Status.SNOOZED) != (intent.snoozed_until is not None):
            return refused("bad_request")
        if intent.snoozed_until is not None and intent.snoozed_until <= now:
            return refused("bad_request")
        if (thread.status, thread.snoozed_until) == (intent.status, intent.snoozed_until):
            return Verdict(applied=False)
        return self._move(intent.conversation_id, intent.author, intent.status, intent.snoozed_until)

    def _move(self, conversation_id: UUID, author: Author, status: Status, until: datetime | None) -> Verdict:
        thread = self.threads[conversation_id]
        body: dict[str, Any] = {"status": status.value, "previous": thread.status.value}
        if until is not None:
            body["snoozed_until"] = until.isoformat().replace("+00:00", "Z")
        thread.status, thread.snoozed_until = status, until
        return self._write(conversation_id, Line("conversation.status", author, body))

    def _put(self, transaction: Transaction) -> Verdict:
        known = self.transactions.get(transaction.id)
        if known is not None and known.version >= transaction.version:
            return Verdict(applied=False)
        self.transactions[transaction.id] = transaction
        return Verdict()

    def tell(self, conversation_id: UUID, transaction: Transaction) -> None:
        """A new version arrives in a thread. (In which order the threads hear of it is nobody's promise.)"""
        thread = self.threads[conversation_id]
        if thread.picked == transaction.id:
            thread.headline = transaction.headline
        self._write(conversation_id, Line("transaction.updated", SYSTEM, {"version": transaction.version}))

    def concerned(self, transaction_id: str) -> set[UUID]:
        return {
            conversation_id
            for conversation_id, thread in self.threads.items()
            if transaction_id in thread.subjects and thread.status is not Status.RESOLVED
        }

    def _repeat(self, conversation_id: UUID, message: Message) -> Verdict | None:
        taken = self.taken.get((message.author.key, message.id))
        if taken is None:
            return None
        if taken[0] != conversation_id or taken[2] != message.body.digest:
            return refused("idempotency_conflict")
        return Verdict(place=taken[:2], duplicate=True, applied=False)

    def _say(self, conversation_id: UUID, message: Message) -> Verdict:
        thread = self.threads[conversation_id]
        verdict = self._write(conversation_id, self._line("message", message))
        shared = message.body.transaction_id
        if shared is not None and shared not in thread.subjects:
            thread.subjects.append(shared)
        if message.author.type is AuthorType.USER and thread.status is not Status.OPEN:
            self._move(conversation_id, SYSTEM, Status.OPEN, None)
        return verdict

    def _line(self, kind: str, message: Message, *, visible: bool = True) -> Line:
        return Line(
            kind,
            message.author,
            {"digest": message.body.digest.hex()},
            visible=visible,
            client=(message.author.key, message.id),
            digest=message.body.digest,
        )

    def _write(self, conversation_id: UUID, line: Line) -> Verdict:
        thread = self.threads[conversation_id]
        thread.lines.append(line)
        place = (conversation_id, len(thread.lines))
        if line.visible:
            self.log.append(place)
        if line.client is not None and line.digest is not None:
            self.taken[line.client] = (*place, line.digest)
        return Verdict(place=place)

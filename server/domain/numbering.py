"""How intents become numbered events: pure, and the only place where `seq`, `usn` and `rev` grow.

`storage.writer` locks the user's row, loads a `Ledger` with what the intents of the batch need to know, calls
`apply` for each in order, and writes back what the ledger says has changed, all in one transaction. So nothing
here can race, and everything here can be tried without a database.

`apply` raises a DomainError *before* it changes anything: one bad intent fails alone, never its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never
from uuid import UUID

import msgspec

from server.domain.action_log import act
from server.domain.conversation import SETTING, Cause, Conversation, Status
from server.domain.errors import AnotherHistory, BadRequest, Conflict, IdempotencyConflict, NotFound, OutOfOrder
from server.domain.events import SYSTEM, Author, AuthorType, Event, Kind
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
from server.domain.transaction import RECENT, Snapshot, Transaction

if TYPE_CHECKING:
    from datetime import datetime

    from server.domain.action import Action

ClientKey = tuple[str, str, UUID]
"""What a client's id is unique under, within one user's log, and the id: (author's type, author's id, client id)."""


class Stored(msgspec.Struct, frozen=True):
    """Where an earlier message with a client id went."""

    conversation_id: UUID
    seq: int
    usn: int | None
    at: datetime
    digest: bytes | None


class Numbered(msgspec.Struct, frozen=True):
    """The answer to an intent. `applied` is False where nothing had to change (a repeat, an older version)."""

    conversation_id: UUID | None = None
    seq: int | None = None
    usn: int | None = None
    at: datetime | None = None
    duplicate: bool = False
    applied: bool = True
    event: Event | None = None


class Ledger:
    """One user's log while its row is locked: what is known, and what has changed since."""

    __slots__ = (
        "acted",
        "actions",
        "app_id",
        "conversations",
        "events",
        "foreign",
        "history",
        "last_counts",
        "now",
        "opened",
        "put",
        "rated",
        "ratings",
        "recency",
        "relisted",
        "snapshots",
        "stored",
        "touched",
        "transactions",
        "user_id",
        "usn",
    )

    def __init__(self, app_id: UUID, user_id: UUID, usn: int, now: datetime, history: str) -> None:
        self.app_id = app_id
        self.user_id = user_id
        self.usn = usn
        self.history = history
        self.now = now
        # Known
        self.conversations: dict[UUID, Conversation] = {}
        self.stored: dict[ClientKey, Stored] = {}
        self.transactions: dict[str, Transaction] = {}
        self.recency: dict[str, datetime] = {}
        """When each known transaction happened, or was first heard of."""
        self.actions: dict[UUID, Action] = {}
        self.foreign: set[UUID] = set()
        """Conversation ids in use by another user."""
        self.last_counts: dict[tuple[UUID, str, int], int] = {}
        """(conversation, reader, seq) → how many stored messages of the other side are newer than seq."""
        # Changed
        self.events: list[Event] = []
        self.touched: dict[UUID, Conversation] = {}
        self.opened: list[UUID] = []
        self.snapshots: dict[UUID, Snapshot] = {}
        self.put: dict[str, Transaction] = {}
        self.acted: dict[UUID, Action] = {}
        self.ratings: dict[UUID, Rate] = {}
        self.rated: dict[UUID, tuple[int, str | None]] = {}
        """The verdicts so far. (Known, and kept up to date.)"""
        self.relisted: set[UUID] = set()
        """Conversations whose tags or transaction ids changed."""

    # -- answers -------------------------------------------------------------------------------------------

    def numbered(self, event: Event) -> Numbered:
        return Numbered(event.conversation_id, event.seq, event.usn, event.at, event=event)

    def unchanged(self, conversation: Conversation) -> Numbered:
        return Numbered(conversation.conversation_id, conversation.seq, applied=False)

    def repeated(self, found: Stored) -> Numbered:
        return Numbered(found.conversation_id, found.seq, found.usn, found.at, duplicate=True, applied=False)

    # -- small steps ---------------------------------------------------------------------------------------

    def conversation(self, conversation_id: UUID) -> Conversation:
        found = self.conversations.get(conversation_id)
        if found is None:
            raise NotFound("There is no such conversation.", field="conversation")
        return found

    def append(
        self,
        conversation: Conversation,
        kind: Kind,
        author: Author,
        body: bytes,
        *,
        message: Message | None = None,
        visible: bool = True,
    ) -> Event:
        """Give the next numbers to an event of `conversation`."""
        conversation.seq += 1
        conversation.rev += 1
        conversation.updated_at = self.now
        self.touched[conversation.conversation_id] = conversation
        if visible:
            self.usn += 1
        event = Event(
            self.app_id,
            self.user_id,
            conversation.conversation_id,
            conversation.seq,
            self.usn if visible else None,
            kind._value_,
            author,
            message.id if message else None,
            body,
            self.now,
        )
        self.events.append(event)
        if message:
            self.stored[client_key(message.author, message.id)] = Stored(
                conversation.conversation_id, event.seq, event.usn, event.at, message.body.digest
            )
        return event

    def earlier(self, message: Message, conversation_id: UUID) -> Numbered | None:
        """The first result of this message if it is stored already (S2); raises if the id meant something else."""
        found = self.stored.get(client_key(message.author, message.id))
        if found is None:
            return None
        if found.digest != message.body.digest or found.conversation_id != conversation_id:
            raise IdempotencyConflict(
                "This id was used for another message; make a new id for a new message.", field="id"
            )
        return self.repeated(found)

    def count_newer(self, conversation_id: UUID, reader: str, seq: int) -> int:
        """Messages for `reader` newer than `seq`: those stored before, and those of this very batch."""
        stored = self.last_counts.get((conversation_id, reader, seq), 0)
        return stored + sum(
            event.conversation_id == conversation_id
            and event.seq > seq
            and event.kind == Kind.MESSAGE
            and (event.author.type is AuthorType.USER) == (reader == "agent")
            for event in self.events
        )

    def snapshot(self, transaction_id: str | None) -> Snapshot:
        """What is known of the user now: the chosen transaction, and the newest ones."""
        newest = sorted(self.transactions, key=lambda known: (self.recency[known], known), reverse=True)[:RECENT]
        chosen = self.transactions.get(transaction_id) if transaction_id is not None else None
        return Snapshot(transaction=chosen, recent=[self.transactions[known] for known in newest], frozen_at=self.now)


def apply(ledger: Ledger, intent: AnyIntent) -> Numbered:
    """Number what `intent` asks for and note it in `ledger`. Raises DomainError, then nothing has changed."""
    if intent.history is not None and intent.history != ledger.history:
        raise AnotherHistory("The log has another history now; say hello again.")
    match intent:
        case Post():
            return _post(ledger, intent)
        case Open():
            return _open(ledger, intent)
        case MarkRead():
            return _mark_read(ledger, intent)
        case AddNote():
            conversation = ledger.conversation(intent.conversation_id)
            earlier = ledger.earlier(intent.message, intent.conversation_id)
            if earlier:
                return earlier
            message = intent.message
            event = ledger.append(
                conversation, Kind.NOTE, message.author, message.body.json, message=message, visible=False
            )
            return ledger.numbered(event)
        case SetStatus():
            return _set_status(ledger, intent)
        case Assign():
            return _assign(ledger, intent)
        case SetTags():
            conversation = ledger.conversation(intent.conversation_id)
            if conversation.tags == intent.tags:
                return ledger.unchanged(conversation)
            conversation.tags = intent.tags
            conversation.rev += 1
            # Not an event, but a change of the summary: the sweep over inboxes finds it by this time.
            conversation.updated_at = ledger.now
            ledger.touched[conversation.conversation_id] = conversation
            ledger.relisted.add(conversation.conversation_id)
            return Numbered(conversation.conversation_id, conversation.seq)
        case Rate():
            conversation = ledger.conversation(intent.conversation_id)
            verdict = (intent.score, intent.comment)
            if ledger.rated.get(intent.conversation_id) == verdict:
                return ledger.unchanged(conversation)
            ledger.rated[intent.conversation_id] = verdict
            ledger.ratings[intent.conversation_id] = intent
            body = _json({"score": intent.score} | ({"comment": intent.comment} if intent.comment else {}))
            return ledger.numbered(ledger.append(conversation, Kind.RATING_GIVEN, intent.author, body))
        case PutTransaction():
            return _put_transaction(ledger, intent.transaction)
        case PressAction() | MoveAction():
            return act(ledger, intent)
        case _:
            assert_never(intent)


def _post(ledger: Ledger, intent: Post) -> Numbered:
    conversation = ledger.conversation(intent.conversation_id)
    message = intent.message
    earlier = ledger.earlier(message, intent.conversation_id)
    if earlier:
        return earlier
    if intent.after is not None:
        previous = ledger.stored.get(client_key(message.author, intent.after))
        if previous is None or previous.conversation_id != intent.conversation_id:
            raise OutOfOrder("The message named by `after` is not stored; send that one first.", field="after")
    if intent.expected_seq is not None:
        newest = conversation.newest_message_not_by(_author_name(message.author))
        if newest and newest > intent.expected_seq:
            raise Conflict("Someone else has written since; read it, then send again.", field="expected_seq")
    return _append_message(ledger, conversation, message)


def _append_message(ledger: Ledger, conversation: Conversation, message: Message) -> Numbered:
    body = message.body
    event = ledger.append(conversation, Kind.MESSAGE, message.author, body.json, message=message)
    preview = {"seq": event.seq, "kind": body.kind, "text": body.preview, "author": message.author, "at": event.at}
    conversation.note_message(event.seq, _author_name(message.author), _json(preview))
    if body.transaction_id is not None and body.transaction_id not in conversation.transaction_ids:
        conversation.transaction_ids = [*conversation.transaction_ids, body.transaction_id]
        ledger.relisted.add(conversation.conversation_id)
    by_user = message.author.type is AuthorType.USER
    if by_user:
        conversation.agent_unread += 1
        conversation.asked(ledger.now)
    else:
        conversation.user_unread += 1
        if message.author.type is AuthorType.AGENT:
            conversation.answered(ledger.now)
    previous = conversation.move(Cause.USER_MESSAGE if by_user else Cause.AGENT_MESSAGE)
    if previous is not None:
        _status_event(ledger, conversation, SYSTEM, previous)
    return ledger.numbered(event)


def _open(ledger: Ledger, intent: Open) -> Numbered:
    conversation = ledger.conversations.get(intent.conversation_id)
    message = intent.message
    if conversation is not None:
        # A repeat. Its message, if there is one, counts like any other; the opening itself has happened.
        if message is None:
            return _opening(ledger, conversation)
        return ledger.earlier(message, intent.conversation_id) or _append_message(ledger, conversation, message)
    if intent.conversation_id in ledger.foreign:
        raise NotFound("There is no such conversation.", field="conversation")
    if message is not None and client_key(message.author, message.id) in ledger.stored:
        raise IdempotencyConflict("This message id was used in another conversation.", field="message.id")
    snapshot = ledger.snapshot(intent.transaction_id)
    conversation = Conversation(
        app_id=ledger.app_id,
        user_id=ledger.user_id,
        conversation_id=intent.conversation_id,
        topic=intent.topic,
        transaction_id=intent.transaction_id,
        transaction_ids=[intent.transaction_id] if intent.transaction_id is not None else [],
        headline=snapshot.transaction.headline if snapshot.transaction else None,
        opened_at=ledger.now,
        updated_at=ledger.now,
    )
    ledger.conversations[intent.conversation_id] = conversation
    if conversation.transaction_ids:
        ledger.relisted.add(intent.conversation_id)
    ledger.opened.append(intent.conversation_id)
    ledger.snapshots[intent.conversation_id] = snapshot
    body: dict[str, Any] = {"context": snapshot}
    if intent.topic is not None:
        body["topic"] = intent.topic
    event = ledger.append(conversation, Kind.OPENED, intent.author, _json(body))
    ledger.stored[opening_key(event.conversation_id)] = Stored(event.conversation_id, 1, event.usn, event.at, None)
    return _append_message(ledger, conversation, message) if message else ledger.numbered(event)


def _opening(ledger: Ledger, conversation: Conversation) -> Numbered:
    """The numbers of `conversation.opened`, which is always the first event."""
    opening = ledger.stored[opening_key(conversation.conversation_id)]
    return ledger.repeated(opening)


def client_key(author: Author, client_id: UUID) -> ClientKey:
    return (author.type._value_, author.id, client_id)


def opening_key(conversation_id: UUID) -> ClientKey:
    """Where the ledger keeps the first event of a conversation, for an `Open` that comes again."""
    return ("opening", "", conversation_id)


def _mark_read(ledger: Ledger, intent: MarkRead) -> Numbered:
    conversation = ledger.conversation(intent.conversation_id)
    seq = min(intent.seq, conversation.seq)
    current = conversation.user_read_seq if intent.reader == "user" else conversation.agent_read_seq
    if seq <= current:
        return ledger.unchanged(conversation)
    unread = ledger.count_newer(conversation.conversation_id, intent.reader, seq)
    if intent.reader == "user":
        conversation.user_read_seq, conversation.user_unread = seq, unread
    else:
        conversation.agent_read_seq, conversation.agent_unread = seq, unread
    body = _json({"reader": intent.reader, "seq": seq})
    return ledger.numbered(ledger.append(conversation, Kind.RECEIPT, intent.author, body))


def _set_status(ledger: Ledger, intent: SetStatus) -> Numbered:
    conversation = ledger.conversation(intent.conversation_id)
    if intent.status is Status.SNOOZED:
        if intent.snoozed_until is None or intent.snoozed_until <= ledger.now:
            raise BadRequest("Snoozing needs `snoozed_until`, a time in the future.", field="snoozed_until")
    elif intent.snoozed_until is not None:
        raise BadRequest("`snoozed_until` goes only with the status snoozed.", field="snoozed_until")
    previous = conversation.move(SETTING[intent.status])
    if previous is None and conversation.snoozed_until == intent.snoozed_until:
        return ledger.unchanged(conversation)
    conversation.snoozed_until = intent.snoozed_until
    return ledger.numbered(_status_event(ledger, conversation, intent.author, previous or conversation.status))


def _status_event(ledger: Ledger, conversation: Conversation, author: Author, previous: Status) -> Event:
    body: dict[str, Any] = {"status": conversation.status.value, "previous": previous.value}
    if conversation.snoozed_until is not None:
        body["snoozed_until"] = conversation.snoozed_until
    return ledger.append(conversation, Kind.STATUS, author, _json(body))


def _assign(ledger: Ledger, intent: Assign) -> Numbered:
    conversation = ledger.conversation(intent.conversation_id)
    assignee = UUID(intent.assignee.id) if intent.assignee else None
    if conversation.assignee == assignee:
        return ledger.unchanged(conversation)
    conversation.assignee = assignee
    who = {"id": intent.assignee.id, "name": intent.assignee.name} if intent.assignee else None
    return ledger.numbered(ledger.append(conversation, Kind.ASSIGNED, intent.author, _json({"assignee": who})))


def _put_transaction(ledger: Ledger, transaction: Transaction) -> Numbered:
    known = ledger.transactions.get(transaction.id)
    if known is not None and known.version >= transaction.version:
        return Numbered(applied=False)
    ledger.transactions[transaction.id] = transaction
    ledger.recency[transaction.id] = transaction.occurred_at or ledger.recency.get(transaction.id, ledger.now)
    ledger.put[transaction.id] = transaction
    body = _json({"transaction": transaction})
    for conversation in ledger.conversations.values():
        if transaction.id in conversation.transaction_ids and conversation.status is not Status.RESOLVED:
            if conversation.transaction_id == transaction.id:
                conversation.headline = transaction.headline
            ledger.append(conversation, Kind.TRANSACTION, SYSTEM, body)
    return Numbered()


def _author_name(author: Author) -> str:
    return f"{author.type._value_}:{author.id}"


_json = msgspec.json.Encoder().encode

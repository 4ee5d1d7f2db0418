"""One batch of intents as one transaction: lock, load, number (`domain.numbering`), write.

The statements are in `sql/queries/writer.sql`. Because the users are locked before anything else is read, and each
statement of a READ COMMITTED transaction sees what was committed before it began, two nodes that write for the same
user see each other's work: a repeat of a message that another node has just committed is found, never stored twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec

from server.domain.errors import DomainError, NotFound
from server.domain.intents import (
    AddNote,
    AnyIntent,
    MarkRead,
    Message,
    MoveAction,
    Open,
    Post,
    PressAction,
    PutTransaction,
    Rate,
)
from server.domain.numbering import Ledger, Numbered, Stored, apply, opening_key
from server.domain.transaction import RECENT
from server.storage import action_rows, webhook_outbox
from server.storage.rows import conversation_of, transaction_of
from server.storage.written import columns, event_row, pushes_of, summary_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from asyncpg import Record

    from server.domain.conversation import Conversation
    from server.domain.events import Event
    from server.storage.database import Session
    from server.storage.heads import Heads
    from server.storage.webhook_outbox import Subscriptions

UserKey = tuple[UUID, UUID]
Outcome = Numbered | DomainError

_encode = msgspec.json.Encoder().encode
_NO_AUTHOR = ("", "", None)


class Doubt(NamedTuple):
    """What an attempt made of a user's intents, of which nobody knows whether it was committed."""

    history: str
    outcomes: list[Outcome]
    events: list[Event]
    touched: list[Conversation]


class Written(msgspec.Struct):
    """What was committed: an outcome for each intent in order, and what everybody else should hear of.

    history: the database's; None if none of the users exist.
    """

    history: str | None
    outcomes: list[Outcome]
    logs: list[list[Event]]
    """The new events, one user after the other."""
    touched: list[Conversation]


class Batch:
    """Run `write` inside a transaction, commit, then call `remember`. One try is one Batch.

    `grace`: how long a push waits for the ack of a device that has a foreground socket. `doubts`: what earlier tries of
    the same intents made of them; what was committed of that is taken as it is.
    """

    def __init__(
        self,
        intents: Sequence[AnyIntent],
        now: datetime,
        grace: timedelta,
        subscriptions: Subscriptions,
        doubts: dict[UserKey, Doubt],
    ) -> None:
        self._intents = intents
        self._now = now
        self._grace = grace
        self._subscriptions = subscriptions
        self._doubts = doubts
        self._ledgers: dict[UserKey, Ledger] = {}
        self._before: dict[UserKey, str] = {}
        self._version = ""
        self._webhooks = 0
        self._outcomes: list[Outcome] = []

    async def write(self, session: Session) -> Written:
        await self._lock(session)
        ledgers = self._ledgers
        settled = {user: doubt for user, doubt in self._doubts.items() if await self._happened(session, user, doubt)}
        await _load(session, self._intents, ledgers)
        given = {user: iter(doubt.outcomes) for user, doubt in settled.items()}
        for intent in self._intents:
            user = (intent.app_id, intent.user_id)
            ledger = ledgers.get(user)
            if user in given and (earlier := next(given[user], None)) is not None:
                self._outcomes.append(earlier)
            elif ledger is None:
                self._outcomes.append(NotFound("There is no such user."))
            else:
                self._outcomes.append(outcome_of(ledger, intent))
        await _write(session, list(ledgers.values()), self._now, self._grace)
        history = next((ledger.history for ledger in ledgers.values()), None)
        await self._subscriptions.read(session, history or "", self._webhooks)
        wanted = self._subscriptions.rows(ledgers.values(), self._now)
        await webhook_outbox.want(session, wanted, self._now)
        return Written(
            history,
            self._outcomes,
            [doubt.events for doubt in settled.values()]
            + [ledger.events for ledger in ledgers.values() if ledger.events],
            [each for doubt in settled.values() for each in doubt.touched]
            + [each for ledger in ledgers.values() for each in ledger.touched.values()],
        )

    def remember(self, heads: Heads) -> None:
        """It is committed."""
        for user, ledger in self._ledgers.items():
            before = self._before[user]
            heads.keep(ledger, before, self._version if ledger.touched else before)

    def doubt(self) -> dict[UserKey, Doubt]:
        """Whether it was committed is not known. Nothing of it was if not even all was numbered."""
        if len(self._outcomes) < len(self._intents):
            return {}
        return doubts_of(self._intents, self._outcomes, self._ledgers)

    async def _lock(self, session: Session) -> None:
        users = list({(intent.app_id, intent.user_id) for intent in self._intents})
        for row in await session.rows("lock_users", *columns(users, 2)):
            user = users[row["n"] - 1]
            self._ledgers[user] = Ledger(user[0], user[1], row["usn"], self._now, row["history"])
            self._before[user] = row["before"]
            self._version, self._webhooks = row["version"], row["webhooks"]

    async def _happened(self, session: Session, user: UserKey, doubt: Doubt) -> bool:
        """Whether an earlier try was committed after all. All of a user's part or nothing, so its first event tells;
        one without events may be written again without harm. The user is locked, so nobody is still committing it."""
        ledger = self._ledgers.get(user)
        if ledger is None or ledger.history != doubt.history or not doubt.events:
            return False
        event = doubt.events[0]
        found = await session.row(
            "find_written",
            event.app_id,
            event.user_id,
            event.conversation_id,
            event.seq,
            event.at,
            event.kind,
            event.author.id,
            event.client_id,
        )
        return found is not None


def outcome_of(ledger: Ledger, intent: AnyIntent) -> Outcome:
    try:
        return apply(ledger, intent)
    except DomainError as refusal:
        return refusal


def doubts_of(
    intents: Iterable[AnyIntent], outcomes: Iterable[Outcome], ledgers: dict[UserKey, Ledger]
) -> dict[UserKey, Doubt]:
    by_user: dict[UserKey, list[Outcome]] = {user: [] for user in ledgers}
    for intent, outcome in zip(intents, outcomes, strict=True):
        by_user.get((intent.app_id, intent.user_id), []).append(outcome)
    return {
        user: Doubt(ledger.history, by_user[user], ledger.events, list(ledger.touched.values()))
        for user, ledger in ledgers.items()
        if ledger.events
    }


async def _load(session: Session, intents: Sequence[AnyIntent], ledgers: dict[UserKey, Ledger]) -> None:
    """Read into the ledgers whatever the intents need to know."""
    wanted: list[tuple[Any, ...]] = []
    openings: list[tuple[UUID, UUID, UUID]] = []
    chosen: list[tuple[UUID, UUID, str]] = []
    puts: list[tuple[UUID, UUID, str]] = []
    reads: list[tuple[UUID, UUID, UUID, str, int]] = []
    ratings: list[tuple[UUID, UUID, UUID]] = []
    actions: list[PressAction | MoveAction] = []
    for intent in intents:
        user = (intent.app_id, intent.user_id)
        if isinstance(intent, PutTransaction):
            puts.append((*user, intent.transaction.id))
            continue
        place = (*user, intent.conversation_id)
        match intent:
            case Post(message=message, after=after):
                wanted.append((*place, *message.author.key, message.id))
                if after is not None:
                    wanted.append((*place, *message.author.key, after))
            case Open(message=opener, transaction_id=transaction_id):
                openings.append(place)
                wanted.append(place + (_client_key(opener) if opener else _NO_AUTHOR))
                if transaction_id is not None:
                    chosen.append((*user, transaction_id))
            case AddNote(message=message):
                wanted.append(place + _client_key(message))
            case MarkRead(reader=reader, seq=seq):
                reads.append((*place, reader, seq))
                wanted.append(place + _NO_AUTHOR)
            case Rate():
                ratings.append(place)
                wanted.append(place + _NO_AUTHOR)
            case PressAction() | MoveAction():
                actions.append(intent)
                wanted.append(place + _NO_AUTHOR)
            case _:
                wanted.append(place + _NO_AUTHOR)
    if wanted:
        _keep_heads(await session.rows("load_heads", *columns(wanted, 6)), wanted, ledgers)
    if openings:
        await _load_openings(session, openings, chosen, ledgers)
    if puts:
        await _load_put(session, puts, ledgers)
    if reads:
        await _load_counts(session, reads, ledgers)
    if actions:
        about = await action_rows.load(session, actions, ledgers)
        if about:
            _keep_transactions(await session.rows("load_transactions", *columns(about, 3)), ledgers)
    if ratings:
        for row in await session.rows("load_ratings", *columns(ratings, 3)):
            ledgers[(row["app_id"], row["user_id"])].rated[row["conversation_id"]] = (row["score"], row["comment"])


def _client_key(message: Message) -> tuple[str, str, UUID]:
    return (*message.author.key, message.id)


def _keep_heads(rows: Iterable[Record], wanted: Sequence[tuple[Any, ...]], ledgers: dict[UserKey, Ledger]) -> None:
    for row in rows:
        app_id, user_id, conversation_id, *client_key = wanted[row["n"] - 1]
        ledger = ledgers.get((app_id, user_id))
        if ledger is None:
            continue
        if conversation_id not in ledger.conversations and row["conversation"] is not None:
            ledger.conversations[conversation_id] = conversation_of(row["conversation"])
        seq = row["stored_seq"]
        if seq is not None:
            ledger.stored[client_key[0], client_key[1], client_key[2]] = Stored(
                row["stored_conversation_id"], seq, row["stored_usn"], row["stored_at"], row["stored_digest"]
            )


async def _load_openings(
    session: Session,
    openings: list[tuple[UUID, UUID, UUID]],
    chosen: list[tuple[UUID, UUID, str]],
    ledgers: dict[UserKey, Ledger],
) -> None:
    owners = {row["conversation_id"]: row for row in await session.rows("load_openings", *columns(openings, 3))}
    new: set[UserKey] = set()
    for app_id, user_id, conversation_id in openings:
        ledger = ledgers.get((app_id, user_id))
        row = owners.get(conversation_id)
        if row is None or ledger is None:
            new.add((app_id, user_id))
        elif (row["app_id"], row["user_id"]) != (app_id, user_id):
            ledger.foreign.add(conversation_id)
        else:
            ledger.stored[opening_key(conversation_id)] = Stored(conversation_id, 1, row["usn"], row["at"], None)
    if not new:
        return
    _keep_transactions(await session.rows("load_recent_transactions", *columns(list(new), 2), RECENT), ledgers)
    if chosen:
        _keep_transactions(await session.rows("load_transactions", *columns(chosen, 3)), ledgers)


async def _load_put(session: Session, puts: list[tuple[UUID, UUID, str]], ledgers: dict[UserKey, Ledger]) -> None:
    wanted = columns(puts, 3)
    _keep_transactions(await session.rows("load_transactions", *wanted), ledgers)
    for row in await session.rows("load_conversations_about", *wanted):
        ledger = ledgers[(row["app_id"], row["user_id"])]
        ledger.conversations.setdefault(row["conversation_id"], conversation_of(row))


async def _load_counts(
    session: Session, reads: list[tuple[UUID, UUID, UUID, str, int]], ledgers: dict[UserKey, Ledger]
) -> None:
    # A cursor beyond the newest event is taken for the newest one, so count from there.
    clamped = set()
    for app_id, user_id, conversation_id, reader, seq in reads:
        ledger = ledgers.get((app_id, user_id))
        conversation = ledger.conversations.get(conversation_id) if ledger else None
        if conversation is not None and seq < conversation.seq:
            clamped.add((app_id, user_id, conversation_id, reader, seq))
    if not clamped:
        return
    for row in await session.rows("count_newer", *columns(list(clamped), 5)):
        ledger = ledgers[(row["app_id"], row["user_id"])]
        ledger.last_counts[(row["conversation_id"], row["reader"], row["seq"])] = row["newer"]


def _keep_transactions(rows: Iterable[Record], ledgers: dict[UserKey, Ledger]) -> None:
    for row in rows:
        ledger = ledgers.get((row["app_id"], row["user_id"]))
        if ledger is not None:
            ledger.transactions[row["transaction_id"]] = transaction_of(row)
            ledger.recency[row["transaction_id"]] = row["recency"]


async def _write(session: Session, ledgers: Sequence[Ledger], now: datetime, grace: timedelta) -> None:
    for ledger in ledgers:
        if ledger.opened:
            await _write_openings(session, ledger)
    await _write_transactions(session, ledgers, now)
    for ledger in ledgers:
        for action in ledger.acted.values():
            await action_rows.put(session, action)
    touched = [conversation for ledger in ledgers for conversation in ledger.touched.values()]
    if not touched:
        return
    # Also of users without new events: that their row has a new version is how other nodes see that something changed.
    heads = [(ledger.app_id, ledger.user_id, ledger.usn) for ledger in ledgers if ledger.touched]
    await session.run(
        "write_log",
        *columns(heads, 3),
        [event_row(ledger, event) for ledger in ledgers for event in ledger.events],
        [summary_row(conversation) for conversation in touched],
    )
    for ledger in ledgers:
        for conversation_id in ledger.relisted:
            await _write_lists(session, ledger.conversations[conversation_id])
        for rating in ledger.ratings.values():
            await session.run(
                "put_rating", ledger.app_id, ledger.user_id, rating.conversation_id, rating.score, rating.comment, now
            )
    wanted = [(ledger.app_id, ledger.user_id, *push) for ledger in ledgers for push in pushes_of(ledger)]
    if wanted:
        await session.run("want_push", *columns(wanted, 4), now, now + grace)


async def _write_openings(session: Session, ledger: Ledger) -> None:
    opened = [ledger.conversations[conversation_id] for conversation_id in ledger.opened]
    user = (ledger.app_id, ledger.user_id)
    await session.run("insert_directory", *columns([(*user, each.conversation_id) for each in opened], 3))
    await session.run(
        "insert_conversations",
        *columns([(*user, c.conversation_id, c.topic, c.transaction_id, c.opened_at) for c in opened], 6),
    )
    snapshots = [
        (*user, conversation_id, _encode(snapshot), snapshot.frozen_at)
        for conversation_id, snapshot in ledger.snapshots.items()
    ]
    await session.run("insert_snapshots", *columns(snapshots, 5))


async def _write_transactions(session: Session, ledgers: Sequence[Ledger], now: datetime) -> None:
    put = [
        (
            ledger.app_id,
            ledger.user_id,
            known.id,
            known.version,
            known.kind,
            known.status,
            known.title,
            known.amount.value if known.amount else None,
            known.amount.currency if known.amount else None,
            known.occurred_at,
            known.url,
            known.image_url,
            _encode(known.attributes),
        )
        for ledger in ledgers
        for known in ledger.put.values()
    ]
    if put:
        await session.run("put_transactions", *columns(put, 13), now)


async def _write_lists(session: Session, conversation: Conversation) -> None:
    await session.run(
        "put_lists",
        conversation.app_id,
        conversation.user_id,
        conversation.conversation_id,
        conversation.tags,
        conversation.transaction_ids,
    )

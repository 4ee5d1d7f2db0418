"""One batch of intents as one transaction: lock, load, number (`domain.numbering`), write.

The statements are in `sql/queries/writer.sql`. Because the users are locked before anything else is read, and each
statement of a READ COMMITTED transaction sees what was committed before it began, two nodes that write for the same
user see each other's work: a repeat of a message that another node has just committed is found, never stored twice.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from server.domain.errors import DomainError, NotFound
from server.domain.events import AuthorType, Kind
from server.domain.intents import AddNote, AnyIntent, MarkRead, Message, Open, Post, PutTransaction, Rate
from server.domain.numbering import ClientKey, Ledger, Numbered, Stored, apply, opening_key
from server.domain.transaction import RECENT
from server.storage import webhook_outbox
from server.storage.rows import conversation_of, transaction_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from asyncpg import Record

    from server.domain.conversation import Conversation
    from server.domain.events import Event
    from server.storage.database import Session
    from server.storage.summaries import Kept, Summaries
    from server.storage.webhook_outbox import Subscriptions

UserKey = tuple[UUID, UUID]
Outcome = Numbered | DomainError

_encode = msgspec.json.Encoder().encode
_NO_AUTHOR = ("", "", None)


class Written(msgspec.Struct):
    """What a batch did: an outcome for each intent in order, and what everybody else should hear of.

    history, transaction: the database's, and the number of the transaction in it; None if none of its users exist.
    """

    history: str | None
    transaction: str | None
    outcomes: list[Outcome]
    logs: list[list[Event]]
    """The new events, one user after the other."""
    touched: list[Conversation]


async def write_batch(
    session: Session,
    intents: Sequence[AnyIntent],
    now: datetime,
    grace: timedelta,
    summaries: Summaries,
    subscriptions: Subscriptions,
    doubtful: Written | None = None,
) -> Written:
    """Run `intents` inside the transaction that `session` is in. The caller commits, and has `summaries` keep what is
    touched then.

    `grace`: how long a push waits for the ack of a device that has a foreground socket. `doubtful`: what an earlier try
    of the same intents wrote, of which the answer to COMMIT was lost. If it was committed, it is returned as it is.
    """
    ledgers, transaction, webhooks = await _lock(session, intents, now)
    history = next((ledger.history for ledger in ledgers.values()), None)
    if doubtful is not None and doubtful.history == history and await _happened(session, doubtful):
        return doubtful
    await _load(session, intents, ledgers, summaries)
    outcomes: list[Outcome] = []
    for intent in intents:
        ledger = ledgers.get((intent.app_id, intent.user_id))
        if ledger is None:
            outcomes.append(NotFound("There is no such user."))
            continue
        try:
            outcomes.append(apply(ledger, intent))
        except DomainError as refusal:
            outcomes.append(refusal)
    await _write(session, list(ledgers.values()), now, grace)
    await subscriptions.read(session, history or "", webhooks)
    wanted = subscriptions.rows((event for ledger in ledgers.values() for event in ledger.events), now)
    await webhook_outbox.want(session, wanted, now)
    return Written(
        history,
        transaction,
        outcomes,
        [ledger.events for ledger in ledgers.values() if ledger.events],
        [conversation for ledger in ledgers.values() for conversation in ledger.touched.values()],
    )


async def _happened(session: Session, doubtful: Written) -> bool:
    """Whether a batch was committed after all. All of it or nothing, so its first event tells; one without events may
    be written again without harm. The users are locked, so whoever was still committing it has finished."""
    if not doubtful.logs:
        return False
    event = doubtful.logs[0][0]
    return (
        await session.row(
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
        is not None
    )


async def _lock(
    session: Session, intents: Sequence[AnyIntent], now: datetime
) -> tuple[dict[UserKey, Ledger], str | None, int]:
    users = list({(intent.app_id, intent.user_id) for intent in intents})
    rows = await session.rows("lock_users", *_columns(users, 2))
    ledgers = {}
    for row in rows:
        user = users[row["n"] - 1]
        ledgers[user] = Ledger(user[0], user[1], row["usn"], now, row["history"])
    return ledgers, rows[0]["transaction"] if rows else None, rows[0]["webhooks"] if rows else 0


async def _load(
    session: Session, intents: Sequence[AnyIntent], ledgers: dict[UserKey, Ledger], summaries: Summaries
) -> None:
    """Read into the ledgers whatever the intents need to know."""
    wanted: list[tuple[Any, ...]] = []
    openings: list[tuple[UUID, UUID, UUID]] = []
    chosen: list[tuple[UUID, UUID, str]] = []
    puts: list[tuple[UUID, UUID, str]] = []
    reads: list[tuple[UUID, UUID, UUID, str, int]] = []
    ratings: list[tuple[UUID, UUID, UUID]] = []
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
            case _:
                wanted.append(place + _NO_AUTHOR)
    if wanted:
        history = next((ledger.history for ledger in ledgers.values()), "")
        kept = [summaries.find(each[2], history) for each in wanted]
        asked = [(*each, known.version if known else None) for each, known in zip(wanted, kept, strict=True)]
        _keep_heads(await session.rows("load_heads", asked), wanted, kept, ledgers)
    if openings:
        await _load_openings(session, openings, chosen, ledgers)
    if puts:
        await _load_put(session, puts, ledgers)
    if reads:
        await _load_counts(session, reads, ledgers)
    if ratings:
        for row in await session.rows("load_ratings", *_columns(ratings, 3)):
            ledgers[(row["app_id"], row["user_id"])].rated[row["conversation_id"]] = (row["score"], row["comment"])


def _client_key(message: Message) -> tuple[str, str, UUID]:
    return (*message.author.key, message.id)


def _keep_heads(
    rows: Iterable[Record],
    wanted: Sequence[tuple[Any, ...]],
    kept: Sequence[Kept | None],
    ledgers: dict[UserKey, Ledger],
) -> None:
    for row in rows:
        app_id, user_id, conversation_id, *author = wanted[row["n"] - 1]
        ledger = ledgers.get((app_id, user_id))
        if ledger is None:
            continue
        if conversation_id not in ledger.conversations and row["found"]:
            sent, known = row["conversation"], kept[row["n"] - 1]
            ledger.conversations[conversation_id] = (
                copy.copy(known.conversation) if sent is None and known else conversation_of(sent)
            )
        seq = row["stored_seq"]
        if seq is not None:
            ledger.stored[ClientKey(*author)] = Stored(
                row["stored_conversation_id"], seq, row["stored_usn"], row["stored_at"], row["stored_digest"]
            )


async def _load_openings(
    session: Session,
    openings: list[tuple[UUID, UUID, UUID]],
    chosen: list[tuple[UUID, UUID, str]],
    ledgers: dict[UserKey, Ledger],
) -> None:
    owners = {row["conversation_id"]: row for row in await session.rows("load_openings", *_columns(openings, 3))}
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
    _keep_transactions(await session.rows("load_recent_transactions", *_columns(list(new), 2), RECENT), ledgers)
    if chosen:
        _keep_transactions(await session.rows("load_transactions", *_columns(chosen, 3)), ledgers)


async def _load_put(session: Session, puts: list[tuple[UUID, UUID, str]], ledgers: dict[UserKey, Ledger]) -> None:
    columns = _columns(puts, 3)
    _keep_transactions(await session.rows("load_transactions", *columns), ledgers)
    for row in await session.rows("load_conversations_about", *columns):
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
    for row in await session.rows("count_newer", *_columns(list(clamped), 5)):
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
    events = [event for ledger in ledgers for event in ledger.events]
    touched = [conversation for ledger in ledgers for conversation in ledger.touched.values()]
    if not touched:
        return
    heads = [(ledger.app_id, ledger.user_id, ledger.usn) for ledger in ledgers if ledger.events]
    await session.run(
        "write_log",
        *_columns(heads, 3),
        [_event_row(ledger, event) for ledger in ledgers for event in ledger.events],
        [_summary_row(conversation) for conversation in touched],
    )
    for ledger in ledgers:
        for conversation_id in ledger.relisted:
            await _write_lists(session, ledger.conversations[conversation_id])
        for rating in ledger.ratings.values():
            await session.run(
                "put_rating", ledger.app_id, ledger.user_id, rating.conversation_id, rating.score, rating.comment, now
            )
    wanted = {
        event.conversation_id: (event.app_id, event.user_id, event.conversation_id, event.seq)
        for event in events
        if event.kind == Kind.MESSAGE and event.author.type is not AuthorType.USER
    }
    if wanted:
        await session.run("want_push", *_columns(list(wanted.values()), 4), now, now + grace)


async def _write_openings(session: Session, ledger: Ledger) -> None:
    opened = [ledger.conversations[conversation_id] for conversation_id in ledger.opened]
    user = (ledger.app_id, ledger.user_id)
    await session.run("insert_directory", *_columns([(*user, each.conversation_id) for each in opened], 3))
    await session.run(
        "insert_conversations",
        *_columns([(*user, c.conversation_id, c.topic, c.transaction_id, c.opened_at) for c in opened], 6),
    )
    snapshots = [
        (*user, conversation_id, _encode(snapshot), snapshot.frozen_at)
        for conversation_id, snapshot in ledger.snapshots.items()
    ]
    await session.run("insert_snapshots", *_columns(snapshots, 5))


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
        await session.run("put_transactions", *_columns(put, 13), now)


async def _write_lists(session: Session, conversation: Conversation) -> None:
    await session.run(
        "put_lists",
        conversation.app_id,
        conversation.user_id,
        conversation.conversation_id,
        conversation.tags,
        conversation.transaction_ids,
    )


def _event_row(ledger: Ledger, event: Event) -> tuple[Any, ...]:
    """In the order of the type `written_event`."""
    author = event.author
    digest = None
    if event.client_id is not None:
        digest = ledger.stored[ClientKey(*author.key, event.client_id)].digest
    return (
        event.app_id,
        event.user_id,
        event.conversation_id,
        event.seq,
        event.usn,
        event.kind,
        author.type._value_,
        author.id,
        author.name,
        author.avatar_url,
        event.client_id,
        digest,
        event.body,
        event.at,
    )


def _summary_row(conversation: Conversation) -> tuple[Any, ...]:
    """In the order of the type `written_summary`."""
    return (
        conversation.app_id,
        conversation.user_id,
        conversation.conversation_id,
        conversation.seq,
        conversation.rev,
        conversation.status._value_,
        conversation.headline,
        conversation.assignee,
        conversation.snoozed_until,
        conversation.user_read_seq,
        conversation.agent_read_seq,
        conversation.user_unread,
        conversation.agent_unread,
        conversation.last_message,
        conversation.last_message_seq,
        conversation.last_message_author,
        conversation.other_message_seq,
        conversation.updated_at,
        conversation.waiting_since,
        conversation.last_wait_s,
        conversation.answered_at,
    )


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes, one a column."""
    return [[row[column] for row in rows] for column in range(width)]

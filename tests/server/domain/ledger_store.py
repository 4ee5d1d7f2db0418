"""Storage as a few dictionaries: what a `Ledger` is loaded from before a batch and written back to after it.

It loads what `storage.batch` loads and nothing else, so a rule that reaches for more than its batch named is found.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

from server.domain.conversation import Status
from server.domain.events import AuthorType, Kind
from server.domain.intents import AddNote, MarkRead, Open, Post, PutTransaction, Rate
from server.domain.numbering import ClientKey, Ledger, Stored, client_key, opening_key
from server.domain.transaction import RECENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from server.domain.conversation import Conversation
    from server.domain.events import Event
    from server.domain.intents import AnyIntent
    from server.domain.transaction import Snapshot, Transaction


class Kept(NamedTuple):
    transaction: Transaction
    created_at: datetime


class Store:
    """One user's rows. `foreign`: conversation ids that other users have."""

    def __init__(self, app_id: UUID, user_id: UUID, foreign: set[UUID]) -> None:
        self.app_id = app_id
        self.user_id = user_id
        self.foreign = foreign
        self.usn = 0
        self.conversations: dict[UUID, Conversation] = {}
        self.events: list[Event] = []
        self.digests: dict[ClientKey, bytes | None] = {}
        self.transactions: dict[str, Kept] = {}
        self.snapshots: dict[UUID, Snapshot] = {}
        self.ratings: dict[UUID, tuple[int, str | None]] = {}

    def load(self, intents: Sequence[AnyIntent], now: datetime) -> Ledger:
        """A ledger that knows what `intents` need, as it would after the user's row was locked."""
        ledger = Ledger(self.app_id, self.user_id, self.usn, now, "h")
        for intent in intents:
            if isinstance(intent, PutTransaction):
                self._load_transactions(ledger, [intent.transaction.id])
                for conversation in self.conversations.values():
                    if conversation.status is not Status.RESOLVED and (
                        intent.transaction.id in conversation.transaction_ids
                    ):
                        self._load_conversation(ledger, conversation.conversation_id)
                continue
            self._load_conversation(ledger, intent.conversation_id)
            match intent:
                case Post(message=message, after=after):
                    self._load_stored(ledger, client_key(message.author, message.id))
                    if after is not None:
                        self._load_stored(ledger, client_key(message.author, after))
                case AddNote(message=message):
                    self._load_stored(ledger, client_key(message.author, message.id))
                case Open():
                    self._load_opening(ledger, intent)
                case Rate():
                    if intent.conversation_id in self.ratings:
                        ledger.rated[intent.conversation_id] = self.ratings[intent.conversation_id]
                case MarkRead(reader=reader, seq=seq):
                    known = self.conversations.get(intent.conversation_id)
                    if known is not None and seq < known.seq:
                        count = self.recount(intent.conversation_id, reader, seq)
                        ledger.last_counts[(intent.conversation_id, reader, seq)] = count
        return ledger

    def write(self, ledger: Ledger) -> None:
        """Commit what the ledger says has changed."""
        assert ledger.app_id == self.app_id
        assert ledger.user_id == self.user_id
        for event in ledger.events:
            if event.client_id is not None:
                key = client_key(event.author, event.client_id)
                assert key not in self.digests, "a client id was stored twice"
                self.digests[key] = ledger.stored[key].digest
        self.events += ledger.events
        self.usn = ledger.usn
        assert set(ledger.opened) == set(ledger.snapshots)
        assert not set(ledger.opened) & set(self.conversations), "opened twice"
        for conversation_id in ledger.opened:
            assert conversation_id in ledger.touched, "an opened conversation would be written without its summary"
        for conversation_id in ledger.relisted | set(ledger.ratings):
            assert conversation_id in ledger.touched, "storage writes lists and ratings of touched conversations only"
        self.snapshots |= ledger.snapshots
        for conversation_id, conversation in ledger.touched.items():
            before = self.conversations.get(conversation_id)
            lists_changed = before is None or (
                (before.tags, before.transaction_ids) != (conversation.tags, conversation.transaction_ids)
            )
            kept = copy.deepcopy(conversation)
            if conversation_id not in ledger.relisted:
                assert not lists_changed or not (conversation.tags or conversation.transaction_ids), "lists not written"
            self.conversations[conversation_id] = kept
        for conversation_id, rating in ledger.ratings.items():
            self.ratings[conversation_id] = (rating.score, rating.comment)
        for known in ledger.put.values():
            created = self.transactions[known.id].created_at if known.id in self.transactions else ledger.now
            self.transactions[known.id] = Kept(known, created)

    def recount(self, conversation_id: UUID, reader: str, seq: int) -> int:
        """Messages for `reader` newer than `seq`, counted in the log."""
        return sum(
            event.kind == Kind.MESSAGE
            and event.conversation_id == conversation_id
            and event.seq > seq
            and (event.author.type is AuthorType.USER) == (reader == "agent")
            for event in self.events
        )

    def newest_transactions(self) -> list[Transaction]:
        """All of them, newest first, as the index of `user_transaction` has them."""
        kept = sorted(
            self.transactions.values(),
            key=lambda each: (each.transaction.occurred_at or each.created_at, each.transaction.id),
            reverse=True,
        )
        return [each.transaction for each in kept]

    def _load_conversation(self, ledger: Ledger, conversation_id: UUID) -> None:
        if conversation_id in self.conversations and conversation_id not in ledger.conversations:
            ledger.conversations[conversation_id] = copy.deepcopy(self.conversations[conversation_id])

    def _load_stored(self, ledger: Ledger, key: ClientKey) -> None:
        for event in self.events:
            if event.client_id is not None and client_key(event.author, event.client_id) == key:
                ledger.stored[key] = Stored(event.conversation_id, event.seq, event.usn, event.at, self.digests[key])

    def _load_opening(self, ledger: Ledger, intent: Open) -> None:
        if intent.message is not None:
            self._load_stored(ledger, client_key(intent.message.author, intent.message.id))
        if intent.conversation_id in self.foreign:
            ledger.foreign.add(intent.conversation_id)
            return
        for event in self.events:
            if event.conversation_id == intent.conversation_id and event.seq == 1:
                ledger.stored[opening_key(intent.conversation_id)] = Stored(
                    event.conversation_id, 1, event.usn, event.at, None
                )
                return
        self._load_transactions(ledger, [known.id for known in self.newest_transactions()[:RECENT]])
        if intent.transaction_id is not None:
            self._load_transactions(ledger, [intent.transaction_id])

    def _load_transactions(self, ledger: Ledger, ids: Sequence[str]) -> None:
        for known in ids:
            if known in self.transactions:
                transaction, created_at = self.transactions[known]
                ledger.transactions[known] = transaction
                ledger.recency[known] = transaction.occurred_at or created_at

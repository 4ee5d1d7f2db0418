"""A batch of which everything is known already: numbered first, then locked, compared and written in one statement.

Usual messages come in conversations that this node has just written in. What their numbering needs is kept
(`storage.heads`), so they cost one round trip instead of five (begin, lock, load, write, commit). Of whom somebody else
has written meanwhile, nothing is stored; what was numbered for them is thrown away, and they take the long way
(`storage.batch`), as does everything that needs to know more.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from server.domain.intents import MarkRead, Post
from server.domain.numbering import Ledger, client_key
from server.storage import webhook_outbox
from server.storage.batch import Doubt, Outcome, Written, doubts_of, outcome_of
from server.storage.written import columns, known_rows, pushes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from server.domain.intents import AnyIntent
    from server.storage.database import Session
    from server.storage.heads import Heads, UserKey
    from server.storage.webhook_outbox import Subscriptions


class KnownBatch:
    """Give it intents with `number`, in order, then `write` once. Nothing of it is true before that."""

    def __init__(self, heads: Heads, subscriptions: Subscriptions, now: datetime) -> None:
        self._heads = heads
        self._subscriptions = subscriptions
        self._history = heads.history
        self._now = now
        self._ledgers: dict[UserKey, Ledger] = {}
        self._versions: dict[UserKey, str] = {}
        self._intents: list[AnyIntent] = []
        self._outcomes: list[Outcome] = []
        self._barred: set[UserKey] = set()

    def number(self, intents: Sequence[AnyIntent]) -> tuple[UserKey, list[Outcome]] | None:
        """What becomes of `intents` if the user still stands where we left them. None: not everything is known; then
        nothing more of the user is taken, for it has to come after these."""
        user = (intents[0].app_id, intents[0].user_id)
        ledger = self._ledger(user)
        for intent in intents:
            if ledger is None or not self._knows(ledger, user, intent):
                self._barred.update((intent.app_id, intent.user_id) for intent in intents)
                return None
        assert ledger is not None, "nobody asks for nothing"
        self._ledgers[user] = ledger
        outcomes = [outcome_of(ledger, intent) for intent in intents]
        self._intents += intents
        self._outcomes += outcomes
        return user, outcomes

    async def write(self, session: Session, grace: timedelta) -> tuple[Written, set[UserKey]]:
        """Write it, as a transaction of its own, and keep what is the newest now. Returns what was committed, and the
        users for whom it was."""
        wanted, number = (
            self._subscriptions.rows(self._ledgers.values(), self._now),
            self._subscriptions.number_in(self._history),
        )
        if wanted:
            async with session.connection.transaction():
                taken = await self._append(session, grace, number)
                await webhook_outbox.want(session, [row for row in wanted if row[:2] in taken], self._now)
        else:
            taken = await self._append(session, grace, number)
        written = Written(self._history, [], [], [])
        for user, ledger in self._ledgers.items():
            version = taken.get(user)
            if version is None:
                self._heads.forget(user)
                continue
            self._heads.keep(ledger, self._versions[user], version)
            if ledger.events:
                written.logs.append(ledger.events)
            written.touched += ledger.touched.values()
        return written, set(taken)

    async def _append(self, session: Session, grace: timedelta, webhooks: int) -> dict[UserKey, str]:
        """The users who were written for, and the versions of their rows now."""
        users, ledgers = list(self._ledgers), list(self._ledgers.values())
        heads = [(*user, self._versions[user], ledger.usn) for user, ledger in self._ledgers.items()]
        pushes = [(n, *push) for n, ledger in enumerate(ledgers, 1) for push in pushes_of(ledger)]
        rows = await session.rows(
            "append_known",
            *columns(heads, 4),
            self._history,
            [row for n, ledger in enumerate(ledgers, 1) for row in known_rows(ledger, n)],
            *columns(pushes, 3),
            self._now,
            self._now + grace,
            webhooks,
        )
        return {users[row["n"] - 1]: row["version"] for row in rows}

    def doubt(self) -> dict[UserKey, Doubt]:
        """`write` has failed, and whether anything was committed is not known."""
        return doubts_of(self._intents, self._outcomes, self._ledgers)

    def _ledger(self, user: UserKey) -> Ledger | None:
        if user in self._barred:
            return None
        ledger = self._ledgers.get(user)
        if ledger is None and (head := self._heads.find(user)) is not None:
            ledger = Ledger(*user, head.usn, self._now, self._history)
            ledger.stored = dict(head.stored)
            self._versions[user] = head.version
        return ledger

    def _knows(self, ledger: Ledger, user: UserKey, intent: AnyIntent) -> bool:
        """Whether numbering `intent` asks for nothing that is not in `ledger`; puts its conversation there."""
        if not isinstance(intent, Post | MarkRead) or (intent.app_id, intent.user_id) != user:
            return False
        conversation = ledger.conversations.get(intent.conversation_id)
        if conversation is None:
            head = self._heads.find(user)
            kept = head.conversations.get(intent.conversation_id) if head is not None else None
            if kept is None:
                return False
            conversation = ledger.conversations[intent.conversation_id] = copy.copy(kept)
        if isinstance(intent, MarkRead):
            # What is unread beyond the newest event need not be counted.
            return intent.seq >= conversation.seq
        about = intent.message.body.transaction_id
        if about is not None and about not in conversation.transaction_ids:
            return False
        return intent.after is None or client_key(intent.message.author, intent.after) in ledger.stored

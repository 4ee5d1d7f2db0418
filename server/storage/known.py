"""A batch of which everything is known already: numbered first, then locked, compared and written in one statement.

Usual messages come in conversations that this node has just written in. What their numbering needs is kept
(`storage.heads`), so they cost one round trip instead of five (begin, lock, load, write, commit). Of whom somebody else
has written meanwhile, nothing is stored; what was numbered for them is thrown away, and they take the long way
(`storage.batch`), as does everything that needs to know more.
"""

from __future__ import annotations

import copy
from functools import cached_property
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
    from server.storage.heads import Head, Heads, UserKey
    from server.storage.webhook_outbox import Subscriptions

_USUAL = (Post, MarkRead)


class KnownBatch:
    """Give it intents with `number`, in order, then `write` once. Nothing of it is true before that."""

    def __init__(self, heads: Heads, subscriptions: Subscriptions, now: datetime) -> None:
        self._heads = heads
        self._subscriptions = subscriptions
        self._history = heads.history
        self._now = now
        self._parts: dict[UserKey, tuple[Ledger, Head]] = {}
        self._intents: list[AnyIntent] = []
        self._outcomes: list[Outcome] = []
        self._barred: set[UserKey] = set()
        self._taken: dict[UserKey, str] = {}

    def number(self, intents: Sequence[AnyIntent]) -> tuple[UserKey, list[Outcome]] | None:
        """What becomes of `intents` if the user still stands where we left them. None: not everything is known; then
        nothing more of the user is taken, for it has to come after these."""
        user = (intents[0].app_id, intents[0].user_id)
        part = None if user in self._barred else self._parts.get(user) or self._part(user)
        if part is None or not all(_knows(*part, intent) for intent in intents):
            self._barred.update((intent.app_id, intent.user_id) for intent in intents)
            return None
        self._parts[user] = part
        outcomes = [outcome_of(part[0], intent) for intent in intents]
        self._intents += intents
        self._outcomes += outcomes
        return user, outcomes

    def _part(self, user: UserKey) -> tuple[Ledger, Head] | None:
        head = self._heads.find(user)
        if head is None:
            return None
        ledger = Ledger(*user, head.usn, self._now, self._history)
        ledger.stored = head.stored.copy()
        return ledger, head

    @property
    def _ledgers(self) -> dict[UserKey, Ledger]:
        return {user: ledger for user, (ledger, _) in self._parts.items()}

    @property
    def deliveries(self) -> list[webhook_outbox.Row]:
        """What webhooks are to hear of it. Ask when everything is numbered."""
        return self._wanted[0]

    @cached_property
    def _wanted(self) -> tuple[list[webhook_outbox.Row], int]:
        """With the number of the change they are as of, taken in the same moment: while a connection is waited for,
        another lane may read what endpoints want anew, and these rows must not pass for as new as that."""
        rows = self._subscriptions.rows((ledger for ledger, _ in self._parts.values()), self._now)
        return rows, self._subscriptions.number_in(self._history)

    async def write(self, session: Session, grace: timedelta) -> tuple[Written, set[UserKey]]:
        """Write it; then commit, and call `remember`. Returns what is committed then, and the users for whom it is."""
        users, ledgers = list(self._parts), [ledger for ledger, _ in self._parts.values()]
        heads = [(*user, head.version, ledger.usn) for user, (ledger, head) in self._parts.items()]
        pushes = [(n, *push) for n, ledger in enumerate(ledgers, 1) for push in pushes_of(ledger)]
        rows = await session.rows(
            "append_known",
            *columns(heads, 4),
            self._history,
            [row for n, ledger in enumerate(ledgers, 1) for row in known_rows(ledger, n)],
            *columns(pushes, 3),
            self._now,
            self._now + grace,
            self._wanted[1],
        )
        taken = self._taken = {users[row["n"] - 1]: row["version"] for row in rows}
        if self.deliveries:
            wanted = [row for row in self.deliveries if (row[0], row[1]) in taken]
            await webhook_outbox.want(session, wanted, self._now)
        written = Written(self._history, [], [], [])
        for user in taken:
            ledger = self._parts[user][0]
            if ledger.events:
                written.logs.append(ledger.events)
            written.touched += ledger.touched.values()
        return written, set(taken)

    def remember(self) -> None:
        """It is committed."""
        for user, (ledger, head) in self._parts.items():
            version = self._taken.get(user)
            if version is None:
                self._heads.forget(user)
            else:
                self._heads.keep(ledger, head.version, version)

    def doubt(self) -> dict[UserKey, Doubt]:
        """`write` has failed, and whether anything was committed is not known."""
        return doubts_of(self._intents, self._outcomes, self._ledgers)


def _knows(ledger: Ledger, head: Head, intent: AnyIntent) -> bool:
    """Whether numbering `intent` asks for nothing that is not in `ledger`; puts its conversation there."""
    if not isinstance(intent, _USUAL) or intent.user_id != ledger.user_id or intent.app_id != ledger.app_id:
        return False
    conversation = ledger.conversations.get(intent.conversation_id)
    if conversation is None:
        kept = head.conversations.get(intent.conversation_id)
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

"""The heads of users' logs as this node has last written them.

A conversation that is talked in is written again and again, mostly by the same node, and each time its summary and the
user's newest number are needed as they were before. Whoever writes in a user's log changes the user's row (the lock
under which it is numbered), so the version of that one row (`xmin`, the transaction that wrote it) tells whether all
that is kept here is still so. It is believed only by a statement that compares the version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

    from server.domain.conversation import Conversation
    from server.domain.numbering import ClientKey, Ledger, Stored

UserKey = tuple["UUID", "UUID"]

MOST_USERS = 10_000
MOST_CONVERSATIONS = 8
MOST_STORED = 2
"""Messages of a user that are kept by their client ids: `after` names the one before."""


class Head(NamedTuple):
    """`version`: the `xmin` of the user's row. `conversations`: some of the user's, never changed in place: make a copy
    to work on (their lists are replaced when they change, so a shallow one will do). `stored`: the newest messages."""

    version: str
    usn: int
    conversations: dict[UUID, Conversation]
    stored: dict[ClientKey, Stored]


class Heads:
    """Keeps those of the users who were written for last."""

    def __init__(self, most: int = MOST_USERS) -> None:
        self._most = most
        self._kept: dict[UserKey, Head] = {}
        self.history = ""
        """The history in which all of this was written. Numbers of transactions mean nothing in another."""

    def find(self, user: UserKey) -> Head | None:
        return self._kept.get(user)

    def forget(self, user: UserKey) -> None:
        """Somebody else has written meanwhile."""
        self._kept.pop(user, None)

    def clear(self) -> None:
        """Something went wrong: after a crash that lost commits (only where durability is off) a version may be used
        again."""
        self._kept.clear()

    def keep(self, ledger: Ledger, before: str, version: str) -> None:
        """The user's log is as in `ledger`; its row has `version` now, and had `before` when the ledger was made."""
        if ledger.history != self.history:
            self._kept.clear()
            self.history = ledger.history
        user = (ledger.app_id, ledger.user_id)
        known = self._kept.pop(user, None)
        conversations = ledger.conversations
        if known is not None and known.version == before and known.conversations.keys() - conversations.keys():
            conversations = {**known.conversations, **conversations}
            while len(conversations) > MOST_CONVERSATIONS:
                del conversations[next(iter(conversations))]
        stored = ledger.stored
        if len(stored) > MOST_STORED:
            stored = dict(list(stored.items())[-MOST_STORED:])
        self._kept[user] = Head(version, ledger.usn, conversations, stored)
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]

"""Summaries of conversations as this node has last written them.

A conversation that is talked in is written again and again, mostly by the same node, and each time its row is needed
as it was before. The row's version (`xmin`, the transaction that wrote it) tells whether it is still the one we wrote;
then PostgreSQL need not send it, nor we read it. Whatever anybody else does to the row, its version is another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from server.domain.conversation import Conversation

MOST = 10_000
XIDS = 2**32
"""`xmin` is the lower half of a transaction's number."""


class Kept(NamedTuple):
    """`version`: the `xmin` of the row. The conversation is never changed: make a copy to work on. Its lists are
    replaced when they change, never changed in place, so a shallow one will do."""

    version: str
    conversation: Conversation


class Summaries:
    """Keeps the newest `most`."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: dict[UUID, Kept] = {}
        self._history: str | None = None

    def find(self, conversation_id: UUID, history: str) -> Kept | None:
        """The row as we wrote it, if we know it in this history. Numbers of transactions mean nothing in another."""
        return self._kept.get(conversation_id) if history == self._history else None

    def clear(self) -> None:
        """Something went wrong: after a crash that lost commits (only where durability is off) a version may be used
        again."""
        self._kept.clear()

    def keep(self, history: str, transaction: str, written: Iterable[Conversation]) -> None:
        """These were committed by `transaction`."""
        if history != self._history:
            self._kept.clear()
            self._history = history
        version = str(int(transaction) % XIDS)
        for conversation in written:
            self._kept.pop(conversation.conversation_id, None)
            self._kept[conversation.conversation_id] = Kept(version, conversation)
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]

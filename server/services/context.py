"""What the company knows: transactions, stated by the app's own server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.domain.bounds import check_open, check_time
from server.domain.errors import BadRequest, DomainError, TooLarge
from server.domain.ids import user_id_of
from server.domain.intents import PutTransaction
from server.domain.people import check_external_id
from server.storage import people, transactions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from server.clock import Clock
    from server.domain.transaction import Transaction
    from server.storage.batch import Outcome
    from server.storage.database import Database
    from server.storage.writer import Writer

MAX_BATCH = 1000
CHUNK = 100
"""Transactions handed to the writer at a time, so that a large batch does not hold up messages."""


class Context:
    """Transactions of users."""

    def __init__(self, database: Database, writer: Writer, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def put_transaction(self, app_id: UUID, external_id: str, transaction: Transaction) -> bool:
        """Take a version of a transaction; False if this or a newer one is known already."""
        outcome = (await self.put_transactions(app_id, [(external_id, transaction)]))[0]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome.applied

    async def put_transactions(self, app_id: UUID, given: Sequence[tuple[str, Transaction]]) -> list[Outcome]:
        """Many of them; each has an outcome of its own. Users that are new are made."""
        if len(given) > MAX_BATCH:
            raise TooLarge(f"A batch has at most {MAX_BATCH} transactions.", field="transactions")
        outcomes: list[Outcome | None] = [None] * len(given)
        good: list[tuple[int, PutTransaction]] = []
        users: dict[UUID, str] = {}
        for position, (external_id, transaction) in enumerate(given):
            try:
                check_external_id(external_id)
                check_transaction(transaction)
            except DomainError as refusal:
                outcomes[position] = refusal
                continue
            user_id = user_id_of(app_id, external_id)
            users[user_id] = external_id
            good.append((position, PutTransaction(app_id=app_id, user_id=user_id, transaction=transaction)))
        if users:
            await people.ensure_many(self._database, app_id, list(users.items()), self._clock.now())
        for start in range(0, len(good), CHUNK):
            chunk = good[start : start + CHUNK]
            written = await self._writer.append([intent for _, intent in chunk])
            for (position, _), outcome in zip(chunk, written, strict=True):
                outcomes[position] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    async def list_transactions(
        self, app_id: UUID, external_id: str, limit: int, after: tuple[datetime, str] | None = None
    ) -> list[tuple[datetime, Transaction]]:
        """Newest first, each with the time it is sorted by."""
        check_external_id(external_id)
        return await transactions.list_newest(self._database, app_id, user_id_of(app_id, external_id), limit, after)


def check_transaction(transaction: Transaction) -> None:
    """What a schema does not say: nothing that PostgreSQL or a reader cannot hold, and not too much of it."""
    for field in ("id", "kind", "status", "title", "url", "image_url"):
        value = getattr(transaction, field)
        if value is not None and "\x00" in value:
            raise BadRequest("Text must not contain the character U+0000.", field=field)
    check_time(transaction.occurred_at, "occurred_at")
    check_open(transaction.attributes, "attributes")

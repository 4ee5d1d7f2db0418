"""Asking an app's server for an action until it says what became of it (docs/actions.md).

Each step is safe to lose. What is claimed and not settled falls due again when its lease ends, and is asked with the
same key and the same body, so a server that honours the key does it once. What an answer brings along (a coupon, a
newer transaction) is written in one transaction with the state, and where it was written before, it is not again.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from server.config_values import Secret
from server.domain.action import GIVEN_UP_AFTER, WITHIN_S, Cause, pause_after
from server.domain.errors import Conflict, DomainError, Unavailable
from server.domain.events import SYSTEM, Author, AuthorType
from server.domain.ids import client_id_of, new_id
from server.domain.intents import Message, MoveAction, Post, PutTransaction
from server.outgoing.interface import Answered, Call, Refused
from server.services.action_answer import answer_of
from server.services.vault import WrongKey
from server.storage import actions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.domain.intents import AnyIntent
    from server.outgoing.interface import Outcome, Outgoing
    from server.services.action_answer import Answer
    from server.services.vault import Vault
    from server.storage.actions import Claimed, Look
    from server.storage.database import Database
    from server.storage.writer import Writer
    from server.telemetry import Metrics

LEASE = timedelta(seconds=WITHIN_S * 2.5)
_CAUSES = {"done": Cause.ANSWER_DONE, "failed": Cause.ANSWER_FAILED, "pending": Cause.ANSWER_PENDING}

_encode = msgspec.json.Encoder().encode


class ActionCalls:
    """Works on claimed actions. `luck`: from 0 to 1, for the jitter."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        outgoing: Outgoing,
        vault: Vault,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        *,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._writer = writer
        self._outgoing = outgoing
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._luck = luck

    async def claim(self, limit: int, busy: Sequence[UUID] = ()) -> list[Claimed]:
        """Take up to `limit` that are due, none of the definitions in `busy`."""
        now = self._clock.now()
        return await actions.claim(self._database, now, now + LEASE, new_id(now), list(busy), limit)

    async def oldest_age(self) -> float:
        """For how many seconds something has been due that nobody works on."""
        now = self._clock.now()
        due = await actions.oldest_due(self._database, now)
        return max(0.0, (now - due).total_seconds()) if due else 0.0

    async def ask(self, claimed: Claimed) -> None:
        """One call, and what became of it."""
        seen = await actions.look(self._database, claimed, self._clock.now())
        if seen is None:
            return
        outcome = await self._call(seen)
        answer = answer_of(outcome, seen.action.transaction_id)
        self._metrics.action_outcomes.labels(answer.state or "unknown").inc()
        await self._settle(seen, claimed.token, outcome, answer)

    async def _call(self, seen: Look) -> Outcome:
        action_id = str(seen.action.action_id)
        try:
            secrets = tuple(Secret(self._vault.open(sealed).decode()) for sealed in seen.sealed)
        except WrongKey:
            self._log.error("the secrets of actions cannot be read", action=action_id)
            return Refused(reason="its secret cannot be read: the installation's key has changed")
        return await self._outgoing.post(
            Call(
                url=seen.url,
                id=action_id,
                body=body_of(seen),
                secrets=secrets,
                headers={"Idempotency-Key": action_id},
                within_s=WITHIN_S,
            )
        )

    async def _settle(self, seen: Look, token: UUID, outcome: Outcome, answer: Answer) -> None:
        """What the answer brings comes first: should only a part be written, it is asked again and the rest follows."""
        action = seen.action
        place: dict[str, Any] = {"app_id": action.app_id, "user_id": action.user_id}
        intents: list[AnyIntent] = []
        if answer.transaction is not None:
            intents.append(PutTransaction(**place, transaction=answer.transaction))
        if answer.coupon is not None and answer.state == "done":
            giver = Author(AuthorType.AGENT, str(action.requested_by), seen.requested_name, seen.requested_avatar)
            card = Message(client_id_of(action.action_id, "coupon"), giver, answer.coupon)
            intents.append(Post(**place, conversation_id=action.conversation_id, message=card))
        intents.append(
            MoveAction(
                **place,
                conversation_id=action.conversation_id,
                author=SYSTEM,
                action_id=action.action_id,
                cause=_CAUSES[answer.state] if answer.state is not None else Cause.NO_ANSWER,
                claim=token,
                due_at=self._next(seen, outcome) if answer.state in (None, "pending") else None,
                status=outcome.status if isinstance(outcome, Answered) else None,
                error=answer.error,
                message=answer.message,
            )
        )
        *brought, moved = await self._writer.append(intents)
        if isinstance(moved, Unavailable):
            raise moved
        for refusal in brought:
            if isinstance(refusal, DomainError):
                self._log.warning("what an action brought was refused", action=str(action.action_id), why=str(refusal))
        if isinstance(moved, DomainError) and not isinstance(moved, Conflict):
            self._log.warning("an action was not settled", action=str(action.action_id), why=str(moved))

    def _next(self, seen: Look, outcome: Outcome) -> datetime | None:
        """When to ask again; None when the days are over: then a person must."""
        action, now = seen.action, self._clock.now()
        until = action.since + GIVEN_UP_AFTER
        if now >= until:
            return None
        pause = pause_after(action.attempts + 1, self._luck())
        asked = outcome.retry_after if isinstance(outcome, Answered) else None
        if asked is not None:
            pause = max(pause, timedelta(seconds=min(asked, 3600.0)))
        return min(now + pause, until)


def body_of(seen: Look) -> bytes:
    """The same bytes at every try."""
    action = seen.action
    body: dict[str, Any] = {
        "id": action.action_id,
        "action": action.name,
        "app": action.app_id,
        "conversation": action.conversation_id,
        "user": {"id": action.user_id, "external_id": seen.external_id},
        "transaction": msgspec.Raw(action.transaction) if action.transaction is not None else None,
        "parameters": msgspec.Raw(action.parameters),
        "requested_by": {"id": action.requested_by},
    }
    if action.decided_by is not None:
        body["approved_by"] = {"id": action.decided_by}
    return _encode(body)

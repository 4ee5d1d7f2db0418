"""Getting an event to an app's own server (docs/webhooks.md): one lane, from look to settled.

The promise is at least once, in the order of the conversation, with the same id every time. Each step is safe to lose:
what is claimed and not settled falls due again when its lease ends.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from server.config_values import Secret
from server.domain.ids import new_id
from server.domain.webhook import (
    GIVEN_UP_AFTER,
    LONGEST_RETRY_AFTER_S,
    PAUSED_AFTER,
    PAUSED_FAILURES,
    hold_after,
    pause_after,
)
from server.outgoing.interface import WITHIN_S, Answered, Call, Refused, Unreachable
from server.services.vault import WrongKey
from server.services.webhook_body import body_of
from server.storage import webhook_outbox, webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.domain.events import Event
    from server.outgoing.interface import Outcome, Outgoing
    from server.services.vault import Vault
    from server.storage.database import Database
    from server.storage.webhook_outbox import Lane, Look, Waiting
    from server.telemetry import Metrics

LEASE = timedelta(seconds=WITHIN_S * 3)
IN_A_ROW = 20
"""Deliveries of a lane before another one has its turn."""
GONE = 410
THROTTLED = frozenset({429, 503})


class WebhookDelivery:
    """Works on lanes. `wire`: an event as JSON as it is on the wire. `luck`: from 0 to 1, for the jitter."""

    def __init__(
        self,
        database: Database,
        outgoing: Outgoing,
        vault: Vault,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        *,
        wire: Callable[[Event], bytes],
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._outgoing = outgoing
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._wire = wire
        self._luck = luck

    async def claim(
        self, limit: int, *, busy: Mapping[UUID, int], per_endpoint: int, endpoint: UUID | None = None
    ) -> list[Lane]:
        """Take up to `limit` lanes in which something is due, of `endpoint` only if it is given."""
        now = self._clock.now()
        return await webhook_outbox.claim(
            self._database,
            now,
            now + LEASE,
            new_id(now),
            busy=busy,
            per_endpoint=per_endpoint,
            endpoint=endpoint,
            limit=limit,
        )

    async def oldest_age(self) -> float:
        """For how many seconds something has been due that nobody works on, though its endpoint is well."""
        now = self._clock.now()
        due = await webhook_outbox.oldest_due(self._database, now)
        return max(0.0, (now - due).total_seconds()) if due else 0.0

    async def deliver(self, lane: Lane) -> None:
        """Deliver what waits in a lane, up to `IN_A_ROW`, until one fails."""
        for left in reversed(range(IN_A_ROW)):
            seen = await webhook_outbox.look(self._database, lane, self._clock.now())
            if seen is None:
                return
            now = self._clock.now()
            if seen.waiting is None:
                await webhook_outbox.release(self._database, lane, now, done=seen.head)
                return
            if not seen.open or (seen.held_until is not None and seen.held_until > now):
                await webhook_outbox.release(self._database, lane, max(now, seen.held_until or now))
                return
            if not await self._attempt(lane, seen, seen.waiting, keep=left > 0):
                return

    async def _attempt(self, lane: Lane, seen: Look, waiting: Waiting, *, keep: bool) -> bool:
        """One call, and what became of it. True if the claim is still ours and the lane may go on."""
        body = body_of(lane, seen, waiting, self._wire)
        if body is None:
            error = "not sent: its words are gone (retention)"
            return await self._settle(lane, waiting, "dead", keep=keep, status=None, error=error)
        try:
            secrets = tuple(Secret(self._vault.open(sealed).decode()) for sealed in seen.sealed)
        except WrongKey:
            self._log.error("the secrets of webhooks cannot be read", endpoint=str(lane.endpoint_id))
            outcome: Outcome = Refused(reason="its secret cannot be read: the installation's key has changed")
        else:
            outcome = await self._outgoing.post(
                Call(url=seen.url, id=str(waiting.event_id), body=body, secrets=secrets)
            )
        self._metrics.webhook_outcomes.labels(_label(outcome)).inc()
        if isinstance(outcome, Answered) and outcome.ok:
            if seen.failures:
                await webhooks.note_success(self._database, lane.endpoint_id)
            return await self._settle(lane, waiting, "delivered", keep=keep, status=outcome.status, error=None)
        await self._failed(lane, seen, waiting, outcome)
        return False

    async def _failed(self, lane: Lane, seen: Look, waiting: Waiting, outcome: Outcome) -> None:
        now = self._clock.now()
        status = outcome.status if isinstance(outcome, Answered) else None
        error = words_of(outcome)
        if status == GONE:
            await self._settle(lane, waiting, "pending", keep=False, status=status, error=error, due_at=now)
            await webhooks.disable(self._database, lane.endpoint_id, "It answered 410 Gone.")
            self._log.warning("a webhook is gone and was disabled", endpoint=str(lane.endpoint_id))
            return
        asked = outcome.retry_after if isinstance(outcome, Answered) else None
        asked = min(asked, LONGEST_RETRY_AFTER_S) if asked is not None else None
        due_at = self._next_try(waiting, seen.retry_from, now, asked)
        paused = await self._note_failure(lane, seen, now, asked if status in THROTTLED else None, error)
        if due_at is None and paused:
            due_at = now  # whatever waits for a paused endpoint is kept
        if due_at is not None:
            await self._settle(lane, waiting, "pending", keep=False, status=status, error=error, due_at=due_at)
            return
        self._log.warning(
            "a webhook was given up", endpoint=str(lane.endpoint_id), conversation=str(lane.conversation_id)
        )
        self._metrics.webhook_outcomes.labels("dead").inc()
        # The next one is tried at its own time: this one has just shown that now is not a good one.
        due_at = now + timedelta(seconds=pause_after(1, self._luck()))
        await self._settle(lane, waiting, "dead", keep=False, status=status, error=error, due_at=due_at)

    def _next_try(self, waiting: Waiting, retry_from: datetime, now: datetime, asked: float | None) -> datetime | None:
        """When to try again, None if the three days are over: counted from when it was wanted, or from when its
        endpoint was switched on again. Those that wait behind another one have less time left, but one try at least."""
        pause = pause_after(waiting.attempts + 1, self._luck())
        until = max(waiting.queued_at, retry_from) + GIVEN_UP_AFTER
        if now >= until:
            return None
        return min(now + timedelta(seconds=max(pause, asked or 0.0)), until)

    async def _note_failure(self, lane: Lane, seen: Look, now: datetime, asked: float | None, error: str) -> bool:
        """True if the endpoint is paused now."""
        hold = max(hold_after(seen.failures + 1, self._luck()) or 0.0, asked or 0.0)
        paused_at = await webhooks.note_failure(
            self._database,
            lane.endpoint_id,
            now,
            held_until=now + timedelta(seconds=hold) if hold else None,
            failing_before=now - PAUSED_AFTER,
            failures=PAUSED_FAILURES,
            reason=f"Paused after a day of nothing but failures; the last one: {error}. Switch it on again with "
            "`enabled`: its deliveries are kept.",
        )
        if paused_at == now:
            self._log.warning("a webhook is paused after a day of failures", endpoint=str(lane.endpoint_id))
        return paused_at is not None

    async def _settle(
        self,
        lane: Lane,
        waiting: Waiting,
        state: str,
        *,
        keep: bool,
        status: int | None,
        error: str | None,
        due_at: datetime | None = None,
    ) -> bool:
        now = self._clock.now()
        ours = await webhook_outbox.settle(
            self._database,
            lane,
            waiting.place,
            state=state,
            due_at=now + LEASE if keep else due_at or now,
            keep=keep,
            status=status,
            error=error,
            at=now,
        )
        return ours and keep


def words_of(outcome: Outcome) -> str:
    """What became of a call, for whoever looks after the endpoint."""
    match outcome:
        case Answered(status=status) if 300 <= status < 400:
            return f"it answered {status}: redirects are not followed"
        case Answered(status=status):
            return f"it answered {status}"
        case Unreachable(reason=reason):
            return reason
        case Refused(reason=reason):
            return f"not called: {reason}"


def _label(outcome: Outcome) -> str:
    if isinstance(outcome, Answered):
        return "delivered" if outcome.ok else "refused"
    return "unreachable" if isinstance(outcome, Unreachable) else "forbidden"

"""Getting an answer to a phone that does not look (docs/push.md): one claim, from look to settled.

The promise is at least once to the provider, and nothing for what was read or stored meanwhile. Each step is safe to
lose: what is claimed and not settled falls due again when its lease ends.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec

from push.payload import summary_text
from push.sender import MAX_LOCALE_CHARS, Address, ConfigFault, Notification, Outcome, Rejected, Retry, Sent, TokenGone
from server.domain import message
from server.domain.errors import DomainError
from server.domain.ids import new_id
from server.storage import push_outbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from push.sender import Platform, Provider, Sender
    from server.clock import Clock
    from server.storage.database import Database
    from server.storage.push_outbox import Claim, Look, PushState
    from server.telemetry import Metrics

OLDEST = timedelta(hours=24)
MOST_ATTEMPTS = 50
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
CIRCUIT_S = 60.0
"""How long a provider that refuses our credentials is left alone before it is asked again."""
FAULT_SHOWN_S = 3 * CIRCUIT_S
"""How long health shows it when nothing is left to try it with."""


class Notifications:
    """Works on claims. `senders` by provider; a provider without credentials has a recording one."""

    def __init__(
        self,
        database: Database,
        senders: Mapping[str, Sender],
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        *,
        lease: timedelta,
        preview: bool,
    ) -> None:
        self._database = database
        self._senders = senders
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._lease = lease
        self._preview = preview
        self._not_before: dict[str, datetime] = {}
        self._faults: dict[str, tuple[str, datetime]] = {}

    @property
    def faults(self) -> dict[str, str]:
        """Providers that refused our credentials lately, and what they say. Health shows it."""
        now = self._clock.now()
        return {provider: reason for provider, (reason, until) in self._faults.items() if until > now}

    async def claim(self, limit: int) -> list[Claim]:
        """Take up to `limit` pushes that are due."""
        now = self._clock.now()
        return await push_outbox.claim(self._database, now, new_id(now), now + self._lease, limit)

    async def oldest_age(self) -> float:
        """For how many seconds the push that waits longest has been due."""
        now = self._clock.now()
        due = await push_outbox.oldest_due(self._database, now)
        return max(0.0, (now - due).total_seconds()) if due else 0.0

    async def deliver(self, claimed: Claim) -> None:
        """Look again, send, write down what became of it."""
        seen = await push_outbox.look(self._database, claimed)
        if seen is None or seen.push_token is None or seen.provider is None:
            await push_outbox.bury(self._database, claimed, "no push token", self._clock.now())
            return
        if seen.claim != claimed.token:
            return
        reason = _suppressed(seen)
        if reason is not None:
            self._count(seen.provider, "suppressed")
            await push_outbox.settle(self._database, claimed, seen.want_seq, reason, self._clock.now())
            return
        if self._clock.now() - seen.message_at > OLDEST:
            # Whatever it was that kept it waiting: yesterday's answers must not arrive as a flood once it is repaired.
            await push_outbox.bury(self._database, claimed, "given up: older than a day", self._clock.now())
            return
        held = self._not_before.get(seen.provider)
        if held is not None and held > self._clock.now():
            await push_outbox.postpone(
                self._database, claimed, held, "the provider asked us to wait", self._clock.now(), held=True
            )
            return
        sender = self._senders[seen.provider]
        outcome = await sender.send(_address(seen), self._notification(claimed, seen), quiet=seen.ambiguous)
        await self._settle(claimed, seen, outcome)

    async def of_conversation(self, app_id: UUID, user_id: UUID, conversation_id: UUID) -> list[PushState]:
        """What became of the pushes of a conversation, device by device."""
        return await push_outbox.of_conversation(self._database, app_id, user_id, conversation_id)

    def _notification(self, claimed: Claim, seen: Look) -> Notification:
        conversation = str(claimed.conversation_id)
        return Notification(
            title=seen.author_name or seen.app_name,
            body=summary_text(max(1, seen.fresh), _preview(seen.body), self._preview),
            tag=conversation,
            badge=seen.badge,
            data={"seq": str(seen.want_seq)},
            locale=_locale(seen.locale),
        )

    async def _settle(self, claimed: Claim, seen: Look, outcome: Outcome) -> None:
        now = self._clock.now()
        provider = cast("str", seen.provider)
        self._count(provider, type(outcome).__name__.lower())
        if not isinstance(outcome, ConfigFault):
            self._faults.pop(provider, None)
        match outcome:
            case Sent():
                await push_outbox.settle(self._database, claimed, seen.want_seq, "accepted", now)
            case TokenGone(reason=reason, at=at):
                earlier = at is not None and seen.push_token_at is not None and at < seen.push_token_at
                if not earlier and await push_outbox.drop_token(self._database, claimed, seen):
                    await push_outbox.bury(self._database, claimed, f"token gone: {reason}", now)
                else:
                    # It speaks of the token before: one was registered since, and the answer is still wanted there.
                    await self._try_later(claimed, seen, Retry(f"token gone, and registered anew: {reason}"), now)
            case Rejected(reason=reason):
                self._log.warning("push rejected", reason=reason, conversation=str(claimed.conversation_id))
                await push_outbox.bury(self._database, claimed, f"rejected: {reason}", now)
            case ConfigFault(reason=reason):
                self._log.error("push credentials refused", provider=provider, reason=reason)
                self._faults[provider] = (reason, now + timedelta(seconds=FAULT_SHOWN_S))
                later = self._not_before[provider] = now + timedelta(seconds=CIRCUIT_S)
                await push_outbox.postpone(self._database, claimed, later, f"credentials: {reason}", now, held=True)
            case Retry():
                await self._try_later(claimed, seen, outcome, now)

    async def _try_later(self, claimed: Claim, seen: Look, outcome: Retry, now: datetime) -> None:
        if now - seen.message_at > OLDEST or claimed.attempts >= MOST_ATTEMPTS:
            await push_outbox.bury(self._database, claimed, f"given up: {outcome.reason}", now)
            return
        pause = outcome.retry_after
        if pause is None:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(claimed.attempts - 1, 20))
            pause *= 0.5 + random.random() / 2
        due = now + timedelta(seconds=pause)
        if outcome.throttled:
            provider = cast("str", seen.provider)
            self._not_before[provider] = max(due, self._not_before.get(provider, due))
        await push_outbox.postpone(self._database, claimed, due, outcome.reason, now, ambiguous=outcome.ambiguous)

    def _count(self, provider: str, outcome: str) -> None:
        self._metrics.push_outcomes.labels(provider, outcome).inc()


def _suppressed(seen: Look) -> str | None:
    """Why nothing needs to be sent. Only what the device or the user themselves said counts, never presence."""
    if seen.owner_epoch != seen.wanted_epoch:
        return "the device has changed hands"
    if seen.want_seq <= seen.sent_seq:
        return "accepted"
    if seen.user_read_seq >= seen.want_seq:
        return "read"
    if seen.acked_usn >= seen.message_usn:
        return "on the device"
    return None


def _address(seen: Look) -> Address:
    value: Any = seen.push_token
    if seen.provider == "webpush":
        return Address("webpush", "subscription", msgspec.json.decode(value), cast("Platform", seen.platform))
    return Address(cast("Provider", seen.provider), "token", value, cast("Platform", seen.platform))


def _locale(said: str | None) -> str | None:
    """What a device said its language is, if that can be sent on; nonsense must not keep an answer from it."""
    return said if said and said.isascii() and said.isprintable() and len(said) <= MAX_LOCALE_CHARS else None


def _preview(body: bytes) -> str:
    try:
        return message.parse(body, "agent").preview
    except DomainError:
        return ""

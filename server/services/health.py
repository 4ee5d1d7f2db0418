"""Is this node well? Red whenever messages, pushes, webhooks, actions would be late (architecture.md, "Operations")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from server.domain.errors import Unavailable
from server.storage import facts

if TYPE_CHECKING:
    from server.bus.interface import Bus
    from server.clock import Clock
    from server.services.action_calls import ActionCalls
    from server.services.notifications import Notifications
    from server.services.webhook_delivery import WebhookDelivery
    from server.storage.database import Database

ANSWER_WITHIN_S = 2.0
OUTBOX_OLD_S = 60.0


class Health:
    """`database`: what PostgreSQL said of itself at the start: version, and the durability in force."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        notifications: Notifications,
        webhooks: WebhookDelivery,
        actions: ActionCalls,
        clock: Clock,
    ) -> None:
        self._database = database
        self._bus = bus
        self._notifications = notifications
        self._webhooks = webhooks
        self._actions = actions
        self._clock = clock
        self.database: dict[str, str] = {}

    async def look_at_database(self) -> None:
        """Read the facts that do not change while it runs."""
        self.database = await facts.of_database(self._database)

    async def reasons(self) -> dict[str, str]:
        """Why this node should get no traffic, by part; empty while all is well."""
        reasons: dict[str, str] = {}
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                age = await self._notifications.oldest_age()
                webhooks_age = await self._webhooks.oldest_age()
                actions_age = await self._actions.oldest_age()
        except (Unavailable, TimeoutError):
            reasons["database"] = f"PostgreSQL does not answer within {ANSWER_WITHIN_S:.0f} s"
        else:
            if age > OUTBOX_OLD_S:
                reasons["push"] = f"the oldest push has been due for {age:.0f} s"
            if webhooks_age > OUTBOX_OLD_S:
                reasons["webhooks"] = f"a webhook has been due for {webhooks_age:.0f} s and nobody works on it"
            if actions_age > OUTBOX_OLD_S:
                reasons["actions"] = f"an action has been due for {actions_age:.0f} s and nobody works on it"
        if self._bus.degraded is not None:
            reasons["bus"] = self._bus.degraded
        for provider, fault in self._notifications.faults.items():
            reasons[f"push.{provider}"] = fault
        return reasons

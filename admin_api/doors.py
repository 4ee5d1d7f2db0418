"""What the HTTP doors stand on. `server/wiring.py` builds it; everything here is shared by every request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from server.config import RateLimit
from server.services.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp
    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.config import Config
    from server.services.action_definitions import ActionDefinitions
    from server.services.actions import Actions
    from server.services.agents import Agents
    from server.services.apps import Apps
    from server.services.context import Context
    from server.services.conversations import Conversations
    from server.services.identity import Identity
    from server.services.messaging import Messaging
    from server.services.notifications import Notifications
    from server.services.people import People
    from server.services.webhooks import Webhooks
    from server.telemetry import Metrics


@dataclass(frozen=True, kw_only=True)
class Services:
    """The use cases, one object a noun."""

    identity: Identity
    apps: Apps
    agents: Agents
    people: People
    messaging: Messaging
    conversations: Conversations
    context: Context
    notifications: Notifications
    webhooks: Webhooks
    actions: Actions
    action_definitions: ActionDefinitions


class ApiLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Requests, per node. Generous: they stop a runaway loop, not an import or a load test.

    `server_key` and `agent` count every request of one credential; `user` counts what is done to one user by an app's
    server beyond stating facts: proactive messages and tokens. `webhooks` counts changes of an app's webhooks, and each
    test of one as five; `actions` changes of an app's actions, and what one agent presses and decides.
    """

    server_key: RateLimit | None = RateLimit(10_000, 10)
    agent: RateLimit | None = RateLimit(5_000, 10)
    user: RateLimit | None = RateLimit(300, 60)
    webhooks: RateLimit | None = RateLimit(60, 60)
    actions: RateLimit | None = RateLimit(60, 60)


@dataclass(frozen=True, kw_only=True)
class ApiDoors:
    """Everything `create_app` needs.

    `sockets` is the ASGI application of `/v1/chat` and `/v1/desk`. `readiness` gives the reasons why this node should
    get no traffic, none when all is well. `metrics_page` is the page of `/metrics` where this process does not answer
    for itself alone. `demo_session` is what the demo's pages log in with; None where there is no
    demo.
    """

    services: Services
    config: Config
    clock: Clock
    metrics: Metrics
    log: FilteringBoundLogger
    sockets: ASGIApp
    readiness: Callable[[], Awaitable[dict[str, str]]]
    demo_session: Callable[[], Awaitable[dict[str, Any]]] | None
    version: str
    database_info: Callable[[], dict[str, str]]
    metrics_page: Callable[[], Awaitable[bytes]] | None = None
    limits: ApiLimits = field(default_factory=ApiLimits)


class ApiRates:
    """The buckets behind `ApiLimits`."""

    def __init__(self, limits: ApiLimits, clock: Clock) -> None:
        self.server_key = _rates(clock, limits.server_key, "requests with this server key")
        self.agent = _rates(clock, limits.agent, "requests of this agent")
        self.user = _rates(clock, limits.user, "requests for this user")
        self.webhooks = _rates(clock, limits.webhooks, "changes and tests of webhooks")
        self.actions = _rates(clock, limits.actions, "actions")


def _rates(clock: Clock, limit: RateLimit | None, what: str) -> Rates:
    return Rates(clock, limit.burst if limit else None, limit.seconds if limit else 1.0, what)

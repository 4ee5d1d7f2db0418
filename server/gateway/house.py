"""What every connection of this node shares, and who is connected to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk_protocol.server_end import Pace

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.config import Config
    from server.gateway.acks import AckBook
    from server.gateway.connection import Connection
    from server.gateway.hub import Hub
    from server.services.agents import Agents
    from server.services.conversations import Conversations
    from server.services.identity import Identity
    from server.services.messaging import Messaging
    from server.services.people import People
    from server.services.reading import Reading
    from server.services.waiting import Waiting
    from server.tasks import Tasks
    from server.telemetry import Metrics


class House:
    """The gateway's surroundings: services below, clock, tasks and numbers beside."""

    def __init__(
        self,
        *,
        config: Config,
        clock: Clock,
        tasks: Tasks,
        metrics: Metrics,
        log: FilteringBoundLogger,
        hub: Hub,
        acks: AckBook,
        identity: Identity,
        people: People,
        messaging: Messaging,
        conversations: Conversations,
        reading: Reading,
        agents: Agents,
        waiting: Waiting,
    ) -> None:
        self.config = config
        self.clock = clock
        self.tasks = tasks
        self.metrics = metrics
        self.log = log
        self.hub = hub
        self.acks = acks
        self.identity = identity
        self.people = people
        self.messaging = messaging
        self.conversations = conversations
        self.reading = reading
        self.agents = agents
        self.waiting = waiting
        sockets = config.sockets
        self.pace = Pace(
            hello_within=sockets.hello_s,
            ping_every=sockets.ping_interval_s,
            pong_within=sockets.pong_s,
            stalled_after=sockets.stalled_s,
            token_grace=sockets.token_grace_s,
        )
        self.connections: set[Connection[Any]] = set()
        self.draining = False

"""How many agents are there: leases that nodes tell each other, never truth (protocol.md, `signal presence`).

Each node says now and then which agents are online with it; what it said counts for `LEASE_S`, so the agents of a node
that died vanish by themselves. A node whose first customer of an app has just come asks, instead of waiting for the
next round. Everything here is a hint: lost, it is repeated; wrong, it lapses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.bus.interface import AgentsHere, WhoIsHere, presence_channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from server.bus.interface import Bus
    from server.clock import Clock

LEASE_S = 60.0
REPEAT_S = 20.0
MOST_AGENTS = 10_000


class Presence:
    """One node's view. `changed(app_id, count)` is called when the number of an app may have changed."""

    def __init__(self, bus: Bus, clock: Clock, node: str) -> None:
        self._bus = bus
        self._clock = clock
        self._node = node
        self._here: dict[UUID, dict[UUID, int]] = {}
        self._leases: dict[UUID, dict[str, tuple[frozenset[UUID], float]]] = {}
        self._interested: dict[UUID, int] = {}
        self._told: dict[UUID, int] = {}
        self._repeat_at = 0.0
        self.changed: Callable[[UUID, int], None] = lambda _app_id, _count: None

    def count(self, app_id: UUID) -> int:
        """Agents of the app who are online now, on any node, each once."""
        now = self._clock.monotonic()
        agents = set(self._here.get(app_id, ()))
        for held, until in self._leases.get(app_id, {}).values():
            if until > now:
                agents |= held
        return len(agents)

    # -- agents of this node -------------------------------------------------------------------------------

    def arrive(self, app_id: UUID, agent_id: UUID) -> None:
        """An agent is online on a socket of this node (on several: call it for each)."""
        sockets = self._here.setdefault(app_id, {})
        sockets[agent_id] = sockets.get(agent_id, 0) + 1
        if sockets[agent_id] == 1:
            self._say(app_id)

    def leave(self, app_id: UUID, agent_id: UUID) -> None:
        """One of its sockets is gone, or away."""
        sockets = self._here.get(app_id, {})
        sockets[agent_id] = sockets.get(agent_id, 0) - 1
        if sockets[agent_id] <= 0:
            del sockets[agent_id]
            self._say(app_id)

    # -- customers of this node ----------------------------------------------------------------------------

    def listen(self, app_id: UUID) -> None:
        """A customer of the app has come to this node."""
        self._interested[app_id] = self._interested.get(app_id, 0) + 1
        if self._interested[app_id] == 1:
            self._bus.subscribe(presence_channel(app_id))
            self._bus.publish([(presence_channel(app_id), WhoIsHere(app_id))])

    def unlisten(self, app_id: UUID) -> None:
        self._interested[app_id] -= 1
        if not self._interested[app_id]:
            del self._interested[app_id]
            if not self._here.get(app_id):
                self._bus.unsubscribe(presence_channel(app_id))

    # -- hints ---------------------------------------------------------------------------------------------

    def receive(self, hint: AgentsHere | WhoIsHere) -> None:
        if isinstance(hint, WhoIsHere):
            if self._here.get(hint.app_id):
                self._publish(hint.app_id)
            return
        if hint.node == self._node:
            return
        leases = self._leases.setdefault(hint.app_id, {})
        if hint.agents:
            leases[hint.node] = (frozenset(hint.agents), self._clock.monotonic() + LEASE_S)
        else:
            leases.pop(hint.node, None)
        self._tell(hint.app_id)

    def tick(self) -> None:
        """Called about once a second: renew what we said, forget what has lapsed."""
        now = self._clock.monotonic()
        for app_id, leases in self._leases.items():
            for node in [node for node, (_, until) in leases.items() if until <= now]:
                del leases[node]
            self._tell(app_id)
        if now >= self._repeat_at:
            self._repeat_at = now + REPEAT_S
            for app_id, sockets in self._here.items():
                if sockets:
                    self._publish(app_id)

    def _say(self, app_id: UUID) -> None:
        # Who has agents must hear the question who is here.
        if self._here.get(app_id):
            self._bus.subscribe(presence_channel(app_id))
        elif app_id not in self._interested:
            self._bus.unsubscribe(presence_channel(app_id))
        self._publish(app_id)
        self._tell(app_id)

    def _publish(self, app_id: UUID) -> None:
        agents = tuple(self._here.get(app_id, ()))[:MOST_AGENTS]
        self._bus.publish([(presence_channel(app_id), AgentsHere(app_id, self._node, agents))])

    def _tell(self, app_id: UUID) -> None:
        count = self.count(app_id)
        if self._told.get(app_id, 0) != count:
            self._told[app_id] = count
            self.changed(app_id, count)

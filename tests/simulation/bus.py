"""Hints between nodes. This bus keeps none of its promises but one: nothing is told before it is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from tests.simulation.database import Logged
    from tests.simulation.node import Node
    from tests.simulation.world import World


class Bus:
    """Loses, delays, repeats and overtakes. `dead`: loses everything."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False

    def committed(self, user_id: UUID, logged: list[Logged], history: str) -> None:
        """Events of one user's log, in order."""
        for node in self._receivers(user_id):
            self._world.at(self._delay(), node, node.hub.committed, user_id, logged, history)

    def replaced(self, user_id: UUID, device_id: UUID, generation: int) -> None:
        """A device has said hello: sockets that hold it by less go."""
        for node in self._receivers(user_id):
            self._world.at(self._delay(), node, node.hub.replaced, user_id, device_id, generation)

    def logged_out(self, user_id: UUID, auth_gen: int) -> None:
        """Log-ins older than `auth_gen` are void."""
        for node in self._receivers(user_id):
            self._world.at(self._delay(), node, node.hub.logged_out, user_id, auth_gen)

    def _receivers(self, user_id: UUID) -> list[Node]:
        world = self._world
        climate, random = world.climate, world.dice.random
        found: list[Node] = []
        for node in world.nodes:
            if not node.up or user_id not in node.hub.users:
                continue
            if self.dead or random() < climate.hint_loss:
                world.count("hints lost")
                continue
            found.append(node)
            if climate.hint_repeat and random() < climate.hint_repeat:
                world.count("hints repeated")
                found.append(node)
        return found

    def _delay(self) -> float:
        return self._world.dice.random() * self._world.climate.hint_delay

"""One server process: its sockets, its writer, its sweep (`server.gateway.{hub,sweep,drain}` said again)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk_protocol.closing import CloseCode
from sdk_protocol.server_end import Pace
from server.gateway.drain import FINISH_S
from server.gateway.sweep import TICK_S
from tests.simulation.connection import Connection
from tests.simulation.network import Closed, Link, Pipe
from tests.simulation.timeline import Actor
from tests.simulation.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sdk_protocol.codec import Codec
    from tests.simulation.database import Logged, Standing
    from tests.simulation.phone import Phone
    from tests.simulation.world import World

SWEEP_S = 1.5
DRAIN_S = 3.0
DRAIN_STEP_S = 0.25


class Hub:
    """Who on this node wants to hear what."""

    __slots__ = ("users",)

    def __init__(self) -> None:
        self.users: dict[UUID, dict[Connection, None]] = {}

    def add(self, user_id: UUID, connection: Connection) -> None:
        self.users.setdefault(user_id, {})[connection] = None

    def remove(self, user_id: UUID, connection: Connection) -> None:
        held = self.users.get(user_id)
        if held is not None:
            held.pop(connection, None)
            if not held:
                del self.users[user_id]

    def of(self, user_id: UUID) -> tuple[Connection, ...]:
        return tuple(self.users.get(user_id, ()))

    def committed(self, user_id: UUID, logged: list[Logged], history: str) -> None:
        """A hint: events of one user's log."""
        for each in logged:
            for connection in self.of(user_id):
                connection.offer(each, history)

    def replaced(self, user_id: UUID, device_id: UUID, generation: int) -> None:
        for connection in self.of(user_id):
            if connection.device_id == device_id:
                connection.replaced(generation)

    def logged_out(self, user_id: UUID, auth_gen: int) -> None:
        for connection in self.of(user_id):
            connection.revoked(auth_gen)


class Node(Actor):
    """`up`: it accepts sockets, unless it is `draining`."""

    def __init__(self, world: World, number: int, skew: float) -> None:
        super().__init__()
        self.world = world
        self.number = number
        self.skew = skew
        self.pace = Pace()
        self.page = world.climate.page
        self.window_events = world.climate.window_events
        self.window_bytes = world.climate.window_bytes
        self.up = False
        self.draining = False
        self.thawed_at = 0.0
        """When it last went on after having been frozen."""
        self.start()

    def start(self) -> None:
        """Begin with nothing, as a new process does."""
        self.life += 1
        self.frozen_until = 0.0
        self.up = True
        self.draining = False
        self.hub = Hub()
        self.connections: dict[Connection, None] = {}
        self.writer = Writer(self)
        self._sweep_later()
        self.later(TICK_S, self._tick)

    def later(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        """What this process does in `delay` seconds, if it still lives."""
        self.world.at(delay, self, act, *args)

    @property
    def wall(self) -> float:
        """This machine's opinion of the time, in seconds since 1970."""
        return self.world.wall(self.skew)

    def wall_time(self) -> datetime:
        return self.world.date(self.wall)

    def history(self) -> str:
        """Names the history of the database, and of each log in it, since nobody is erased here: it changes when
        commits may have been lost."""
        return self.world.db.epoch_name

    # -- sockets -------------------------------------------------------------------------------------------

    def accept(self, phone: Phone, codec: Codec) -> Link:
        """A new socket. The kernel accepts also while the process is frozen."""
        up = Pipe(self.world, self, lambda parcel: connection.arrived(parcel))
        down = Pipe(self.world, phone, lambda parcel: phone.arrived(link, parcel))
        link = Link(up, down)
        connection = Connection(self, link, codec)
        return link

    # -- the two wheels ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        for connection in tuple(self.connections):
            connection.act(connection.session.tick(self.world.now))
        self.world.oracle.ticked(self)
        self.later(TICK_S, self._tick)

    def _sweep_later(self) -> None:
        self.later(SWEEP_S * self.world.dice.uniform(2 / 3, 4 / 3), self._sweep)

    def _sweep(self) -> None:
        world = self.world
        if not world.db.away and self.hub.users:
            world.count("sweeps")
            self.later(world.database_time(), self._sweep_users, list(self.hub.users), self.history())
        else:
            self._sweep_later()

    def _sweep_users(self, held: list[UUID], history: str) -> None:
        world = self.world
        if not world.db.away:
            standings = {user_id: world.db.standing(user_id) for user_id in held}
            self.later(world.database_time(), self.swept, standings, history)
        else:
            self._sweep_later()

    def swept(self, standings: dict[UUID, Standing], history: str) -> None:
        """The answers to the sweep's two queries; the history is the older one."""
        for user_id, standing in standings.items():
            for connection in self.hub.of(user_id):
                connection.swept(standing, history)
        self._sweep_later()

    # -- the end -------------------------------------------------------------------------------------------

    def freeze(self, seconds: float) -> None:
        """Nothing happens in this process for a while, and nobody can tell."""
        self.frozen_until = self.thawed_at = max(self.frozen_until, self.world.now + seconds)

    def crash(self, silent: bool, chance: float) -> None:
        """The process is gone. `silent`: with the whole machine, so that nobody tells the phones."""
        if not self.up:
            return
        self.up = False
        self.life += 1
        self.frozen_until = 0.0
        self.writer.died()
        for number, connection in enumerate(self.connections):
            part = (chance + number * 0.618) % 1
            down = connection.link.down
            connection.link.up.snap(0, None, 0.0)
            down.snap(int(part * (down.waiting + 1)), None if silent else Closed(1006), part)
        self.connections = {}
        self.hub = Hub()

    def drain(self, then: Callable[[], None]) -> None:
        """Leave in good order: tell every socket when to come back, let sends finish, close with 4000."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.act(connection.session.drain(int(self.world.dice.uniform(0, DRAIN_S) * 1000)))
        self._finish_requests(self.world.now + FINISH_S, then)

    def _finish_requests(self, deadline: float, then: Callable[[], None]) -> None:
        if any(connection.requests for connection in self.connections) and self.world.now < deadline:
            self.later(DRAIN_STEP_S, self._finish_requests, deadline, then)
            return
        for connection in tuple(self.connections):
            connection.close(CloseCode.DRAIN, "the node is going away")
        self.later(1.0, then)

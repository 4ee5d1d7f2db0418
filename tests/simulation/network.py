"""A connection between a phone and a node: two pipes that keep order and may break anywhere.

What was handed to a broken pipe is gone, what was under way may arrive in part, and each end may hear of it at once,
late, or never.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.timeline import Actor
    from tests.simulation.world import World


class Closed(NamedTuple):
    """The end of a pipe: a close frame with its code, or 1006 for a socket that just ended."""

    code: int


class Ping(NamedTuple):
    """A WebSocket control frame, or the pong to one."""


PING = Ping()
Parcel = str | bytes | Closed | Ping


class Pipe:
    """One direction. `deliver` is called at the receiver, in order, never while the receiver is frozen or dead."""

    __slots__ = ("_deliver", "_receiver", "_scheduled", "_under_way", "_world", "broken", "careless", "paused", "slow")

    def __init__(self, world: World, receiver: Actor, deliver: Callable[[Parcel], None]) -> None:
        self._world = world
        self._receiver = receiver
        self._deliver = deliver
        self._under_way: deque[tuple[float, Parcel]] = deque()
        self._scheduled = False
        self.broken = False
        self.paused = False
        self.careless: str | None = None
        """What becomes of the next event: `lost` or `repeated`."""
        self.slow = 0.0
        """Seconds added to every journey: a reader that does not read, a network that chokes."""

    @property
    def waiting(self) -> int:
        return len(self._under_way)

    def send_event(self, parcel: str | bytes) -> None:
        """Like `send`; an event is what a careless proxy may mistreat."""
        careless, self.careless = self.careless, None
        if careless is not None:
            self._world.count(f"events {careless} on the way")
        if careless != "lost":
            self.send(parcel)
        if careless == "repeated":
            self.send(parcel)

    def send(self, parcel: Parcel) -> None:
        if self.broken:
            return
        world = self._world
        arrival = world.now + world.latency() + self.slow
        if self._under_way:
            arrival = max(arrival, self._under_way[-1][0])
        self._under_way.append((arrival, parcel))
        if not self._scheduled and not self.paused:
            self._schedule()

    def resume(self) -> None:
        """The receiver reads again."""
        self.paused = False
        if self._under_way and not self._scheduled:
            self._schedule()

    def snap(self, kept: int, last: Parcel | None, after: float) -> None:
        """The wire breaks: `kept` of what is under way still arrives, then `last` (None: silence for ever)."""
        if self.broken:
            return
        while len(self._under_way) > kept:
            self._under_way.pop()
        if last is not None:
            self._under_way.append((self._world.now + after, last))
            if not self._scheduled and not self.paused:
                self._schedule()
        self.broken = True

    def _schedule(self) -> None:
        self._scheduled = True
        wait = max(0.0, self._under_way[0][0] - self._world.now)
        self._world.at(wait, self._receiver, self._arrive)

    def _arrive(self) -> None:
        self._scheduled = False
        under_way, now = self._under_way, self._world.now
        while under_way and under_way[0][0] <= now and not self.paused:
            self._deliver(under_way.popleft()[1])
        # What was delivered may have sent something or resumed the pipe, and so have made an appointment.
        if under_way and not self.paused and not self._scheduled:
            self._schedule()


class Link:
    """Both pipes of one socket: `up` to the node, `down` to the phone."""

    __slots__ = ("down", "up")

    def __init__(self, up: Pipe, down: Pipe) -> None:
        self.up = up
        self.down = down

    @property
    def quiet(self) -> bool:
        """Both directions are whole, and nothing is stuck in them."""
        return not (self.up.broken or self.down.broken or self.up.waiting or self.down.waiting)

    def cut(self, chance: float, *, silent_up: bool = False, silent_down: bool = False) -> None:
        """The network breaks. `chance` in [0, 1) decides how much of what is under way arrives; a silent end never
        hears of it and has to find out by itself."""
        kept_up = int(chance * 7919 % 1 * (self.up.waiting + 1))
        kept_down = int(chance * 104729 % 1 * (self.down.waiting + 1))
        self.up.snap(kept_up, None if silent_up else Closed(1006), chance * 2.0)
        self.down.snap(kept_down, None if silent_down else Closed(1006), chance * 31337 % 1 * 2.0)

"""One Redis server as the bus sees it: a voice, an ear, and the probe that goes from the one to the other.

The probe is why `trouble` can be believed. A subscriber connection may be open, confirmed and deaf (Centrifugo #1189:
messages were lost in silence while health was green), so every `PROBE_EVERY_S` a nonce is published and has to come
back on the subscriber connection within `PROBE_WITHIN_S`. Only a probe that was heard makes a shard well.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from server.bus.redis_ear import Ear
from server.bus.redis_voice import Voice
from server.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from server.bus.redis_line import Address, Door
    from server.bus.redis_numbers import BusNumbers
    from server.clock import Clock

PROBE_EVERY_S = 0.75
PROBE_WITHIN_S = 2.0
TICK_S = 0.1
"""Together less than 3 s, which is how long delivery may be late before health says so."""
STALL_S = 0.3
NONCE_BYTES = 8
SAY_GOODBYE_WITHIN_S = 0.5


class Shard:
    """`heard(name, packet)` for each message but the probe's; `moved()` when a slot is no longer served here, or may
    not be, because a connection broke."""

    def __init__(
        self,
        door: Door,
        address: Address | None,
        origin: bytes,
        clock: Clock,
        numbers: BusNumbers,
        log: FilteringBoundLogger,
        *,
        sharded: bool,
        probe_name: bytes,
        heard: Callable[[bytes, bytes], None],
        moved: Callable[[], None],
    ) -> None:
        self.probe_name = probe_name
        self._place = door.describe(address)
        self._clock = clock
        self._numbers = numbers
        self._log = log
        self._tasks = Tasks(log, clock)
        self._heard = heard
        self._moved = moved
        self._nonce: bytes | None = None
        self._probed_at = self._looked_at = clock.monotonic()
        self._listening = self._speaking = False
        self.trouble: str | None = f"Redis at {self._place} has not been heard yet"
        self._said: str | None = None
        self.voice = Voice(
            door,
            address,
            origin,
            clock,
            numbers,
            sharded=sharded,
            trouble=self._voice_lost,
            back=self._voice_back,
            refused=self._refused,
            moved=moved,
        )
        self.ear = Ear(
            door,
            address,
            clock,
            numbers,
            sharded=sharded,
            probe_name=probe_name,
            heard=self._take,
            ready=self._ear_ready,
            trouble=self._ear_lost,
            moved=moved,
        )

    def start(self) -> None:
        """Begin; trouble is told by `trouble`, never raised."""
        self._tasks.start("bus voice", self.voice.run, restart=True)
        self._tasks.start("bus ear", self.ear.listen, restart=True)
        self._tasks.start("bus subscriptions", self.ear.keep, restart=True)
        self._tasks.start("bus probe", self._watch, restart=True)

    async def close(self) -> None:
        """Let go of both connections."""
        await self._tasks.close()

    @property
    def settled(self) -> bool:
        """Well, and hearing exactly what is wanted."""
        return self.trouble is None and self.ear.settled

    async def _watch(self) -> None:
        while True:
            self._look()
            await self._clock.sleep(TICK_S)

    def _look(self) -> None:
        now = self._clock.monotonic()
        late = now - self._looked_at - TICK_S
        self._looked_at = now
        if late > STALL_S:  # this process stood still: an answer may wait in the socket, so it gets its time again
            self._probed_at += late
        waited = now - self._probed_at
        if self._nonce is None:
            if waited >= PROBE_EVERY_S:
                self._probe()
        elif waited > PROBE_WITHIN_S:
            self._missed()

    def _probe(self) -> None:
        if self._listening and self._speaking:
            self._nonce = secrets.token_bytes(NONCE_BYTES)
            self._probed_at = self._clock.monotonic()
            self.voice.probe(self.probe_name, self._nonce)

    def _missed(self) -> None:
        self._numbers.missed_probes.inc()
        what = "is subscribed but deaf: a probe" if self.voice.probe_taken else "does not answer: a probe"
        reason = f"Redis at {self._place} {what} did not come back within {PROBE_WITHIN_S:g} s"
        self._nonce = None
        self._listening = False
        self._unwell(reason)
        self.ear.cut(reason)

    def _take(self, name: bytes, packet: bytes) -> None:
        if name != self.probe_name:
            self._heard(name, packet)
        elif packet == self._nonce:
            self._nonce = None
            self._numbers.probe_seconds.set(self._clock.monotonic() - self._probed_at)
            if self.trouble is not None:
                self._log.info("the bus hears Redis", redis=self._place)
            self.trouble = self._said = None

    def _ear_ready(self) -> None:
        self._listening = True
        self._probe()

    def _voice_back(self) -> None:
        self._speaking = True
        self._probe()

    def _ear_lost(self, reason: str) -> None:
        self._listening = False
        self._lost(reason)

    def _voice_lost(self, reason: str) -> None:
        if self._speaking:
            # The ear stands before the same server and may not have noticed: waiting for its probe to be missed would
            # double the time until it hears again.
            self._speaking = False
            self.ear.cut(reason)
        self._lost(reason)

    def _refused(self, reason: str) -> None:
        self._nonce = None  # it may be what was refused: the next one is due in its turn
        self._unwell(reason)

    def _lost(self, reason: str) -> None:
        self._nonce = None  # it must not make well what broke after it was heard
        self._unwell(reason)
        self._moved()

    def _unwell(self, reason: str) -> None:
        if self._said is None:  # once a trouble, however long it lasts and whatever it is called meanwhile
            self._log.warning(
                "the bus does not hear Redis; the sweep delivers meanwhile", redis=self._place, why=reason
            )
        self.trouble = self._said = reason

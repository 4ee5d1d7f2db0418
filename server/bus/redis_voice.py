"""Publishing to one Redis server: a bounded queue and the one task that empties it.

What waits for the same channel goes out as one PUBLISH, and what waits at all as one pipeline, so a busy node pays for
a round trip a batch. A hint that is given up is counted and forgotten: the sweep tells what it would have told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from server.bus.redis_line import ANSWER_WITHIN_S, LineDown, Refused, command
from server.bus.redis_wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.bus.redis_line import Address, Door, Line
    from server.bus.redis_numbers import BusNumbers
    from server.clock import Clock

MOST_QUEUED = 20_000
MOST_QUEUED_BYTES = 16 * 1024 * 1024
BATCH_HINTS = 1_000
BATCH_BYTES = 512 * 1024
PACKET_BYTES = 128 * 1024
WORTH_S = 5.0
"""After this a hint says nothing that the sweep has not said twice over."""
RETRY_S = 0.25


class Voice:
    """`trouble(reason)` is called when the connection goes, `back()` when there is one again, `refused(reason)` when
    Redis takes no hints on it, `moved()` when a slot is elsewhere."""

    def __init__(
        self,
        door: Door,
        address: Address | None,
        origin: bytes,
        clock: Clock,
        numbers: BusNumbers,
        *,
        sharded: bool,
        trouble: Callable[[str], None],
        back: Callable[[], None],
        refused: Callable[[str], None],
        moved: Callable[[], None],
    ) -> None:
        self._door = door
        self._address = address
        self._origin = origin
        self._clock = clock
        self._numbers = numbers
        self._verb = b"SPUBLISH" if sharded else b"PUBLISH"
        self._trouble = trouble
        self._back = back
        self._told_refused = refused
        self._moved = moved
        self._queue: deque[tuple[bytes, bytes, float]] = deque()
        self._queued_bytes = 0
        self._probe: bytes | None = None
        self.probe_taken = False
        """Whether Redis has said that it took the newest probe."""
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def say(self, name: bytes, hint: bytes) -> None:
        """Queue one encoded hint for the channel called `name`; the oldest goes when there are too many."""
        self._queue.append((name, hint, self._clock.monotonic()))
        self._queued_bytes += len(hint)
        while len(self._queue) > MOST_QUEUED or self._queued_bytes > MOST_QUEUED_BYTES:
            self._queued_bytes -= len(self._queue.popleft()[1])
            self._numbers.full.inc()
        self._empty.clear()
        self._wake.set()

    def probe(self, name: bytes, packet: bytes) -> None:
        """Publish `packet` ahead of what waits. A newer probe takes the place of one that has not gone out."""
        self._probe = command(self._verb, name, packet)
        self.probe_taken = False
        self._wake.set()

    async def emptied(self) -> None:
        """Return once nothing waits any more and Redis has answered."""
        await self._empty.wait()

    async def run(self) -> None:
        """Connect, publish, connect again; for ever."""
        while True:
            try:
                line = await self._door.open(self._address)
                try:
                    self._back()
                    await self._speak(line)
                finally:
                    await line.close()
            except LineDown as problem:
                self._trouble(str(problem))
            await self._clock.sleep(RETRY_S)

    async def _speak(self, line: Line) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue or self._probe is not None:
                await self._send(line)
            self._empty.set()

    async def _send(self, line: Line) -> None:
        probe, self._probe = self._probe, None
        batch = self._take()
        commands = [probe] if probe is not None else []
        weights = [0] if probe is not None else []
        for name, hints in batch:
            commands.append(command(self._verb, name, pack(self._origin, hints)))
            weights.append(len(hints))
        if not commands:
            return
        unanswered = sum(weights)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await line.send(b"".join(commands))
                for position, weight in enumerate(weights):
                    answer = await line.read()
                    unanswered -= weight
                    if isinstance(answer, Refused):
                        self._refused(answer, weight)
                    else:
                        self._numbers.published.inc(weight)
                        if probe is not None and position == 0:
                            self.probe_taken = self._probe is None
        except TimeoutError:
            raise LineDown(f"Redis at {line.place} does not answer within {ANSWER_WITHIN_S:g} s") from None
        finally:
            # Perhaps they went out, perhaps not. Sending them again could put them behind newer ones.
            self._numbers.lost.inc(unanswered)

    def _refused(self, answer: Refused, hints: int) -> None:
        self._numbers.lost.inc(hints)
        if answer.moved:
            self._moved()
        else:
            self._told_refused(f"Redis refuses {self._verb.decode()}: {answer.reason}")

    def _take(self) -> list[tuple[bytes, list[bytes]]]:
        """The next pipeline: hints in order, those of one channel together, up to `PACKET_BYTES` a packet."""
        oldest = self._clock.monotonic() - WORTH_S
        packets: list[tuple[bytes, list[bytes]]] = []
        filling: dict[bytes, tuple[list[bytes], int]] = {}
        taken = taken_bytes = 0
        while self._queue and taken < BATCH_HINTS and taken_bytes < BATCH_BYTES:
            name, hint, since = self._queue.popleft()
            self._queued_bytes -= len(hint)
            if since < oldest:
                self._numbers.late.inc()
                continue
            taken += 1
            taken_bytes += len(hint)
            packet = filling.get(name)
            if packet is None or packet[1] + len(hint) > PACKET_BYTES:
                packet = ([], 0)
                packets.append((name, packet[0]))
            packet[0].append(hint)
            filling[name] = (packet[0], packet[1] + len(hint))
        return packets

"""Hearing one Redis server: a connection brought to the set of channels that are wanted.

`want` and `leave` only change that set. One task keeps a connection and reads it, another sends what the connection
does not have yet. A new connection is subscribed to everything again, the probe's channel last: Redis works through a
connection in order, so a probe that is heard says that all before it is in place.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from server.bus.redis_line import LineDown, Refused, command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.bus.redis_line import Address, Door, Line
    from server.bus.redis_numbers import BusNumbers
    from server.clock import Clock

BATCH = 1_000
RETRY_S = 0.25


class Ear:
    """`heard(name, packet)` for each message; `ready()` when a connection hears everything that was wanted when it
    was made; `trouble(reason)` when it is gone; `moved()` when Redis says that a channel is served elsewhere."""

    def __init__(
        self,
        door: Door,
        address: Address | None,
        clock: Clock,
        numbers: BusNumbers,
        *,
        sharded: bool,
        probe_name: bytes,
        heard: Callable[[bytes, bytes], None],
        ready: Callable[[], None],
        trouble: Callable[[str], None],
        moved: Callable[[], None],
    ) -> None:
        self._door = door
        self._address = address
        self._clock = clock
        self._numbers = numbers
        self._sharded = sharded
        self._probe_name = probe_name
        self._heard = heard
        self._ready = ready
        self._trouble = trouble
        self._moved = moved
        self._wanted: set[bytes] = set()
        self._line: Line | None = None
        self._leash: asyncio.Timeout | None = None
        self._cut_because = ""
        self._wake = asyncio.Event()
        # Of the present connection: what was asked for, what Redis confirmed, what is being left, what may differ.
        self._asked: set[bytes] = set()
        self._held: set[bytes] = set()
        self._leaving: set[bytes] = set()
        self._changed: dict[bytes, None] = {}

    def want(self, name: bytes) -> None:
        self._wanted.add(name)
        self._change(name)

    def leave(self, name: bytes) -> None:
        self._wanted.discard(name)
        self._change(name)

    def want_exactly(self, names: set[bytes]) -> None:
        """Bring the set to `names`, and ask again for what Redis took away."""
        changed = (names ^ self._wanted) | (names - self._asked)
        self._wanted = names
        for name in changed:
            self._change(name)

    @property
    def settled(self) -> bool:
        """The connection hears what is wanted, and nothing else."""
        return self._line is not None and not self._leaving and self._held == self._wanted | {self._probe_name}

    def cut(self, reason: str) -> None:
        """Give the connection up and make a new one: it is no good, whatever it says of itself."""
        if self._leash is not None:
            self._cut_because = reason
            self._leash.reschedule(asyncio.get_running_loop().time())
            self._leash = None

    async def listen(self) -> None:
        """Connect, read, connect again; for ever."""
        while True:
            self._cut_because = ""
            try:
                async with asyncio.timeout(None) as self._leash:
                    await self._one_connection()
            except TimeoutError:
                self._trouble(self._cut_because)
            except LineDown as problem:
                self._trouble(str(problem))
            finally:
                self._leash = None
            await self._clock.sleep(RETRY_S)

    async def keep(self) -> None:
        """Send what the connection lacks, in batches; for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            line = self._line
            while line is not None and line is self._line and self._changed:
                try:
                    await line.send(self._next_commands())
                except LineDown as problem:
                    if line is self._line:
                        self.cut(str(problem))
                    break

    async def _one_connection(self) -> None:
        line = await self._door.open(self._address)
        try:
            self._numbers.connections.inc()
            for names in (self._asked, self._held, self._leaving):
                names.clear()
            self._changed = dict.fromkeys((*self._wanted, self._probe_name))
            self._line = line
            self._wake.set()
            while True:
                self._take(await line.read())
        finally:
            self._line = None
            self._changed.clear()
            await line.close()

    def _change(self, name: bytes) -> None:
        # Without a connection there is nothing to bring up to date: the next one begins with all that is wanted.
        if self._line is None:
            return
        if (name in self._wanted) == (name in self._asked):  # changed back before it was sent
            self._changed.pop(name, None)
        else:
            self._changed[name] = None
            self._wake.set()

    def _next_commands(self) -> bytes:
        names = list(islice(self._changed, BATCH))
        join: list[bytes] = []
        part: list[bytes] = []
        for name in names:
            del self._changed[name]
            if name in self._wanted or name == self._probe_name:
                if name not in self._asked:
                    join.append(name)
            elif name in self._asked:
                part.append(name)
        self._asked.update(join)
        self._asked.difference_update(part)
        self._leaving.update(part)
        return self._commands(b"UNSUBSCRIBE", part) + self._commands(b"SUBSCRIBE", join)

    def _commands(self, verb: bytes, names: Sequence[bytes]) -> bytes:
        if not names:
            return b""
        if self._sharded:  # one command may not name channels of two slots
            return b"".join(command(b"S" + verb, name) for name in names)
        return command(verb, *names)

    def _take(self, reply: object) -> None:
        if isinstance(reply, Refused):
            if reply.moved:
                self._moved()
            raise LineDown(f"Redis refuses a subscription: {reply.reason}")
        if not isinstance(reply, list) or len(reply) != 3:
            raise LineDown(f"Redis sent what is no message: {str(reply)[:80]}")
        kind, name, content = reply
        if kind in (b"message", b"smessage"):
            self._heard(name, content)
        elif kind in (b"subscribe", b"ssubscribe"):
            self._held.add(name)
            if name == self._probe_name:
                self._ready()
        elif kind in (b"unsubscribe", b"sunsubscribe"):
            self._held.discard(name)
            if name in self._leaving:
                self._leaving.discard(name)
            else:  # by Redis itself: the slot has moved
                self._asked.discard(name)
                self._moved()

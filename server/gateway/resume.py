"""Bringing a phone up to date: from its cursor, or from a snapshot (protocol.md, S4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from sdk_protocol.cursor import Judgement, ReadCursor
from sdk_protocol.states import ServerState
from server.domain.errors import Unavailable
from server.gateway.translate import encoded, snapshot_frame
from server.services.reading import PAGE

if TYPE_CHECKING:
    from sdk_protocol import frames
    from server.domain.people import EndUser
    from server.gateway.house import House
    from server.gateway.user_connection import UserConnection

RETRY_S = 0.5


class Beginning(msgspec.Struct, frozen=True):
    """Where a connection starts: behind `cursor`, after `snapshot` if there is one. `history`: of the database."""

    history: str
    head: int
    cursor: ReadCursor
    snapshot: frames.Snapshot | None


async def begin(house: House, user: EndUser, history: str, hello: frames.Hello) -> Beginning:
    """Believe the device's cursor if it belongs to this history, is not ahead of it, and not from before what was
    trimmed; else give it a snapshot. `history`: in which `user` was read."""
    limits = house.config.limits
    usn = hello.usn
    known = hello.epoch in (UNSET, user.epoch_in(history))
    if usn is not UNSET and known and user.trimmed_usn <= usn <= user.usn:
        return Beginning(history, user.usn, ReadCursor(usn, limits.window_events, limits.window_bytes), None)
    state = await house.reading.snapshot(user.app_id, user.user_id)
    cursor = ReadCursor(state.user.usn, limits.window_events, limits.window_bytes)
    return Beginning(state.history, state.user.usn, cursor, snapshot_frame(state))


class Pump:
    """Reads the log for one connection wherever hints are not enough: after `hello`, after a gap, after a full window.

    At most one run at a time; whatever asks for one meanwhile makes it look once more. It is told the connection each
    time: two that know each other are freed only when somebody looks for cycles, which is rarely.
    """

    __slots__ = ("_again", "_running", "_waiting")

    def __init__(self) -> None:
        self._running = False
        self._again = False
        self._waiting = False

    def wait(self) -> None:
        """The window is full: go on when the reader has acknowledged."""
        self._waiting = True

    def acked(self, connection: UserConnection) -> None:
        """The reader has acknowledged something: read on once half of its window is free, not for every event."""
        cursor = connection.session.cursor
        if (
            self._waiting
            and cursor is not None
            and cursor.offered - cursor.acked <= cursor.max_events // 2
            and cursor.unacked_bytes <= cursor.max_bytes // 2
        ):
            self.run(connection)

    def run(self, connection: UserConnection) -> None:
        """Read on until the reader has everything or its window is full."""
        if self._running:
            self._again = True
            return
        self._running = True
        connection.house.tasks.start("resume", lambda: self._run(connection), restart=False)

    async def _run(self, connection: UserConnection) -> None:
        try:
            while not connection.closed and await self._read(connection):
                pass
        finally:
            self._running = False

    async def _read(self, connection: UserConnection) -> bool:
        """One page. Returns whether to read on."""
        house, cursor = connection.house, connection.session.cursor
        key = connection.key
        if cursor is None or key is None or connection.session.state is ServerState.CLOSED:
            return False
        self._again = self._waiting = False
        try:
            events, history = await house.reading.after(*key, cursor.offered, PAGE)
        except Unavailable:
            await house.clock.sleep(RETRY_S)
            return True
        if history is not None and not connection.counts_in(history):
            return False
        for event in events:
            if connection.offer_from_log(encoded(event)) is Judgement.FULL:
                self._waiting = True
                return False
        if len(events) == PAGE or self._again:
            return True
        connection.synced()
        return False

"""`server.gateway.resume.Pump` said again: when the log is read for one connection, and when not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdk_protocol.cursor import Judgement
from sdk_protocol.states import ServerState
from server.gateway.resume import RETRY_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.connection import Connection
    from tests.simulation.database import Logged


class Pump:
    """`server.gateway.resume.Pump`: reads the log wherever hints are not enough, at most one run at a time."""

    __slots__ = ("_again", "_asked_at", "_connection", "_idle_pages", "_running", "_waiting")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._idle_pages = 0
        self._asked_at: int | None = None
        self._running = False
        self._again = False
        self._waiting = False

    def wait(self) -> None:
        """The window is full: go on when the reader has acknowledged."""
        self._waiting = True

    def acked(self) -> None:
        """Read on once half of the window is free, not for every event."""
        cursor = self._connection.session.cursor
        if (
            self._waiting
            and cursor is not None
            and cursor.offered - cursor.acked <= cursor.max_events // 2
            and cursor.unacked_bytes <= cursor.max_bytes // 2
        ):
            self.run()

    def run(self) -> None:
        """Read on until the reader has everything or its window is full."""
        if self._running:
            self._again = True
            return
        self._running = True
        self._connection.node.later(0.0, self._read)

    def _read(self) -> None:
        connection = self._connection
        cursor = connection.session.cursor
        over = connection.closed or connection.session.state is ServerState.CLOSED
        if over or cursor is None or connection.user_id is None:
            self._running = False
            return
        self._again = self._waiting = False
        world = connection.world
        if world.db.away:
            connection.node.later(RETRY_S, self._read)
            return
        world.count("pages read")
        self._asked_at = connection.last_offered
        # The answer is of the moment of asking or of a later one; either is possible, and hints come in between.
        if world.dice.random() < 0.5:
            found = world.db.after(connection.user_id, cursor.offered, connection.node.page)
            connection.node.later(world.database_time(), self._offer, found, connection.node.history())
        else:
            connection.node.later(world.database_time(), self._read_late, cursor.offered)

    def _read_late(self, offered: int) -> None:
        connection = self._connection
        assert connection.user_id is not None
        found = connection.world.db.after(connection.user_id, offered, connection.node.page)
        self._offer(found, connection.node.history())

    def _offer(self, found: Sequence[Logged], history: str) -> None:
        connection = self._connection
        if found and not connection.counts_in(history):
            self._running = False
            return
        for logged in found:
            judgement = connection.offer_from_log(logged)
            if judgement is Judgement.FULL:
                connection.world.count("windows full")
                self._waiting = True
                self._running = False
                return
        if connection.closed:
            self._running = False
        elif len(found) == connection.node.page or self._again:
            # Hints that came while the page was under way are progress, too.
            progress = connection.last_offered != self._asked_at or self._again
            self._idle_pages = 0 if progress else self._idle_pages + 1
            if connection.world.oracle.idle_page(connection, self._idle_pages):
                self._running = False
            else:
                self._read()
        else:
            self._running = False
            connection.synced()

"""What devices say they have stored, gathered for a moment and written in one statement.

An ack decides about push (protocol.md, S7), so it must be in PostgreSQL soon; it is not a promise to anybody, so it
may be lost with the process: the device says in its next `hello` what it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.domain.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from server.clock import Clock
    from server.services.people import People
    from server.tasks import Tasks

FLUSH_S = 0.2


class AckBook:
    """Keeps the newest ack of each device until it is written."""

    def __init__(self, people: People, clock: Clock) -> None:
        self._people = people
        self._clock = clock
        self._newest: dict[tuple[UUID, UUID, UUID], int] = {}

    def start(self, tasks: Tasks) -> None:
        tasks.start("acks", self._run, restart=True)

    def note(self, app_id: UUID, user_id: UUID, device_id: UUID, usn: int) -> None:
        key = (app_id, user_id, device_id)
        if usn > self._newest.get(key, 0):
            self._newest[key] = usn

    async def flush(self) -> None:
        """Write what has gathered. What cannot be written now is kept for the next time."""
        taken, self._newest = self._newest, {}
        if not taken:
            return
        try:
            await self._people.take_acks([(*device, usn) for device, usn in taken.items()])
        except Unavailable:
            for device, usn in taken.items():
                self.note(*device, usn)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(FLUSH_S)
            await self.flush()

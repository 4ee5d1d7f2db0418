"""A message from its phone's outbox on, and whether two sights of an event are of the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tests.simulation.database import TRIMMED

if TYPE_CHECKING:
    from uuid import UUID

    from sdk_protocol import frames
    from server.domain.events import Event
    from tests.simulation.database import Logged
    from tests.simulation.phone import Phone


class Written:
    """A message a phone has in its outbox or had. `place`: which one of this phone's in its conversation."""

    __slots__ = ("conversation", "gone", "message", "misused", "phone", "place", "refused", "repeated")

    def __init__(self, phone: Phone, conversation: UUID, place: int, message: bool) -> None:
        self.phone = phone
        self.conversation = conversation
        self.place = place
        self.message = message
        """False: an `open` without one."""
        self.gone = False
        """The database lost it after this phone had seen it: nobody is to blame."""
        self.refused = False
        self.misused = False
        self.repeated = False
        """Written a second time, perhaps by another phone, so it has no single place any more."""


def same(event: frames.Event, logged: Logged) -> bool:
    """The event is what the log has, or had before its words were trimmed."""
    expected = logged.expected
    if event == expected:
        return True
    trimmed = logged.event.body == TRIMMED or event.body == {"trimmed": True}
    return trimmed and replace(event, body=None) == replace(expected, body=None)


def is_same(one: Event, other: Event) -> bool:
    """The same event, trimmed or not: no two have the same numbers at the same time in different histories."""
    return (one.usn, one.conversation_id, one.seq, one.client_id, one.at) == (
        other.usn,
        other.conversation_id,
        other.seq,
        other.client_id,
        other.at,
    )

"""Tells everybody what was committed: the hints that follow a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.bus.interface import Committed, Touched, app_channel, conversation_channel, user_channel

if TYPE_CHECKING:
    from uuid import UUID

    from server.bus.interface import Bus, Channel, Hint
    from server.domain.events import Event
    from server.storage.batch import Written


def announce(bus: Bus, written: Written) -> None:
    """Publish hints for a committed batch: to the users it concerns, to watchers of its conversations, to inboxes."""
    if written.history is None:
        return
    history = written.history
    hints: list[tuple[Channel, Hint]] = []
    for events in written.logs:
        first = events[0]
        app_id, user_id = first.app_id, first.user_id
        seen = [event for event in events if event.usn is not None]
        if seen and bus.reaches(channel := user_channel(app_id, user_id)):
            hints.append((channel, Committed(app_id, user_id, tuple(seen), history)))
        by_conversation: dict[UUID, list[Event]] = {}
        for event in events:
            by_conversation.setdefault(event.conversation_id, []).append(event)
        for conversation_id, its in by_conversation.items():
            if bus.reaches(channel := conversation_channel(conversation_id)):
                hints.append((channel, Committed(app_id, user_id, tuple(its), history)))
    hints += [
        (channel, Touched(touched.app_id, touched.user_id, touched.conversation_id, touched.rev))
        for touched in written.touched
        if bus.reaches(channel := app_channel(touched.app_id))
    ]
    bus.publish(hints)

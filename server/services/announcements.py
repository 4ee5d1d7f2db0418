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
    by_user: dict[tuple[UUID, UUID], list[Event]] = {}
    by_conversation: dict[UUID, list[Event]] = {}
    for event in written.events:
        by_conversation.setdefault(event.conversation_id, []).append(event)
        if event.usn is not None:
            by_user.setdefault((event.app_id, event.user_id), []).append(event)
    hints: list[tuple[Channel, Hint]] = [
        (user_channel(*user), Committed(*user, tuple(events), written.history)) for user, events in by_user.items()
    ]
    for conversation_id, events in by_conversation.items():
        first = events[0]
        hint = Committed(first.app_id, first.user_id, tuple(events), written.history)
        hints.append((conversation_channel(conversation_id), hint))
    for touched in written.touched:
        change = Touched(touched.app_id, touched.user_id, touched.conversation_id, touched.rev)
        hints.append((app_channel(touched.app_id), change))
    bus.publish(hints)

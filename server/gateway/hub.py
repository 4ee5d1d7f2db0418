"""Who on this node wants to hear what: takes hints from the bus and hands them to connections.

An event is encoded once a codec for all its receivers. Nothing here decides what a reader may be sent: the session's
cursor does (S1), and the log is read where a hint is not enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sdk_protocol.frames import Signal
from server.bus.interface import (
    AgentsHere,
    Committed,
    LoggedOut,
    Replaced,
    Touched,
    Typing,
    WhoIsHere,
    app_channel,
    conversation_channel,
    user_channel,
)
from server.gateway.translate import encoded

if TYPE_CHECKING:
    from uuid import UUID

    from server.bus.interface import Bus, Channel, Hint
    from server.gateway.desk_connection import DeskConnection
    from server.gateway.presence import Presence
    from server.gateway.user_connection import UserConnection

UserKey = tuple["UUID", "UUID"]


class Hub:
    """The node's register of readers."""

    def __init__(self, bus: Bus, presence: Presence) -> None:
        self._bus = bus
        self.presence = presence
        presence.changed = self._agents_online
        self.users: dict[UserKey, set[UserConnection]] = {}
        self.watchers: dict[UUID, set[DeskConnection]] = {}
        self.inboxes: dict[UUID, set[DeskConnection]] = {}

    # -- the register --------------------------------------------------------------------------------------

    def add_user(self, key: UserKey, connection: UserConnection) -> None:
        if key not in self.users:
            self.users[key] = set()
            self._bus.subscribe(user_channel(*key))
            self.presence.listen(key[0])
        self.users[key].add(connection)

    def remove_user(self, key: UserKey, connection: UserConnection) -> None:
        held = self.users.get(key)
        if held is not None:
            held.discard(connection)
            if not held:
                del self.users[key]
                self._bus.unsubscribe(user_channel(*key))
                self.presence.unlisten(key[0])

    def watch(self, conversation_id: UUID, connection: DeskConnection) -> None:
        self.watchers.setdefault(conversation_id, set()).add(connection)
        self._bus.subscribe(conversation_channel(conversation_id))

    def unwatch(self, conversation_id: UUID, connection: DeskConnection) -> None:
        held = self.watchers.get(conversation_id)
        if held is not None:
            held.discard(connection)
            if not held:
                del self.watchers[conversation_id]
                self._bus.unsubscribe(conversation_channel(conversation_id))

    def watch_inbox(self, app_id: UUID, connection: DeskConnection) -> None:
        self.inboxes.setdefault(app_id, set()).add(connection)
        self._bus.subscribe(app_channel(app_id))

    def unwatch_inbox(self, app_id: UUID, connection: DeskConnection) -> None:
        held = self.inboxes.get(app_id)
        if held is not None:
            held.discard(connection)
            if not held:
                del self.inboxes[app_id]
                self._bus.unsubscribe(app_channel(app_id))

    # -- hints ---------------------------------------------------------------------------------------------

    def receive(self, channel: Channel, hint: Hint) -> None:
        """A hint from the bus."""
        match hint:
            case Committed():
                self._committed(channel, hint)
            case Touched():
                for desk in tuple(self.inboxes.get(hint.app_id, ())):
                    desk.touched(hint)
            case Typing():
                self._typing(channel, hint)
            case Replaced():
                for user in self._of_channel(channel):
                    if user.device_id == hint.device_id:
                        user.replaced((hint.epoch, hint.generation))
            case LoggedOut():
                for user in tuple(self.users.get((hint.app_id, hint.user_id), ())):
                    user.revoked(hint.auth_gen)
            case AgentsHere() | WhoIsHere():
                self.presence.receive(hint)

    def _committed(self, channel: Channel, hint: Committed) -> None:
        if channel[0] == "c":
            for event in hint.events:
                watchers = self.watchers.get(event.conversation_id)
                if watchers:
                    frame = encoded(event, desk=True)
                    for desk in tuple(watchers):
                        desk.offer(frame)
            return
        users = self.users.get((hint.app_id, hint.user_id))
        if users:
            for event in hint.events:
                frame = encoded(event)
                for user in tuple(users):
                    user.offer(frame, hint.history)

    def _typing(self, channel: Channel, hint: Typing) -> None:
        if channel[0] == "c":
            for desk in tuple(self.watchers.get(hint.conversation_id, ())):
                desk.typing(hint)
        else:
            for user in tuple(self.users.get((hint.app_id, hint.user_id), ())):
                user.typing(hint)

    def _agents_online(self, app_id: UUID, count: int) -> None:
        signal = Signal(kind="presence", agents_online=count)
        for (app, _), users in tuple(self.users.items()):
            if app == app_id:
                for user in tuple(users):
                    user.signal(signal)

    def _of_channel(self, channel: Channel) -> tuple[UserConnection, ...]:
        _, app_id, user_id = cast("tuple[str, UUID, UUID]", channel)
        return tuple(self.users.get((app_id, user_id), ()))

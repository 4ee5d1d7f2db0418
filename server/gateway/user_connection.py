"""A customer's device on `/v1/chat`: from frames to services and back (protocol.md)."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET

from sdk_protocol import frames
from sdk_protocol.closing import CloseCode
from sdk_protocol.cursor import Judgement
from sdk_protocol.records import Limits, WebPushSubscription
from sdk_protocol.server_session import ServerSession
from sdk_protocol.states import ServerState
from server.domain.errors import AnotherHistory, DomainError, Unauthorized, Unavailable
from server.domain.identity import Expired
from server.domain.ids import user_id_of
from server.domain.intents import Message
from server.domain.people import DeviceInfo
from server.gateway.connection import Connection
from server.gateway.resume import Pump, begin
from server.gateway.translate import (
    error_frame,
    event_frame,
    message_body,
    ok_frame,
    time_text,
    typing_signal,
    user_record,
)
from server.services.directory import Place
from server.storage.ids import quick

if TYPE_CHECKING:
    from sdk_protocol.codec import Codec, EncodedEvent
    from server.bus.interface import Typing
    from server.domain.events import Author
    from server.domain.identity import Claims
    from server.domain.intents import MarkRead, Open, Post, Rate
    from server.domain.people import EndUser
    from server.gateway.house import House
    from server.gateway.transport import Transport
    from server.storage.people import Hold, Standing

FOREGROUND_LEASE = timedelta(seconds=75)
"""How long a device counts as looked at without being renewed: a dead node's claims run out."""
DEFAULT_HISTORY = 50
SIGNAL_BUFFERED = 64 * 1024
"""Bytes a reader may be behind and still get signals."""
CAPABILITIES: list[str] = []


class UserConnection(Connection[ServerSession]):
    """One device. `user` is None until its token has been verified."""

    __slots__ = (
        "_pump",
        "_replaced_by",
        "auth_gen",
        "author",
        "device_id",
        "history",
        "hold",
        "key",
        "session_id",
        "user",
    )
    door = "chat"

    def __init__(self, house: House, transport: Transport, codec: Codec, session_id: str) -> None:
        super().__init__(house, transport, ServerSession(codec, house.clock.monotonic(), house.pace))
        self.session_id = session_id
        self.user: EndUser | None = None
        self.author: Author
        """Once there is a user: no frame that needs it is handled before."""
        self.key: tuple[UUID, UUID] | None = None
        self.device_id: UUID | None = None
        self.hold: Hold | None = None
        self.auth_gen = 0
        self.history: str | None = None
        self._replaced_by: tuple[int, int] = (0, 0)
        self._pump = Pump()

    # -- frames --------------------------------------------------------------------------------------------

    def handle(self, frame: Any) -> None:
        match frame:
            case frames.Hello():
                self.ask("hello", UNSET, lambda: self._hello(frame))
            case frames.Send():
                self.put(frame.ref, self._send, frame)
            case frames.Open():
                self.put(frame.ref, self._open, frame)
            case frames.Ack():
                self._ack(frame)
            case frames.Read():
                self.put(UNSET, self._read, frame)
            case frames.Typing():
                self.ask("typing", UNSET, lambda: self._typing(frame))
            case frames.Foreground():
                self.ask("foreground", UNSET, lambda: self._set_foreground(frame.on))
            case frames.History():
                self.ask("history", frame.ref, lambda: self._history(frame))
            case frames.Rate():
                self.put(frame.ref, self._rate, frame)
            case frames.Press():
                self.ask("press", frame.ref, lambda: self._press(frame))
            case frames.PushToken():
                self.ask("push_token", frame.ref, lambda: self._push_token(frame))
            case frames.Refresh():
                self.ask("refresh", frame.ref, lambda: self._refresh(frame))
            case frames.Logout():
                self.ask("logout", frame.ref, lambda: self._logout(frame))

    async def _hello(self, hello: frames.Hello) -> None:
        try:
            await self._admit(hello)
        except DomainError as refusal:
            self.send(error_frame(UNSET, refusal))
            if isinstance(refusal, Expired):
                self.close(CloseCode.TOKEN_EXPIRED, "the token has expired")
            elif isinstance(refusal, Unauthorized):
                self.close(CloseCode.REVOKED, "the token is not accepted")
        finally:
            # Neither welcomed nor refused for good (the database is away or slow, the hello stale): come again later.
            if self.session.state is ServerState.AUTHENTICATING:
                self.close(CloseCode.DRAIN, "not now")

    async def _admit(self, hello: frames.Hello) -> None:
        house = self.house
        claims = await house.identity.verify(hello.token)
        if self._gone():
            return  # nobody is there any more: neither listen for them nor let them replace a newer socket
        key = (quick(claims.app_id), quick(user_id_of(claims.app_id, claims.external_id)))
        device = hello.device
        info = DeviceInfo(
            device_id=device.id,
            platform=device.platform,
            sdk=device.sdk or None,
            app_version=device.app_version or None,
            locale=device.locale or None,
            attempt=hello.attempt or None,
        )
        # Listen before the head is read: whatever is committed from here on is heard, or found in the log.
        self.key, self.device_id = key, device.id
        house.hub.add_user(key, self)
        user, hold, history = await house.people.say_hello(claims, info, FOREGROUND_LEASE if hello.foreground else None)
        beginning = await begin(house, user, history, hello)
        if self._gone():
            return
        self.user, self.author, self.hold, self.auth_gen = user, user.author, hold, user.auth_gen
        self.history = beginning.history
        if hello.usn is not UNSET and beginning.snapshot is None:
            house.acks.note(*key, device.id, hello.usn)
        limits = house.config.limits
        welcome = frames.Welcome(
            session=self.session_id,
            user=user_record(user),
            epoch=user.epoch_in(beginning.history),
            head=beginning.head,
            resume="snapshot" if beginning.snapshot else "continued",
            ping_interval=house.config.sockets.ping_interval_s,
            token_expires_at=time_text(claims.expires_at),
            limits=Limits(
                frame_bytes=limits.frame_bytes,
                text_bytes=limits.text_bytes,
                unacked_events=limits.window_events,
                unacked_bytes=limits.window_bytes,
            ),
            caps=CAPABILITIES,
        )
        now = house.clock.monotonic()
        self.act(
            self.session.authenticated(
                welcome, beginning.cursor, self._expiry(claims), now, snapshot=beginning.snapshot
            )
        )
        if self._replaced_by > hold:
            self.replaced(self._replaced_by)
        self._pump.run(self)

    def _gone(self) -> bool:
        """The socket ended while something was awaited."""
        return self.closed or self.session.state is not ServerState.AUTHENTICATING

    def _expiry(self, claims: Claims) -> float:
        """When the token ends, on the monotonic clock."""
        clock = self.house.clock
        return clock.monotonic() + (claims.expires_at - clock.now()).total_seconds()

    def _open(self, frame: frames.Open) -> Open:
        first = None
        if frame.message is not UNSET:
            first = Message(quick(frame.message.id), self.author, message_body(frame.message.body, "user"))
        return self.house.messaging.opening(
            self._place(frame.conversation),
            self.author,
            topic=frame.topic or None,
            transaction_id=frame.transaction or None,
            first=first,
            history=self.history,
        )

    def _send(self, frame: frames.Send) -> Post:
        return self.house.messaging.posting(
            self._place(frame.conversation),
            Message(quick(frame.id), self.author, message_body(frame.body, "user")),
            after=frame.after or None,
            history=self.history,
        )

    def _ack(self, frame: frames.Ack) -> None:
        if self.key is not None and self.device_id is not None:
            self.house.acks.note(*self.key, self.device_id, frame.usn)
            self._pump.acked(self)

    def _read(self, frame: frames.Read) -> MarkRead:
        place = self._place(frame.conversation)
        return self.house.messaging.reading(place, "user", self.author, frame.seq, self.history)

    async def _typing(self, frame: frames.Typing) -> None:
        place = self._place(frame.conversation)
        await self.house.messaging.typing(place, self.author, frame.on)

    async def _set_foreground(self, on: bool) -> None:
        if self.key is not None and self.device_id is not None and self.hold is not None:
            await self.house.people.set_foreground(
                *self.key, self.device_id, self.hold, FOREGROUND_LEASE if on else None
            )

    async def _history(self, frame: frames.History) -> None:
        before = frame.before if frame.before is not UNSET else None
        limit = frame.limit if frame.limit is not UNSET else DEFAULT_HISTORY
        (events, history), more = await self.house.messaging.page(self._place(frame.conversation), before, limit)
        if history is not None and not self.counts_in(history):
            return
        page = [event_frame(event) for event in events]
        self.send(frames.Page(ref=frame.ref, conversation=frame.conversation, events=page, more=more))

    def _rate(self, frame: frames.Rate) -> Rate:
        place = self._place(frame.conversation)
        return self.house.messaging.rating(place, self.author, frame.score, frame.comment or None, self.history)

    async def _press(self, frame: frames.Press) -> None:
        # A press has no id of its own; made from what is pressed, a second press of the same button changes nothing.
        press_id = uuid5(frame.conversation, f"press:{frame.seq}:{frame.button}")
        numbered = await self.house.messaging.press(
            self._place(frame.conversation), self.author, frame.seq, frame.button, press_id, self.history
        )
        self.send(ok_frame(frame.ref, numbered))

    async def _push_token(self, frame: frames.PushToken) -> None:
        assert self.key is not None
        assert self.device_id is not None
        token = frame.token
        if isinstance(token, WebPushSubscription):
            token = msgspec.json.encode(token).decode()
        await self.house.people.register_push_token(*self.key, self.device_id, frame.provider, token)
        self.send(frames.Ok(ref=frame.ref))

    async def _refresh(self, frame: frames.Refresh) -> None:
        claims = await self.house.identity.verify(frame.token)
        if (claims.app_id, user_id_of(claims.app_id, claims.external_id)) != self.key:
            raise Unauthorized("This token is of another user; say hello on a new connection.", field="token")
        await self.house.people.check_token(claims)
        self.session.refreshed(self._expiry(claims))
        self.send(frames.Ok(ref=frame.ref, token_expires_at=time_text(claims.expires_at)))

    async def _logout(self, frame: frames.Logout) -> None:
        assert self.key is not None
        assert self.device_id is not None
        await self.house.people.log_out(*self.key, self.device_id)
        self.send(frames.Ok(ref=frame.ref))
        self.close(CloseCode.REVOKED, "logged out")

    # -- from the hub --------------------------------------------------------------------------------------

    def offer(self, event: EncodedEvent, history: str) -> None:
        """A hint that carries an event: it goes out at once if it is the next one, else the log is read.

        So it is when its numbers are of another history than the cursor: only the log says which of the two is over.
        """
        if self.history != history and self.history is not None:
            self._pump.run(self)
            return
        judgement = self.offer_from_log(event)
        if judgement is Judgement.GAP:
            self._pump.run(self)
        elif judgement is Judgement.FULL:
            self._pump.wait()

    def offer_from_log(self, event: EncodedEvent) -> Judgement:
        judgement, data = self.session.offer(event, self.house.clock.monotonic())
        if data is not None:
            self.transport.send(data)
        return judgement

    def typing(self, hint: Typing) -> None:
        """Somebody on the other side types."""
        self.signal(typing_signal(hint))

    def signal(self, signal: frames.Signal) -> None:
        """Something ephemeral: dropped when the reader is not there yet, or does not keep up."""
        if self.session.state is ServerState.LIVE and self.transport.buffered < SIGNAL_BUFFERED:
            self.send(signal)

    def replaced(self, newer: tuple[int, int]) -> None:
        """A socket of the same device said hello; the one that holds it by less goes (4409)."""
        self._replaced_by = max(self._replaced_by, newer)
        if self.hold is not None and self.hold < newer:
            self.close(CloseCode.REPLACED, "this device connected again")

    def revoked(self, auth_gen: int) -> None:
        """The user's log-ins are void from `auth_gen` on."""
        if self.user is not None and self.auth_gen < auth_gen:
            self.close(CloseCode.REVOKED, "logged out")

    def swept(self, standing: Standing | None, history: str) -> None:
        """Where the log stands, as the sweep saw it: read on if a hint got lost, go if the user is gone (S5).

        After a failover that lost commits the cursor is of another history: the device must say hello again.
        """
        cursor = self.session.cursor
        if cursor is None or self.user is None:
            return
        if not self.counts_in(history):
            return
        if standing is None or standing.incarnation != self.user.incarnation:
            self.close(CloseCode.REVOKED, "this user was erased")
        elif standing.auth_gen > self.auth_gen:
            self.revoked(standing.auth_gen)
        elif standing.usn > cursor.offered:
            if cursor.room:
                self._pump.run(self)
            else:
                self._pump.wait()

    def counts_in(self, history: str) -> bool:
        """Whether the device's cursor is of the history in which something was just read.

        If not, commits were lost since its `welcome`, and the same numbers may mean other events now. It is told
        nothing of the new history, and nothing of what it sends is written in it, until it has said hello again and
        got its snapshot (S4).
        """
        if self.history == history:
            return True
        self.close(CloseCode.DRAIN, "the log has another history now")
        return False

    def refuse(self, ref: int | msgspec.UnsetType, refusal: DomainError) -> None:
        if isinstance(refusal, AnotherHistory):
            self.close(CloseCode.DRAIN, "the log has another history now")
        else:
            super().refuse(ref, refusal)

    # -- small steps ---------------------------------------------------------------------------------------

    def synced(self) -> None:
        """Everything there is was offered."""
        first = self.session.state is ServerState.SYNCING
        if first or self.session.state is ServerState.LIVE:
            self.act((self.session.synced(),))
        if first and self.key is not None:
            count = self.house.hub.presence.count(self.key[0])
            self.signal(frames.Signal(kind="presence", agents_online=count))

    def left(self) -> None:
        if self.key is not None:
            self.house.hub.remove_user(self.key, self)
        if self.session.foreground and self.hold is not None and not self.house.draining:
            self.house.tasks.start("left", self._look_away, restart=False)

    async def _look_away(self) -> None:
        # The lease runs out by itself; a database that is away is no reason to say more.
        with contextlib.suppress(Unavailable):
            await self._set_foreground(False)

    def _place(self, conversation_id: UUID) -> Place:
        assert self.key is not None
        return Place(*self.key, quick(conversation_id))

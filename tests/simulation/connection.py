"""One device's socket on a node: `server.gateway.{connection,user_connection}` said again, without asyncio.

Every `await` there is a callback here, after a delay, so that whatever can come between does. The names are those of
the gateway; where one of the two changes, so must the other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from sdk_protocol import frames
from sdk_protocol.closing import CloseCode
from sdk_protocol.cursor import Judgement
from sdk_protocol.server_end import Closing, Reply, SendPing
from sdk_protocol.server_session import ServerSession
from sdk_protocol.states import ServerState
from server.domain.errors import AnotherHistory, DomainError, NotFound, Unavailable
from server.domain.identity import Expired
from server.domain.intents import AnyIntent, MarkRead, Message, Open, Post, Rate
from server.gateway.connection import ANSWER_WITHIN_S, MOST_REQUESTS
from server.gateway.translate import error_frame, event_frame, message_body, ok_frame, time_text
from tests.simulation.database import APP
from tests.simulation.greeting import Greeting
from tests.simulation.network import PING, Closed, Link, Parcel, Ping
from tests.simulation.pump import Pump
from tests.simulation.tokens import expiry_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from sdk_protocol.codec import Codec
    from server.domain.numbering import Numbered
    from tests.simulation.database import Logged, Standing
    from tests.simulation.node import Node

NOT_NOW = Unavailable("The database is not available.")


class Request:
    """A frame that asks for something, until it is answered."""

    __slots__ = ("asked", "done", "hello", "ref")

    def __init__(self, ref: int | UnsetType, asked: float, hello: bool) -> None:
        self.ref = ref
        self.asked = asked
        self.hello = hello
        self.done = False


class Connection:
    """A `UserConnection`. `sent`: (usn, size) of what was offered and not acknowledged, counted by the simulator."""

    def __init__(self, node: Node, link: Link, codec: Codec) -> None:
        self.node = node
        self.world = node.world
        self.link = link
        self.session = ServerSession(codec, self.world.now, node.pace)
        self.closed = False
        self.user_id: UUID | None = None
        self.device_id: UUID | None = None
        self.welcomed_at: float | None = None
        self.generation = 0
        self.auth_gen = 0
        self.history: str | None = None
        self.requests: list[Request] = []
        self.sent: deque[tuple[int, int]] = deque()
        self.sent_bytes = 0
        self.last_offered: int | None = None
        self._replaced_by = 0
        self._pump = Pump(self)
        node.connections[self] = None

    # -- from the transport --------------------------------------------------------------------------------

    def arrived(self, parcel: Parcel) -> None:
        if self.closed:
            return
        if isinstance(parcel, (str, bytes)):
            self.act(self.session.receive(parcel, self.world.now))
        elif isinstance(parcel, Ping):
            self.session.heard(self.world.now)
        else:
            self.on_close()

    def on_close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.session.disconnected()
        self.node.connections.pop(self, None)
        if self.user_id is not None:
            self.node.hub.remove(self.user_id, self)

    # -- from the house ------------------------------------------------------------------------------------

    def act(self, events: Iterable[Any]) -> None:
        for event in events:
            if isinstance(event, Reply):
                self.send(event.frame)
            elif isinstance(event, Closing):
                self._transport_close(event.code)
            elif isinstance(event, SendPing):
                self.link.down.send(PING)
            else:
                self.handle(event)

    def send(self, frame: frames.Frame) -> None:
        if not self.closed:
            self.link.down.send(self.session.codec.encode(frame))

    def close(self, code: CloseCode, reason: str) -> None:
        self.act(self.session.close(code, reason))

    def _transport_close(self, code: int) -> None:
        self.world.count(f"closed {int(code)}")
        self.link.down.send(Closed(code))
        self.link.down.snap(self.link.down.waiting, None, 0.0)
        # The peer's own close frame ends it; a peer that does not answer is not waited for long.
        self.node.later(10.0, self.on_close)

    # -- requests ------------------------------------------------------------------------------------------

    def ask(self, ref: int | UnsetType, hello: bool = False) -> Request:
        request = Request(ref, self.world.now, hello)
        self.requests.append(request)
        if len(self.requests) >= MOST_REQUESTS:
            self.world.count("senders made to wait")
            self.link.up.paused = True
        self.node.later(ANSWER_WITHIN_S, self._too_long, request)
        return request

    def finish(self, request: Request) -> bool:
        """False if somebody answered it before."""
        if request.done:
            return False
        request.done = True
        self.world.oracle.finished(self, request)
        if len(self.requests) == MOST_REQUESTS:
            self.link.up.resume()
        self.requests.remove(request)
        return True

    def _too_long(self, request: Request) -> None:
        if self.finish(request):
            self.world.count("requests that took too long")
            self.refuse(request.ref, Unavailable("This took too long; try again with the same id."))
            if request.hello:
                self.not_now()

    def refuse(self, ref: int | UnsetType, refusal: DomainError) -> None:
        if isinstance(refusal, AnotherHistory):
            self.world.count("writes into another history refused")
            self.close(CloseCode.DRAIN, "the log has another history now")
            return
        if ref is UNSET and isinstance(refusal, Unavailable):
            return
        self.send(error_frame(ref, refusal))

    # -- frames --------------------------------------------------------------------------------------------

    def handle(self, frame: Any) -> None:
        match frame:
            case frames.Hello():
                Greeting(self, self.ask(UNSET, hello=True), frame)
            case frames.Send():
                request = self.ask(frame.ref)
                message = Message(frame.id, self._author, message_body(frame.body, "user"))
                self._write(
                    request,
                    Post(
                        app_id=APP,
                        user_id=self._user_id,
                        history=self.history,
                        conversation_id=frame.conversation,
                        message=message,
                        after=frame.after or None,
                    ),
                )
            case frames.Open():
                request = self.ask(frame.ref)
                first = None
                if frame.message is not UNSET:
                    first = Message(frame.message.id, self._author, message_body(frame.message.body, "user"))
                self._write(
                    request,
                    Open(
                        app_id=APP,
                        user_id=self._user_id,
                        history=self.history,
                        conversation_id=frame.conversation,
                        author=self._author,
                        topic=frame.topic or None,
                        transaction_id=frame.transaction or None,
                        message=first,
                    ),
                )
            case frames.Ack():
                self.world.oracle.acknowledged(self, frame.usn)
                self._pump.acked()
            case frames.Read():
                self._write(
                    self.ask(UNSET),
                    MarkRead(
                        app_id=APP,
                        user_id=self._user_id,
                        history=self.history,
                        conversation_id=frame.conversation,
                        reader="user",
                        author=self._author,
                        seq=frame.seq,
                    ),
                )
            case frames.Rate():
                self._write(
                    self.ask(frame.ref),
                    Rate(
                        app_id=APP,
                        user_id=self._user_id,
                        history=self.history,
                        conversation_id=frame.conversation,
                        author=self._author,
                        score=frame.score,
                    ),
                )
            case frames.History():
                self.node.later(self.world.database_time(), self._history, self.ask(frame.ref), frame)
            case frames.Refresh():
                self.node.later(self.world.database_time(), self._refresh, self.ask(frame.ref), frame)

    def _write(self, request: Request, intent: AnyIntent) -> None:
        self.node.writer.append([intent], lambda outcomes: self._written(request, outcomes[0]))

    def _written(self, request: Request, outcome: Numbered | DomainError) -> None:
        if not self.finish(request):
            return
        if isinstance(outcome, DomainError):
            self.world.count(f"refused {outcome.code}")
            self.refuse(request.ref, outcome)
        elif isinstance(request.ref, int):
            if outcome.duplicate:
                self.world.count("duplicates answered")
            self.world.oracle.answering(self._user_id, outcome)
            self.send(ok_frame(request.ref, outcome))

    def _history(self, request: Request, frame: frames.History) -> None:
        if not self.finish(request):
            return
        if self.world.db.away:
            self.refuse(request.ref, NOT_NOW)
            return
        limit = frame.limit or 50
        seen = [
            logged.event
            for logged in self.world.db.users[self._user_id].log
            if logged.event.conversation_id == frame.conversation
        ]
        if not seen:
            self.refuse(request.ref, NotFound("There is no such conversation.", field="conversation"))
            return
        if not self.counts_in(self.node.history()):
            return
        page = [event_frame(event) for event in seen[-limit:]]
        self.send(frames.Page(ref=frame.ref, conversation=frame.conversation, events=page, more=len(seen) > limit))

    def _refresh(self, request: Request, frame: frames.Refresh) -> None:
        if not self.finish(request):
            return
        expires = expiry_of(frame.token)
        if expires <= self.node.wall:
            self.refuse(request.ref, Expired("The token has expired: get a new one.", field="token"))
            return
        self.world.count("tokens refreshed")
        self.session.refreshed(self.world.now + expires - self.node.wall)
        self.send(frames.Ok(ref=frame.ref, token_expires_at=time_text(self.world.date(expires))))

    # -- hello ---------------------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """The socket ended while something was awaited."""
        return self.closed or self.session.state is not ServerState.AUTHENTICATING

    def welcomed(self, generation: int, auth_gen: int, history: str, offered: int) -> None:
        """The token is good; `offered`: the last event the device has, in `history`."""
        self.generation, self.auth_gen, self.history, self.last_offered = generation, auth_gen, history, offered
        self.welcomed_at = self.world.now

    def begin(self) -> None:
        """After `welcome`: heed what was heard meanwhile, and read the log."""
        if self._replaced_by > self.generation:
            self.replaced(self._replaced_by)
        self._pump.run()

    def not_now(self) -> None:
        """Neither welcomed nor refused for good (the database is away, or slow): come again later."""
        if self.session.state is ServerState.AUTHENTICATING:
            self.close(CloseCode.DRAIN, "not now")

    # -- from the hub --------------------------------------------------------------------------------------

    def offer(self, logged: Logged, history: str) -> None:
        """A hint that carries an event: it goes out at once if it is the next one, else the log is read."""
        if self.history != history and self.history is not None:
            self.world.count("hints of another history")
            self._pump.run()
            return
        judgement = self.offer_from_log(logged)
        self.world.count(f"hints {judgement.value}")
        if judgement is Judgement.GAP:
            self._pump.run()
        elif judgement is Judgement.FULL:
            self._pump.wait()

    def offer_from_log(self, logged: Logged) -> Judgement:
        judgement, data = self.session.offer(logged.wire, self.world.now)
        if data is not None:
            self.world.oracle.offering(self, logged)
            if not self.closed:
                self.link.down.send_event(data)
        return judgement

    def replaced(self, newer: int) -> None:
        self._replaced_by = max(self._replaced_by, newer)
        if self.welcomed_at is not None and self.generation < newer:
            self.close(CloseCode.REPLACED, "this device connected again")

    def revoked(self, auth_gen: int) -> None:
        if self.welcomed_at is not None and self.auth_gen < auth_gen:
            self.close(CloseCode.REVOKED, "logged out")

    def swept(self, standing: Standing, history: str) -> None:
        """Where the log stands, as the sweep saw it: read on if a hint got lost (S5).

        After a failover that lost commits the cursor is of another history: the device must say hello again.
        """
        cursor = self.session.cursor
        if cursor is None or self.welcomed_at is None:
            return
        if not self.counts_in(history):
            return
        if standing.auth_gen > self.auth_gen:
            self.revoked(standing.auth_gen)
        elif standing.usn > cursor.offered:
            self.world.count("gaps found by the sweep")
            if cursor.room:
                self._pump.run()
            else:
                self._pump.wait()

    def counts_in(self, history: str) -> bool:
        """Whether the device's cursor is of the history in which something was just read."""
        if self.history == history:
            return True
        self.world.count("sockets of a lost history closed")
        self.close(CloseCode.DRAIN, "the log has another history now")
        return False

    # -- small steps ---------------------------------------------------------------------------------------

    def synced(self) -> None:
        if self.session.state in (ServerState.SYNCING, ServerState.LIVE):
            self.act((self.session.synced(),))

    @property
    def _user_id(self) -> UUID:
        assert self.user_id is not None
        return self.user_id

    @property
    def _author(self) -> Any:
        return self.world.author_of(self._user_id)

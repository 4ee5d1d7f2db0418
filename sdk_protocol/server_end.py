"""What the server's ends of both sockets share: the hello rule, the wait for authentication, keepalive, draining.

Sans I/O: frames and the time go in (`now`: monotonic seconds, never decreasing), events come out. You must act on the
events in their order, call `tick` when `next_deadline` has come, and close the socket on `Closing`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from msgspec import UNSET, Struct

from sdk_protocol.closing import CloseCode
from sdk_protocol.codec import Codec
from sdk_protocol.cursor import STALLED_AFTER
from sdk_protocol.errors import BadFrame, ErrorCode, Malformed
from sdk_protocol.frames import Drain, Error, Frame, Pong
from sdk_protocol.states import ServerInput, ServerState, move

QUEUED_FRAMES = 64
QUEUED_BYTES = 64 * 1024
"""What may wait for the token to be verified; more is answered `unavailable`."""

F = TypeVar("F", bound=Frame)


class Pace(Struct, frozen=True, kw_only=True):
    """How patient the server's end is, in seconds. The defaults are the protocol's; a deployment may choose others.

    `hello_within`: for a new socket to say `hello`. `ping_every`: of silence, then a foreground socket is pinged.
    `pong_within`: a ping may stay without any sign of life. `stalled_after`: a reader that owes an `ack` may make no
    progress (S6). `token_grace`: an expired token is tolerated, so that a `refresh` on its way arrives.
    """

    hello_within: float = 10.0
    ping_every: float = 25.0
    pong_within: float = 10.0
    stalled_after: float = STALLED_AFTER
    token_grace: float = 25.0


PACE = Pace()


class Reply(Struct, frozen=True):
    """Send this frame (encode it with the session's codec)."""

    frame: Frame


class Closing(Struct, frozen=True):
    """Close the socket with this code and reason (at most 123 bytes). The session is `CLOSED` already."""

    code: CloseCode
    reason: str


class SendPing(Struct, frozen=True):
    """Send a WebSocket ping; tell the session of its pong by `heard`."""


PONG = Reply(Pong())
SEND_PING = SendPing()


class ServerEnd(ABC, Generic[F]):
    """Base of `ServerSession` and `DeskSession`."""

    __slots__ = ("_hello_by", "_pinged_at", "_queue", "_queued_bytes", "codec", "heard_at", "pace", "state")
    table: ClassVar[Mapping[ServerState, Mapping[ServerInput, ServerState]]]
    hello: ClassVar[type[Frame]]

    def __init__(self, codec: Codec, now: float, pace: Pace = PACE) -> None:
        self.codec = codec
        self.pace = pace
        self.state = ServerState.AWAIT_HELLO
        self.heard_at = now
        self._hello_by = now + pace.hello_within
        self._pinged_at: float | None = None
        self._queue: list[F] | None = None
        self._queued_bytes = 0

    def receive(self, data: str | bytes, now: float) -> Sequence[F | Reply | Closing]:
        """One WebSocket message. Frames for the application come out typed, `hello` first.

        Nothing that a peer sends raises. After `Closing` whatever still arrives is ignored.
        """
        if self.state is ServerState.CLOSED:
            return ()
        self.heard_at = now
        self._pinged_at = None
        try:
            frame = self._decode(data)
        except BadFrame as bad:
            if self.state is ServerState.AWAIT_HELLO:
                return (Reply(Error.of(bad)), self._close(CloseCode.PROTOCOL_ERROR, "the first frame must be hello"))
            return (Reply(Error.of(bad)),)
        except Malformed as malformed:
            return (self._close(CloseCode.PROTOCOL_ERROR, str(malformed)),)
        by = ServerInput.HELLO if type(frame) is self.hello else ServerInput.FRAME
        following = self.table[self.state].get(by)
        if following is None:
            reason = "hello may be said only once" if by is ServerInput.HELLO else "the first frame must be hello"
            return (self._close(CloseCode.PROTOCOL_ERROR, reason),)
        if by is ServerInput.HELLO:
            self.state = following
            return (frame,)
        if self.state is ServerState.AUTHENTICATING:
            return self._enqueue(frame, len(data))
        return self._accept(frame, now)

    def heard(self, now: float) -> None:
        """A control frame arrived (the pong to `SendPing`, or the peer's own ping): the peer is alive."""
        self.heard_at = now
        self._pinged_at = None

    def drain(self, reconnect_after_ms: int) -> Sequence[Reply | Closing]:
        """The node goes away. Sends in flight finish; close with `close(CloseCode.DRAIN, …)` afterwards."""
        following = move(self.table, self.state, ServerInput.DRAIN)
        if self.state is ServerState.CLOSED:
            return ()
        if following is ServerState.CLOSED:
            return (self._close(CloseCode.DRAIN, "the node is going away"),)
        self.state = following
        return (Reply(Drain(reconnect_after_ms=reconnect_after_ms)),)

    def close(self, code: CloseCode, reason: str) -> Sequence[Closing]:
        """The application ends the connection (4401 revoked, 4409 replaced …). Nothing if it is closed."""
        if self.state is ServerState.CLOSED:
            return ()
        return (self._close(code, reason),)

    def disconnected(self) -> None:
        """The socket is gone."""
        self.state = move(self.table, self.state, ServerInput.CLOSE)

    def next_deadline(self) -> float | None:
        """When `tick` must be called at the latest if nothing else happens; None: no need."""
        if self.state is ServerState.AWAIT_HELLO:
            return self._hello_by
        if self.state is ServerState.AUTHENTICATING or self.state is ServerState.CLOSED:
            return None
        if self._pinged_at is not None:
            return self._pinged_at + self.pace.pong_within
        return self.heard_at + self.pace.ping_every if self._watched() else None

    def tick(self, now: float) -> Sequence[Closing | SendPing]:
        """What the passing of time asks for; empty if nothing is due."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return ()
        return self._due(now)

    def _due(self, now: float) -> Sequence[Closing | SendPing]:
        """The deadline that has passed is one of these, the earlier ones first."""
        if self.state is ServerState.AWAIT_HELLO:
            return (self._close(CloseCode.PROTOCOL_ERROR, f"no hello within {self.pace.hello_within:g} s"),)
        if self._pinged_at is not None:
            return (self._close(CloseCode.NO_PONG, f"nothing heard {self.pace.pong_within:g} s after a ping"),)
        self._pinged_at = now
        return (SEND_PING,)

    def _authenticated(self, now: float) -> list[F | Reply | Closing]:
        """Move on, and take the frames that waited."""
        self.state = move(self.table, self.state, ServerInput.AUTHENTICATED)
        events: list[F | Reply | Closing] = []
        for frame in self._queue or ():
            events.extend(self._accept(frame, now))
        self._queue = None
        return events

    def _enqueue(self, frame: F, size: int) -> Sequence[Reply]:
        if self._queue is None:
            self._queue = []
        self._queued_bytes += size
        if len(self._queue) >= QUEUED_FRAMES or self._queued_bytes > QUEUED_BYTES:
            # Once full it stays full: a later frame must not overtake one that was turned away.
            self._queued_bytes = QUEUED_BYTES
            message = "too much was sent before welcome: send this again after it"
            ref = getattr(frame, "ref", UNSET)
            return (Reply(Error(ref=ref, code=ErrorCode.UNAVAILABLE, message=message, retry=True)),)
        self._queue.append(frame)
        return ()

    def _close(self, code: CloseCode, reason: str) -> Closing:
        self.state = ServerState.CLOSED
        self._queue = None
        return Closing(code, _fitting(reason))

    @abstractmethod
    def _decode(self, data: str | bytes) -> F: ...

    @abstractmethod
    def _accept(self, frame: F, now: float) -> Sequence[F | Reply | Closing]:
        """A frame of an authenticated peer, any but `hello`."""

    @abstractmethod
    def _watched(self) -> bool:
        """True if silence is to be noticed."""


def _fitting(reason: str) -> str:
    """RFC 6455 5.5: a close frame has room for 123 bytes of reason."""
    return reason.encode()[:123].decode(errors="ignore")

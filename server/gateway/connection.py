"""What the sockets of users and agents have in common: a session (sans I/O) between a transport and the services.

A frame that asks for something is a *request* until it is answered. What a device has written (openings, messages, read
cursors, ratings) goes to the writer at once, in the order in which it arrived, and the writer answers: no task and no
timer a message. Everything else is a supervised task. More than `MOST_REQUESTS` under way and the transport is paused:
the peer waits.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import UNSET, UnsetType

from sdk_protocol.closing import CloseCode
from sdk_protocol.server_end import Closing, Reply, SendPing, ServerEnd
from server.domain.errors import DomainError, Unavailable
from server.gateway.translate import error_frame, ok_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from sdk_protocol.codec import Codec
    from sdk_protocol.frames import Frame
    from server.domain.intents import AnyIntent
    from server.gateway.house import House
    from server.gateway.transport import Transport
    from server.storage.batch import Outcome

MOST_REQUESTS = 64
ANSWER_WITHIN_S = 8.5
"""Looked after once a second. Every `ref` is answered within 10 s, if only by `unavailable` (protocol.md)."""
MOST_BUFFERED = 4 * 1024 * 1024
"""Bytes that may wait for a reader that does not read; then the socket is closed (4001) and the reader resumes."""


class Request:
    """What a frame asks of the writer."""

    __slots__ = ("connection", "ref", "since")

    def __init__(self, connection: Connection[Any], ref: int | UnsetType, since: float) -> None:
        self.connection = connection
        self.ref = ref
        self.since = since

    def done(self, outcomes: list[Outcome]) -> None:
        self.connection.written(self, outcomes[0])


F = TypeVar("F", bound="Frame")
S = TypeVar("S", bound=ServerEnd[Any])


class Connection(ABC, Generic[S]):
    """One socket. A `Receiver` for its transport."""

    __slots__ = ("_asked", "closed", "house", "requests", "session", "transport")
    door: str

    def __init__(self, house: House, transport: Transport, session: S) -> None:
        self.house = house
        self.transport = transport
        self.session = session
        self.requests = 0
        self._asked: dict[Request, None] | None = None
        """What the writer has to answer, oldest first."""
        self.closed = False
        house.connections.add(self)
        house.metrics.connections.labels(self.door).inc()

    @property
    def codec(self) -> Codec:
        return self.session.codec

    # -- from the transport --------------------------------------------------------------------------------

    def on_frame(self, frame: str | bytes) -> None:
        self.act(self.session.receive(frame, self.house.clock.monotonic()))

    def on_heard(self) -> None:
        self.session.heard(self.house.clock.monotonic())

    def on_close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.session.disconnected()
        self.house.connections.discard(self)
        self.house.metrics.connections.labels(self.door).dec()
        self.left()

    # -- from the house ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Called about once a second: deadlines and pings."""
        self.transport.tick()
        self.act(self.session.tick(now))
        if self._asked:
            self._answer_for(now - ANSWER_WITHIN_S)
        if self.transport.buffered > MOST_BUFFERED:
            self.close(CloseCode.STALLED, "the reader does not read")

    def drain(self, reconnect_after_ms: int) -> None:
        self.act(self.session.drain(reconnect_after_ms))

    def close(self, code: CloseCode, reason: str) -> None:
        self.act(self.session.close(code, reason))

    # -- for the two kinds ---------------------------------------------------------------------------------

    def act(self, events: Iterable[Any]) -> None:
        """Do what the session says, in order."""
        for event in events:
            if isinstance(event, Reply):
                self.send(event.frame)
            elif isinstance(event, Closing):
                self.transport.close(event.code, event.reason)
            elif isinstance(event, SendPing):
                self.transport.ping()
            else:
                self.house.metrics.frames.count(self.door, type(event))
                self.handle(event)

    def send(self, frame: Frame) -> None:
        code = getattr(frame, "code", None)
        if code is not None:
            self.house.metrics.errors.labels(code).inc()
        self.transport.send(self.codec.encode(frame))

    def put(self, ref: int | UnsetType, intent: Callable[[F], AnyIntent], frame: F) -> None:
        """Have `intent(frame)` written. Its outcome after the commit, or what refuses it at once, answers `ref`.

        Whatever a peer writes comes this way, so it is written in the order in which it came: a message sent right
        behind the opening of its conversation finds it.
        """
        request = Request(self, ref, self.house.clock.monotonic())
        if self._asked is None:
            self._asked = {}
        self._asked[request] = None
        self._begin()
        try:
            self.house.messaging.submit(intent(frame), request.done)
        except DomainError as refusal:
            self.written(request, refusal)
        except Exception:
            self.house.log.exception("a request failed", door=self.door)
            self.written(request, Unavailable("Something went wrong here; try again with the same id."))

    def written(self, request: Request, outcome: Outcome) -> None:
        if not self._asked or request not in self._asked:
            return  # it took too long, and the peer was told so
        del self._asked[request]
        self._end()
        if isinstance(outcome, DomainError):
            self.refuse(request.ref, outcome)
        elif isinstance(request.ref, int):
            self.send(ok_frame(request.ref, outcome, with_usn=self.door == "chat"))
            self.house.metrics.ok_latency.observe(self.house.clock.monotonic() - request.since)

    def _answer_for(self, asked_before: float) -> None:
        """Tell the peer of writes that take too long."""
        for request in [each for each in self._asked or () if each.since <= asked_before]:
            self.written(request, Unavailable("This took too long; try again with the same id."))

    def ask(self, name: str, ref: int | UnsetType, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` in the background; whatever it raises becomes the answer to `ref`."""
        self._begin()
        self.house.tasks.start(name, lambda: self._answered(ref, work), restart=False)

    def _begin(self) -> None:
        self.requests += 1
        if self.requests >= MOST_REQUESTS:
            self.transport.pause()

    def _end(self) -> None:
        if self.requests == MOST_REQUESTS:
            self.transport.resume()
        self.requests -= 1

    async def _answered(self, ref: int | UnsetType, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await work()
        except DomainError as refusal:
            self.refuse(ref, refusal)
        except TimeoutError:
            self.refuse(ref, Unavailable("This took too long; try again with the same id."))
        except Exception:
            self.house.log.exception("a request failed", door=self.door)
            self.refuse(ref, Unavailable("Something went wrong here; try again with the same id."))
        finally:
            self._end()

    def refuse(self, ref: int | UnsetType, refusal: DomainError) -> None:
        """Answer with an error. A frame without `ref` that fails for a passing reason is not worth a word."""
        if ref is UNSET and isinstance(refusal, Unavailable):
            return
        self.send(error_frame(ref, refusal))

    @abstractmethod
    def handle(self, frame: Any) -> None:
        """A frame of the peer, in order. Must not block."""

    @abstractmethod
    def left(self) -> None:
        """The socket is gone: tidy up."""

"""The way around ASGI's queues, where uvicorn is underneath (see `asgi.py`).

ASGI hands a message over by way of a queue and a task, pauses and resumes reading around each, and knows no control
frames. uvicorn's protocol class lends its socket instead, through the scope extension `deskbell.socket`: messages
arrive in a call, and what is sent is written in a call. The handshake and the end stay ASGI's.

uvicorn's own keepalive is off (`ws_ping_interval=None`): it pings every socket and closes with 1011, while the protocol
asks for pings to foreground devices only and for close code 4002 (protocol.md, "Keeping alive, draining").
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from server.gateway.asgi import EXTENSION

if TYPE_CHECKING:
    from websockets.http11 import Request

    from server.gateway.transport import Receiver


class LendingProtocol(WebSocketsSansIOProtocol):
    """uvicorn's sans-I/O WebSocket protocol. `borrowed` once a connection has taken its socket."""

    borrowed: UvicornTransport | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)
        if scope is not None:
            scope["extensions"][EXTENSION] = UvicornTransport(self)

    def send_receive_event_to_app(self) -> None:
        if self.borrowed is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self.borrowed.take(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.conn.send_close(1007)
            self.handle_parser_exception()
        else:
            self.borrowed.take(text)

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.borrowed is not None:
            self.borrowed.heard()

    def handle_pong(self, event: Frame) -> None:
        if self.borrowed is not None:
            self.borrowed.heard()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # A refusal is a complete answer; uvicorn would call it an error of the application.
            self.handshake_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.borrowed = None

    def flush(self) -> None:
        """Write what the state machine has to say."""
        self.transport.write(b"".join(self.conn.data_to_send()))


class _Framed:
    """The message that was sent last, as the library frames it: an event goes to many sockets, one after the other."""

    message: str | bytes | None = None
    data = b""

    @classmethod
    def of(cls, message: str | bytes) -> bytes:
        if message is not cls.message:
            opcode, payload = (Opcode.TEXT, message.encode()) if isinstance(message, str) else (Opcode.BINARY, message)
            cls.message, cls.data = message, Frame(opcode, payload).serialize(mask=False)
        return cls.data


class UvicornTransport:
    """A `Transport` over a socket that uvicorn lends."""

    __slots__ = ("_held", "_paused", "_protocol", "_receiver")

    def __init__(self, protocol: LendingProtocol) -> None:
        self._protocol = protocol
        self._receiver: Receiver | None = None
        self._paused = False
        self._held: deque[str | bytes] | None = None

    def attach(self, receiver: Receiver) -> None:
        """Hand messages to `receiver` from now on, those first that have come since the handshake."""
        self._receiver = receiver
        self._protocol.borrowed = self
        queue = self._protocol.queue
        early = [queue.get_nowait() for _ in range(queue.qsize())]
        for message in early:
            if message["type"] == "websocket.receive":
                text = message.get("text")
                self.take(text if text is not None else message.get("bytes") or b"")
            else:
                queue.put_nowait(message)
        if self._protocol.read_paused:
            self._protocol.read_paused = False
            self._protocol.transport.resume_reading()
        # What was said in the handshake is 3 KB that nobody needs for as long as the socket lives.
        self._protocol.request.headers.clear()
        self._protocol.response.headers.clear()

    def detach(self) -> None:
        """The socket is gone."""
        self._receiver = self._held = None
        self._protocol.borrowed = None

    # -- from the protocol ---------------------------------------------------------------------------------

    def take(self, message: str | bytes) -> None:
        if self._paused or self._held:
            # What was in the same read as the message that was one too many.
            if self._held is None:
                self._held = deque()
            self._held.append(message)
        elif self._receiver is not None:
            self._receiver.on_frame(message)

    def heard(self) -> None:
        if self._receiver is not None:
            self._receiver.on_heard()

    # -- from the connection -------------------------------------------------------------------------------

    @property
    def _open(self) -> bool:
        protocol = self._protocol
        return not (protocol.close_sent or protocol.disconnected or protocol.transport.is_closing())

    def send(self, frame: str | bytes) -> None:
        if not self._open:
            return
        protocol = self._protocol
        conn = protocol.conn
        if conn.state is not State.OPEN:
            return  # the peer has said goodbye, and is answered
        if conn.extensions:
            if isinstance(frame, str):
                conn.send_text(frame.encode())
            else:
                conn.send_binary(frame)
            protocol.flush()
        else:
            protocol.transport.write(_Framed.of(frame))

    def ping(self) -> None:
        if self._open:
            self._protocol.conn.send_ping(b"")
            self._protocol.flush()

    def close(self, code: int, reason: str) -> None:
        """As uvicorn does for `websocket.close`: say it, wait for the peer's own for a while, then cut. Without waiting
        for what a peer that reads nothing has not taken: that would keep the socket for good."""
        if not self._open:
            return
        self.resume()
        protocol = self._protocol
        protocol.conn.send_close(code, reason)
        protocol.flush()
        protocol.close_sent = True
        protocol.close_timer = protocol.loop.call_later(protocol.close_timeout, protocol.transport.abort)

    def pause(self) -> None:
        if not self._paused and self._open:
            self._paused = True
            self._protocol.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._protocol.loop.call_soon(self._release)

    def tick(self) -> None:
        """Nothing: uvicorn has a timer for each socket that is closing."""

    @property
    def buffered(self) -> int:
        size: int = 0 if self._protocol.disconnected else self._protocol.transport.get_write_buffer_size()
        return size

    def _release(self) -> None:
        while self._held and not self._paused and self._receiver is not None:
            self._receiver.on_frame(self._held.popleft())
        if not self._held and not self._paused and not self._protocol.disconnected:
            self._held = None
            self._protocol.transport.resume_reading()

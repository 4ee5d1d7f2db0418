"""WebSockets on a port of their own, over picows' callbacks: no task, queue or timer a socket (decision 7).

Everything about a connection happens in a callback of the library. What it takes from us besides: messages in
fragments are put together here, and so are control frames answered, because the session wants to hear of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from server.gateway.doors import Refusal

if TYPE_CHECKING:
    import socket

    from server.gateway.connection import Connection
    from server.gateway.doors import Doors, Entry

HANDSHAKE_S = 10.0
GOODBYE_S = 5.0
"""How long a peer may take to answer our close frame before the socket is cut."""
READ_BYTES = 1024
"""What a waiting socket keeps for reading; the library makes it larger where more comes."""

_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION


class PicowsTransport(WSListener):
    """A `Transport`, and the library's listener, of one socket."""

    __slots__ = ("_connection", "_entry", "_fragments", "_held", "_most_bytes", "_paused", "_socket")

    def __init__(self, entry: Entry, most_bytes: int) -> None:
        self._entry: Entry | None = entry
        self._most_bytes = most_bytes
        self._connection: Connection[Any] | None = None
        self._socket: WSTransport | None = None
        self._fragments: list[bytes] | None = None
        self._paused = False
        self._held: deque[str | bytes] | None = None

    # -- from the library ----------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        assert self._entry is not None
        self._socket = transport
        self._connection = self._entry.connect(self)
        self._entry = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _TEXT and frame.fin and self._fragments is None:
            try:
                self._take(frame.get_payload_as_utf8_text())
            except UnicodeDecodeError:
                self._fail(WSCloseCode.INVALID_TEXT, "not UTF-8")
        elif kind == _BINARY and frame.fin and self._fragments is None:
            self._take(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            self._heard()
        elif kind == WSMsgType.PONG:
            self._heard()
        elif kind == WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            self._fragment(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        connection, self._connection, self._socket = self._connection, None, None
        self._held = self._fragments = None
        if connection is not None:
            connection.on_close()

    def pause_writing(self) -> None:
        """The peer reads slowly; `buffered` says so, and the cursor's window and the wheel look after it."""

    def resume_writing(self) -> None:
        pass

    # -- from the connection -------------------------------------------------------------------------------

    def send(self, frame: str | bytes) -> None:
        socket = self._socket
        if socket is not None and not socket.is_close_frame_sent:
            if isinstance(frame, str):
                socket.send(_TEXT, frame.encode())
            else:
                socket.send(_BINARY, frame)

    def ping(self) -> None:
        if self._socket is not None and not self._socket.is_close_frame_sent:
            self._socket.send_ping()

    def close(self, code: int, reason: str) -> None:
        socket = self._socket
        if socket is not None and not socket.is_close_frame_sent:
            self.resume()  # the peer's close frame has to be read
            socket.send_close(cast("Any", code), reason.encode())
            asyncio.get_running_loop().call_later(GOODBYE_S, self._cut)

    def pause(self) -> None:
        if not self._paused and self._socket is not None and not self._socket.is_close_frame_sent:
            self._paused = True
            self._socket.underlying_transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._held:
                asyncio.get_running_loop().call_soon(self._release)
            elif self._socket is not None:
                self._socket.underlying_transport.resume_reading()

    @property
    def buffered(self) -> int:
        return self._socket.underlying_transport.get_write_buffer_size() if self._socket is not None else 0

    # -- small steps ---------------------------------------------------------------------------------------

    def _take(self, message: str | bytes) -> None:
        if self._paused or self._held:
            # What the library had read already when it was told to stop: at most one buffer of it.
            if self._held is None:
                self._held = deque()
            self._held.append(message)
        elif self._connection is not None:
            self._connection.on_frame(message)

    def _release(self) -> None:
        while self._held and not self._paused and self._connection is not None:
            self._connection.on_frame(self._held.popleft())
        if not self._held and not self._paused and self._socket is not None:
            self._held = None
            self._socket.underlying_transport.resume_reading()

    def _heard(self) -> None:
        if self._connection is not None:
            self._connection.on_heard()

    def _fragment(self, kind: WSMsgType, frame: WSFrame) -> None:
        """RFC 6455 5.4. The first byte kept says what the message is."""
        if (kind == _CONTINUATION) is (self._fragments is None):
            self._fail(WSCloseCode.PROTOCOL_ERROR, "a fragment out of place")
            return
        if self._fragments is None:
            self._fragments = [b"t" if kind == _TEXT else b"b"]
        self._fragments.append(frame.get_payload_as_bytes())
        if sum(map(len, self._fragments)) > self._most_bytes:
            self._fail(WSCloseCode.MESSAGE_TOO_BIG, "the message is too big")
        elif frame.fin:
            (of, *parts), self._fragments = self._fragments, None
            whole = b"".join(parts)
            try:
                self._take(whole.decode() if of == b"t" else whole)
            except UnicodeDecodeError:
                self._fail(WSCloseCode.INVALID_TEXT, "not UTF-8")

    def _fail(self, code: WSCloseCode, reason: str) -> None:
        self._fragments = None
        self.close(code.value, reason)

    def _cut(self) -> None:
        if self._socket is not None:
            self._socket.disconnect(graceful=False)


class Port:
    """The server of `/v1/chat` and `/v1/desk` on a port of their own. `most_bytes`: of one message."""

    def __init__(self, doors: Doors, most_bytes: int) -> None:
        self._doors = doors
        self._most_bytes = most_bytes
        self._server: asyncio.Server | None = None

    async def listen(self, sock: socket.socket, backlog: int) -> None:
        """Accept on `sock`, which is bound."""
        # Not a `Logger`: of that the library makes a new one for each connection.
        log: Any = logging.LoggerAdapter(logging.getLogger("deskbell.picows"), {})
        logging.getLogger("deskbell.picows").setLevel(logging.CRITICAL)  # what a peer does wrong is told to the peer
        self._server = await ws_create_server(
            self._enter,
            sock=sock,
            backlog=backlog,
            use_aiofastnet=False,
            websocket_handshake_timeout=HANDSHAKE_S,
            logger_name=log,
            enable_auto_ping=False,
            enable_auto_pong=False,
            max_frame_size=self._most_bytes,
            read_buffer_init_size=READ_BYTES,
        )

    def close(self) -> None:
        """Accept no more. The sockets that are open are closed by the drain."""
        if self._server is not None:
            self._server.close()

    def _enter(self, request: WSUpgradeRequest) -> Any:
        path = request.path.decode("latin-1").partition("?")[0]
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        offered = [
            name.strip()
            for key, value in headers
            if key == "sec-websocket-protocol"
            for name in value.split(",")
            if name.strip()
        ]
        entry = self._doors.enter(path, offered, headers)
        if isinstance(entry, Refusal):
            response = WSUpgradeResponse.create_error_response(
                entry.status,
                entry.detail.encode(),
                {"Content-Type": "text/plain; charset=utf-8", **entry.headers},
            )
            return WSUpgradeResponseWithListener(response, None)
        extra = {} if entry.subprotocol is None else {"Sec-WebSocket-Protocol": entry.subprotocol}
        return WSUpgradeResponseWithListener(
            WSUpgradeResponse.create_101_response(extra), PicowsTransport(entry, self._most_bytes)
        )

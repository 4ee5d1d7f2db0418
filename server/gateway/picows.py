"""WebSockets on a port of their own, over picows' callbacks: no task, queue or timer a socket (decision 7).

picows frames and unframes, in C. What RFC 6455 and protocol.md ask beyond that is here: which handshakes are taken,
messages in fragments, limits, UTF-8, reserved bits, control frames (the session wants to hear of them), the closing
handshake, and backpressure both ways.
"""

from __future__ import annotations

import base64
import binascii
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from picows import (
    WSCloseCode,
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from server.gateway.doors import CHAT, DESK, Refusal

if TYPE_CHECKING:
    import asyncio

    from picows import WSFrame, WSTransport, WSUpgradeRequest

    from server.gateway.doors import Doors, Entry
    from server.gateway.transport import Receiver

HANDSHAKE_S = 10.0
READ_BYTES = 2048
"""Where a socket's read buffer starts: a handshake, or a usual frame. It doubles for a larger one and stays there."""
RECEIVE_BYTES = 64 * 1024
"""What the kernel keeps unread for a socket. It also bounds the read buffer of a peer that sends faster than we
read."""
COPY_BYTES = 1000
"""picows keeps, for each socket, a buffer as large as the largest frame sent from it; larger frames bring their own."""
HEADER_BYTES = 14
CHOKED_BYTES = 1024 * 1024
"""Bytes a peer may leave unread before it is not read from either: it asks for more than it takes. Far above what an
honest reader on a slow line is owed (S6: 256 KiB, and a page of history)."""
PATIENCE_TICKS = 10
"""How long (about seconds) a socket may take to end after a close frame."""

TEXT, BINARY, CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
PING, PONG = WSMsgType.PING, WSMsgType.PONG


class PicowsTransport(WSListener):
    """A `Transport`, and what picows calls back."""

    __slots__ = (
        "_choked",
        "_entry",
        "_held",
        "_message",
        "_most_bytes",
        "_paused",
        "_receiver",
        "_text",
        "_ticks_left",
        "_ws",
    )

    def __init__(self, entry: Entry, most_bytes: int) -> None:
        self._entry: Entry | None = entry
        self._most_bytes = most_bytes
        self._ws: WSTransport | None = None
        self._receiver: Receiver | None = None
        self._message: bytearray | None = None
        """What has come of a message in fragments; `_text`: its kind."""
        self._text = False
        self._paused = self._choked = False
        self._held: deque[str | bytes] | None = None
        """Frames that were in the read buffer when the receiver paused."""
        self._ticks_left = PATIENCE_TICKS

    # -- for the gateway -----------------------------------------------------------------------------------

    def send(self, frame: str | bytes) -> None:
        ws = self._ws
        if ws is None:
            return
        kind = TEXT if isinstance(frame, str) else BINARY
        if len(frame) < COPY_BYTES:
            ws.send(kind, frame)
            return
        room = bytearray(HEADER_BYTES)
        room += frame.encode() if isinstance(frame, str) else frame
        ws.send_reuse_external_bytearray(kind, room, HEADER_BYTES)

    def ping(self) -> None:
        if self._ws is not None:
            self._ws.send_ping()

    def close(self, code: int, reason: str) -> None:
        ws = self._ws
        if ws is None or ws.is_close_frame_sent:
            return
        # picows writes any number, its types know the registered ones only.
        ws.send_close(cast("WSCloseCode", code), reason)
        self._held = self._message = None
        # The peer's close frame must be seen, however much was to wait.
        self._paused = self._choked = False
        self._read_or_wait()

    def pause(self) -> None:
        self._paused = True
        self._read_or_wait()

    def resume(self) -> None:
        self._paused = False
        held = self._held
        while held and not self._paused and self._receiver is not None:
            self._receiver.on_frame(held.popleft())
        if not held:
            self._held = None
        self._read_or_wait()

    def tick(self) -> None:
        ws = self._ws
        if ws is None or not (ws.is_close_frame_sent or ws.underlying_transport.is_closing()):
            return
        self._ticks_left -= 1
        if self._ticks_left < 0:
            ws.disconnect(graceful=False)

    @property
    def buffered(self) -> int:
        return self._ws.underlying_transport.get_write_buffer_size() if self._ws is not None else 0

    # -- from picows ---------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        # picows keeps the handshake for as long as the socket lives: 2 KB, of a browser more.
        transport.request.headers.clear()
        transport.response.headers.clear()
        transport.underlying_transport.set_write_buffer_limits(high=CHOKED_BYTES)
        entry, self._entry = self._entry, None
        assert entry is not None, "picows connects a listener once"
        self._ws = transport
        self._receiver = entry.connect(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if transport.is_close_frame_sent:
            # Ours, or picows' own after broken framing. What still arrives is not listened to, but for the answer.
            if kind == WSMsgType.CLOSE:
                transport.disconnect()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(WSCloseCode.PROTOCOL_ERROR.value, "a reserved bit is set")
        elif kind in (TEXT, BINARY):
            if self._message is not None:
                self.close(WSCloseCode.PROTOCOL_ERROR.value, "a message began inside another")
            elif not frame.fin:
                self._text = kind == TEXT
                self._message = bytearray(frame.get_payload_as_memoryview())
            elif kind == BINARY:
                self._hand_over(frame.get_payload_as_bytes())
            else:
                try:
                    text = frame.get_payload_as_utf8_text()
                except UnicodeDecodeError:
                    self.close(WSCloseCode.INVALID_TEXT.value, "text is UTF-8")
                else:
                    self._hand_over(text)
        elif kind == CONTINUATION:
            self._continue(frame)
        elif kind in (PING, PONG):
            if kind == PING:
                transport.send_pong(frame.get_payload_as_bytes())
            if self._receiver is not None:
                self._receiver.on_heard()
        else:
            self._answer_close(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        receiver, self._receiver = self._receiver, None
        self._ws = self._held = self._message = None
        if receiver is not None:
            receiver.on_close()

    def pause_writing(self) -> None:
        self._choked = True
        self._read_or_wait()

    def resume_writing(self) -> None:
        self._choked = False
        self._read_or_wait()

    # -- small steps ---------------------------------------------------------------------------------------

    def _hand_over(self, message: str | bytes) -> None:
        if self._paused:
            if self._held is None:
                self._held = deque()
            self._held.append(message)
        elif self._receiver is not None:
            self._receiver.on_frame(message)

    def _continue(self, frame: WSFrame) -> None:
        message = self._message
        if message is None:
            self.close(WSCloseCode.PROTOCOL_ERROR.value, "a continuation of nothing")
            return
        if len(message) + frame.payload_size > self._most_bytes:
            self.close(WSCloseCode.MESSAGE_TOO_BIG.value, f"a message has at most {self._most_bytes} bytes")
            return
        message += frame.get_payload_as_memoryview()
        if not frame.fin:
            return
        self._message = None
        try:
            whole = message.decode() if self._text else bytes(message)
        except UnicodeDecodeError:
            self.close(WSCloseCode.INVALID_TEXT.value, "text is UTF-8")
        else:
            self._hand_over(whole)

    def _answer_close(self, ws: WSTransport, frame: WSFrame) -> None:
        """The peer says goodbye: the same back, and the end once it is written. picows has checked its length."""
        payload = frame.get_payload_as_bytes()
        code = int.from_bytes(payload[:2], "big") if payload else WSCloseCode.OK.value
        if code == WSCloseCode.ABNORMAL_CLOSURE.value or not 1000 <= code <= 4999:
            code = WSCloseCode.PROTOCOL_ERROR.value  # RFC 6455 7.4: such a code never travels
        self.close(code, "")
        ws.disconnect()

    def _read_or_wait(self) -> None:
        if self._ws is None:
            return
        tcp = cast("Any", self._ws.underlying_transport)  # asyncio.Transport lacks `is_reading` in its types
        wanted = not (self._paused or self._choked)
        if not tcp.is_closing() and tcp.is_reading() is not wanted:
            if wanted:
                tcp.resume_reading()
            else:
                tcp.pause_reading()


class _QuietLog(logging.LoggerAdapter[logging.Logger]):
    """One for all sockets (of a Logger picows would make a child for each). It has a line for each that comes and goes,
    and what a client does wrong is an error to it, which would let anybody fill the log. Only exceptions, which are our
    own mistakes, keep their level."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        super().log(level if kwargs.get("exc_info") else logging.DEBUG, msg, *args, **kwargs)


class Port:
    """The server of `/v1/chat` and `/v1/desk` on a port of their own. `most_bytes`: of one message."""

    def __init__(self, doors: Doors, most_bytes: int) -> None:
        self._doors = doors
        self._most_bytes = most_bytes
        self._server: asyncio.Server | None = None

    async def listen(self, sock: socket.socket, backlog: int) -> None:
        """Accept on `sock`, which is bound."""
        # Before `listen`: accepted sockets inherit it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._server = await ws_create_server(
            self._enter,
            sock=sock,
            backlog=backlog,
            # The loop's own transports (uvloop) are as fast and take 5 KB less a socket.
            use_aiofastnet=False,
            # Its only timer, and it ends with the handshake.
            websocket_handshake_timeout=HANDSHAKE_S,
            logger_name=_QuietLog(logging.getLogger("deskbell.picows"), {}),
            enable_auto_ping=False,
            enable_auto_pong=False,
            max_frame_size=self._most_bytes,
            read_buffer_init_size=READ_BYTES,
        )

    def close(self) -> None:
        """Accept no more. The sockets that are open are closed by the drain."""
        if self._server is not None:
            self._server.close()

    def _enter(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        path = request.path.decode("latin-1").partition("?")[0]
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        offered = _words(request.headers.getall("Sec-WebSocket-Protocol", []))
        wrong = _what_is_wrong(path, request) if path in (CHAT, DESK) else None
        entry = wrong or self._doors.enter(path, offered, headers)
        if isinstance(entry, Refusal):
            given = {"Content-Type": "text/plain; charset=utf-8", **entry.headers}
            response = WSUpgradeResponse.create_error_response(entry.status, entry.detail.encode(), given)
            return WSUpgradeResponseWithListener(response, None)
        # picows takes these words only where they stand alone; Firefox asks for "keep-alive, Upgrade".
        request.headers["Connection"], request.headers["Upgrade"] = "Upgrade", "websocket"
        extra = {} if entry.subprotocol is None else {"Sec-WebSocket-Protocol": entry.subprotocol}
        return WSUpgradeResponseWithListener(
            WSUpgradeResponse.create_101_response(extra), PicowsTransport(entry, self._most_bytes)
        )


def _what_is_wrong(path: str, request: WSUpgradeRequest) -> Refusal | None:
    """Judge a handshake by RFC 6455, 4.2.1. picows does so only after the doors have counted it as let in."""
    headers = request.headers
    if "websocket" not in map(str.lower, _words(headers.getall("Upgrade", []))):
        return Refusal(426, f"{path} is a WebSocket: connect with ws:// or wss://.", {"Upgrade": "websocket"})
    if headers.get("Sec-WebSocket-Version") != "13":
        return Refusal(426, "The WebSocket version is 13.", {"Sec-WebSocket-Version": "13"})
    asked = map(str.lower, _words(headers.getall("Connection", [])))
    if "upgrade" not in asked or not _is_key(headers.get("Sec-WebSocket-Key", "")):
        return Refusal(400, "This is not a WebSocket handshake (RFC 6455, 4.2.1).", {})
    return None


def _words(values: list[str]) -> list[str]:
    """The items of a header that is a list, in one line or in several."""
    return [word for value in values for item in value.split(",") if (word := item.strip())]


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False

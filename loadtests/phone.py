"""A device that checks while it measures: every event once, in order, without a gap. Cheap, so that one process can be
thousands of them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, UnsetType
from picows import WSCloseCode, WSListener, WSMsgType, ws_connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from picows import WSFrame, WSTransport

ACK_EVERY = 32
BODY = "x" * 150


class Heard(msgspec.Struct):
    """What of a frame matters here; of any kind."""

    t: str
    ref: int | UnsetType = UNSET
    usn: int | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    conversation: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    head: int | UnsetType = UNSET
    resume: str | UnsetType = UNSET
    message: Any = UNSET
    reconnect_after_ms: int | UnsetType = UNSET


_decode = msgspec.json.Decoder(Heard).decode


class Mistakes(list[str]):
    """What must not happen. Only the first hundred are kept."""

    def note(self, text: str) -> None:
        if len(self) < 100:
            self.append(text)


class Phone(WSListener):
    """One device. `on_event(id)` and `on_ok(ref)` tell of its frames; `usn` is the last event it has."""

    def __init__(self, sockets: str, token: str, mistakes: Mistakes, device: UUID | None = None) -> None:
        self.url = f"{sockets}/v1/chat"
        self.token = token
        self.mistakes = mistakes
        self.device = str(device or uuid4())
        self.usn = 0
        self.epoch: str | None = None
        self.attempt = 0
        self.on_event: Callable[[str], None] = lambda _id: None
        self.on_ok: Callable[[int], None] = lambda _ref: None
        self.live = asyncio.Event()
        self.closed = asyncio.Event()
        self.closed_with = ""
        self._news = asyncio.Event()
        self._socket: WSTransport | None = None
        self._unacked = 0
        self._ref = 0

    # -- the library's callbacks ---------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._socket = transport
        self.attempt += 1
        hello: dict[str, Any] = {
            "t": "hello",
            "token": self.token,
            "device": {"id": self.device, "platform": "other", "sdk": "loadtests"},
            "foreground": False,
            "attempt": self.attempt,
        }
        if self.epoch is not None:
            hello |= {"epoch": self.epoch, "usn": self.usn}
        self.frame(hello)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            if transport is self._socket:
                self._hear(_decode(frame.get_payload_as_bytes()))
        elif frame.msg_type == WSMsgType.CLOSE:
            if transport is self._socket:
                self.closed_with = f"{frame.get_close_code()} {frame.get_close_message()!r}"
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if transport is not self._socket:
            return  # one given up before, or never open: another has taken its place
        self._socket = None
        self.live.clear()
        self.closed.set()

    # -- what it does --------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the socket and wait until everything is here. Raises what the library raises, or TimeoutError."""
        self.closed.clear()
        await ws_connect(lambda: self, self.url, max_frame_size=2**20, read_buffer_init_size=4096)
        async with asyncio.timeout(30):
            await self.live.wait()

    def frame(self, frame: dict[str, Any]) -> None:
        self.raw(msgspec.json.encode(frame))

    def raw(self, frame: bytes) -> None:
        if self._socket is not None:
            self._socket.send(WSMsgType.TEXT, frame)

    def next_ref(self) -> int:
        self._ref += 1
        return self._ref

    def open(self, conversation: str) -> None:
        self.frame({"t": "open", "ref": self.next_ref(), "conversation": conversation})

    def send(self, conversation: str, id: str) -> int:
        """Send one message; returns its ref."""
        ref = self.next_ref()
        self.raw(
            b'{"t":"send","ref":%d,"conversation":"%s","id":"%s","body":{"kind":"text","text":"%s"}}'
            % (ref, conversation.encode(), id.encode(), BODY.encode())
        )
        return ref

    async def reached(self, usn: int) -> None:
        """Return when everything up to `usn` is here."""
        while self.usn < usn:
            self._news.clear()
            await self._news.wait()

    def cut(self) -> None:
        """Lose the network."""
        if self._socket is not None:
            self._socket.disconnect(graceful=False)

    def leave(self) -> None:
        """Say goodbye; `closed` when the server has answered."""
        if self._socket is not None:
            self._socket.send_close(WSCloseCode.OK)

    def _hear(self, heard: Heard) -> None:
        match heard.t:
            case "event":
                if heard.usn != self.usn + 1:
                    self.mistakes.note(f"device {self.device[:8]}: usn {heard.usn} after {self.usn}")
                self.usn = heard.usn if isinstance(heard.usn, int) else self.usn
                self._news.set()
                self._unacked += 1
                if self._unacked >= ACK_EVERY:
                    self._ack()
                if isinstance(heard.id, str):
                    self.on_event(heard.id)
            case "ok":
                if isinstance(heard.ref, int):
                    self.on_ok(heard.ref)
            case "synced":
                self._ack()
                self.live.set()
            case "welcome":
                if isinstance(heard.epoch, str):
                    self.epoch = heard.epoch
            case "snapshot":
                self.usn = heard.usn if isinstance(heard.usn, int) else 0
            case "error":
                self.mistakes.note(f"device {self.device[:8]}: {heard.code} {heard.message}")

    def _ack(self) -> None:
        self._unacked = 0
        self.raw(b'{"t":"ack","usn":%d}' % self.usn)


def ids(seed: int) -> Callable[[], str]:
    """Message ids from a seed (UUIDs of version 4 in shape), cheaper than the system's random numbers."""
    draw = random.Random(seed).getrandbits
    return lambda: str(UUID(int=draw(128), version=4))


clock = time.perf_counter

"""A phone for drills with many of them: light, and strict about order. It shares no code with the server.

It stores nothing but its cursor, sends again under the same ids after a lost connection, waits as a `drain` asks it to,
and writes down every gap and repeat it is offered (protocol.md, S1), every answer it never got.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

LONGEST_PAUSE_S = 30.0
ACK_EVERY = 16
FINAL = range(4400, 5000)


@dataclass
class Tally:
    """What all phones of a drill saw together. Seconds on one monotonic clock."""

    delivered: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    connected_at: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    refused_handshakes: int = 0
    sent: int = 0


class DrillPhone:
    """`node()` names the URL to connect to next. `sent_at` is shared by the devices of a user."""

    def __init__(
        self, tally: Tally, token: str, node: Callable[[], str], sent_at: dict[str, float], rng: random.Random
    ) -> None:
        self.tally = tally
        self.device = str(uuid4())
        self.attempt = 0
        self.conversation: str | None = None
        self.cursor: int | None = None
        self.epoch: str | None = None
        self.waiting: dict[str, dict[str, Any]] = {}
        self.live = asyncio.Event()
        self.closed_with: int | None = None
        self.closed_at = 0.0
        self._token = token
        self._node = node
        self._sent_at = sent_at
        self._rng = rng
        self._refs: dict[int, str] = {}
        self._mine: set[str] = set()
        self._ref = 0
        self._pause = 0.5
        self._drain_until = 0.0
        self._socket: ClientConnection | None = None

    async def run(self) -> None:
        """Stay connected until cancelled or told to go for good."""
        while True:
            try:
                async with connect(
                    self._node() + "/v1/chat", compression=None, ping_interval=None, open_timeout=60, max_queue=None
                ) as socket:
                    self._socket = socket
                    try:
                        await self._talk(socket)
                    finally:
                        self.closed_with, self.closed_at = socket.close_code, time.monotonic()
            except InvalidStatus as refused:
                self.tally.refused_handshakes += 1
                await asyncio.sleep(float(refused.response.headers.get("Retry-After", "1")))
                continue
            except (OSError, WebSocketException, TimeoutError):
                pass
            finally:
                self.live.clear()
                self._socket = None
            if self.closed_with in FINAL:
                return
            await asyncio.sleep(max(self._drain_until - time.monotonic(), self._rng.uniform(0, self._pause)))
            self._pause = min(self._pause * 2, LONGEST_PAUSE_S)

    async def open(self) -> None:
        """Open the conversation that this user's phones talk in."""
        self.conversation = str(uuid4())
        await self._frame({"t": "open", "ref": self._next(), "conversation": self.conversation})

    async def send(self) -> None:
        """Send a message and do not wait; it is sent again until it is answered."""
        message = str(uuid4())
        frame = {"t": "send", "conversation": self.conversation, "id": message}
        self.waiting[message] = frame | {"body": {"kind": "text", "text": "x" * 150}}
        self._sent_at[message] = time.monotonic()
        self._mine.add(message)
        self.tally.sent += 1
        if self.live.is_set():
            await self._put(message)

    async def _put(self, message: str) -> None:
        ref = self._next()
        self._refs[ref] = message
        await self._frame({**self.waiting[message], "ref": ref})

    async def _frame(self, frame: dict[str, Any]) -> None:
        socket = self._socket
        if socket is not None:
            with contextlib.suppress(WebSocketException, OSError):
                await socket.send(json.dumps(frame))

    def _next(self) -> int:
        self._ref += 1
        return self._ref

    async def _talk(self, socket: ClientConnection) -> None:
        hello: dict[str, Any] = {"t": "hello", "token": self._token, "foreground": True}
        hello["device"] = {"id": self.device, "platform": "android"}
        self.attempt += 1
        hello["attempt"] = self.attempt
        if self.cursor is not None:
            hello |= {"usn": self.cursor, "epoch": self.epoch}
        await socket.send(json.dumps(hello))
        unacked = 0
        async for data in socket:
            frame = json.loads(data)
            match frame["t"]:
                case "event":
                    self._event(frame)
                    unacked += 1
                    if unacked >= ACK_EVERY:
                        unacked = 0
                        await self._frame({"t": "ack", "usn": self.cursor})
                case "ok":
                    message = self._refs.pop(frame["ref"], None)
                    if message is not None and self.waiting.pop(message, None) is not None:
                        self.tally.answered.append(time.monotonic() - self._sent_at[message])
                case "error":
                    self.attempt = max(self.attempt, frame.get("attempt", 0))
                    message = self._refs.pop(frame.get("ref"), None)
                    if message is not None and not frame["retry"]:
                        self.tally.violations.append(f"a send was refused for good: {frame}")
                case "welcome":
                    self.epoch = frame["epoch"]
                    if frame["resume"] == "continued" and self.cursor is None:
                        self.tally.violations.append("continued without a cursor")
                case "snapshot":
                    if self.cursor is not None and frame["usn"] < self.cursor:
                        self.tally.violations.append(f"a snapshot at {frame['usn']} behind {self.cursor}")
                    self.cursor = frame["usn"]
                case "synced" if not self.live.is_set():
                    self._pause = 0.5
                    self.tally.connected_at.append(time.monotonic())
                    self.live.set()
                    for waiting in tuple(self.waiting):
                        await self._put(waiting)
                case "drain":
                    self._drain_until = time.monotonic() + frame["reconnect_after_ms"] / 1000

    def _event(self, frame: dict[str, Any]) -> None:
        usn = frame["usn"]
        if self.cursor is None or usn != self.cursor + 1:
            self.tally.violations.append(f"event {usn} after {self.cursor}")
        self.cursor = usn
        message = frame.get("id", "")
        if message in self._sent_at and message not in self._mine:
            self.tally.delivered.append(time.monotonic() - self._sent_at[message])

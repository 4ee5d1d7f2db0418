"""A phone as protocol.md describes one: a single integer `usn`, the rules C1 and C2, and a distrustful eye on S1."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from typing import Any

from tests.end_to_end.rawsocket import JSON, Closed, Codec, Frame, RawSocket, fresh_id, say_hello

ACK_EVERY = 16


class Device:
    """One device of one user. ``log`` holds every event in the order applied; ``faults`` what should not have come.

    Unlike a real client it repairs nothing quietly: an event that is not exactly the next one of its connection breaks
    S1 and is written down.
    """

    def __init__(self, url: str, token: str, codec: Codec = JSON, *, device: str | None = None) -> None:
        self.url = url
        self.token = token
        self.codec = codec
        self.device = device or fresh_id()
        self.usn: int | None = None
        self.epoch: str | None = None
        self.log: list[Frame] = []
        self.faults: list[str] = []
        self.snapshot: Frame | None = None
        self.welcome: Frame = {}
        self._socket: RawSocket | None = None
        self._offered: int | None = None
        self._acked = 0

    @property
    def socket(self) -> RawSocket:
        if self._socket is None:
            raise AssertionError("connect() comes first")
        return self._socket

    async def connect(self, *, whole_log: bool = False) -> Frame:
        """Say hello with the own cursor and wait for ``synced``; ``whole_log`` reads from usn 0 on (epoch known)."""
        if whole_log:
            self.usn, self.log = 0, []
        self._offered = self.usn
        self._acked = self.usn or 0
        self._socket = await RawSocket.open(self.url, "/v1/chat", self.codec)
        self._socket.on_frame = self._take
        self.welcome = await say_hello(self._socket, self.token, device=self.device, usn=self.usn, epoch=self.epoch)
        await self.socket.wait_for(lambda frame: frame["t"] == "synced", "synced")
        return self.welcome

    async def _take(self, frame: Frame) -> None:
        kind = frame["t"]
        if kind == "welcome":
            self.epoch = frame["epoch"]
        elif kind == "snapshot":
            self.snapshot = frame
            self.usn = self._offered = frame["usn"]
        elif kind == "event":
            await self._apply(frame)
        elif kind in ("ok", "error"):
            self.answered(frame)
        elif kind == "synced" and self.usn is not None:
            if frame["usn"] > self.usn:
                self.faults.append(f"synced says usn {frame['usn']}, offered was only {self.usn}")
            await self._ack()

    def answered(self, answer: Frame) -> None:
        """Called with every ``ok`` and ``error`` as it comes; nothing to do for a device that awaits its answers."""

    def applied(self, event: Frame) -> None:
        """Called with every event once it stands in ``log``."""

    async def _apply(self, event: Frame) -> None:
        usn = event["usn"]
        if self._offered is None:
            self.faults.append(f"event {usn} came before any snapshot or cursor")
        elif usn != self._offered + 1:
            self.faults.append(f"S1: event {usn} was offered after {self._offered}")
        self._offered = usn
        if self.usn is None or usn > self.usn:
            self.usn = usn
            self.log.append(event)
            self.applied(event)
        if self.usn - self._acked >= ACK_EVERY:
            await self._ack()

    async def _ack(self) -> None:
        if self.usn:
            self._acked = self.usn
            with suppress(Closed):
                await self.socket.send({"t": "ack", "usn": self.usn})

    async def reached(self, usn: int, within: float = 10.0) -> None:
        """Wait until this device holds everything up to ``usn``."""
        deadline = time.monotonic() + within
        while self.usn is None or self.usn < usn:
            seen = len(self.socket.received)
            await self.socket.wait_for(
                lambda frame: frame["t"] == "event",
                f"event {usn} (this device holds {self.usn})",
                within=max(deadline - time.monotonic(), 0.01),
                start=seen,
            )

    async def event(self, within: float = 10.0, **fields: Any) -> Frame:
        """The first event of the log whose fields (and body fields, written ``body_text=``) are these; waits for it."""
        deadline = time.monotonic() + within
        while True:
            seen = len(self.socket.received)
            for event in self.log:
                if all(_field(event, name) == value for name, value in fields.items()):
                    return event
            await self.socket.wait_for(
                lambda frame: frame["t"] == "event",
                f"an event with {fields}",
                within=max(deadline - time.monotonic(), 0.01),
                start=seen,
            )

    async def drop(self) -> None:
        """The network is gone."""
        await self.socket.drop()

    async def close(self) -> None:
        if self._socket is not None:
            await asyncio.shield(self._socket.close())


def _field(event: Frame, name: str) -> Any:
    if name.startswith("body_"):
        return event["body"].get(name.removeprefix("body_"))
    return event.get(name)


def numbering_faults(log: list[Frame], *, notes: bool = False) -> list[str]:
    """What is wrong with the numbers of one user's log: `usn` dense, `seq` dense per conversation.

    ``notes``: agents wrote private notes, which take a `seq` and no `usn`, so `seq` may jump there and must only grow.
    """
    faults = []
    for before, after in itertools.pairwise(log):
        if after["usn"] != before["usn"] + 1:
            faults.append(f"usn {after['usn']} follows {before['usn']}")
    last: dict[str, int] = {}
    for event in log:
        conversation, seq = event["conversation"], event["seq"]
        previous = last.get(conversation)
        if previous is not None and (seq <= previous if notes else seq != previous + 1):
            faults.append(f"seq {seq} follows {previous} in conversation {conversation}")
        last[conversation] = seq
        if not isinstance(event.get("at"), str):
            faults.append(f"`at` of usn {event['usn']} is {event.get('at')!r}, not an RFC 3339 string")
    return faults

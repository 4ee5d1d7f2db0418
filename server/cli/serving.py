"""A node with its HTTP server around it, from ready to gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import uvicorn

from server.cli import memory
from server.cli.listening import BACKLOG, base_url, bind
from server.cli.roles import only_for
from server.cli.secret_key import load_secret_key
from server.clock import SystemClock
from server.gateway.uvicorn_socket import LendingProtocol
from server.wiring import Node

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterator

    from structlog.typing import FilteringBoundLogger

    from server.clock import Clock
    from server.config import Config
    from server.embedded.postgres import EmbeddedPostgres

    Ready = Callable[[Node, str], Awaitable[None]]

WATCH_S = 0.5
MESSAGE_BYTES = 256 * 1024
"""What the WebSocket library takes before it closes with 1009. Above the protocol's own limit (64 KiB), so that a
frame that is only somewhat too large is answered `too_large` and the socket lives."""


@dataclass(frozen=True)
class Listening:
    """Bound sockets: of all doors, and of `--gateway-port`."""

    all_doors: socket.socket
    gateway: socket.socket | None


class Leaving:
    """How far the wish to leave has gone: `stop` asks to go in good order, `hurry` not to wait for it."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def ask(self) -> None:
        """A first time, or once more."""
        (self.hurry if self.stop.is_set() else self.stop).set()

    def on_signals(self, asked: Callable[[], None] | None = None) -> None:
        """SIGTERM and SIGINT ask from now on; `asked()` is called after each."""

        def ask() -> None:
            self.ask()
            if asked is not None:
                asked()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ask)


class _NotOurFault(logging.Filter):
    """What a client does wrong is answered to the client (close 1007); a traceback of it would let anybody fill the
    log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Invalid UTF-8 sequence")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, because how to leave is ours to say; and with a way to wait for it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_node(
    config: Config,
    url: str,
    embedded: EmbeddedPostgres | None,
    roles: frozenset[str],
    *,
    ready: Ready,
    prepare: Callable[[Node], Awaitable[None]] | None = None,
    demo_session: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    metrics_page: Callable[[], Awaitable[bytes]] | None = None,
    listening: Listening | None = None,
    leaving: Leaving | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, or what `leaving` hears, then drain and leave. `prepare(node)` is called before it
    listens, `ready(node, base_url)` once it does. `listening`: inherited, instead of the configured addresses.

    Raises StartError when an address cannot be listened on, and whatever `Node.open` raises.
    """
    leaving = leaving or Leaving()
    leaving.on_signals()
    listening = listening or _listen(config, roles)
    clock = SystemClock()
    node = await Node.open(config, clock, url, load_secret_key(config), roles)
    try:
        if prepare is not None:
            await prepare(node)
        app = only_for(node.app(version("deskbell"), demo_session, metrics_page), roles)
        memory.settle()
        server, port = _Server(_server_config(app)), node.port(MESSAGE_BYTES)
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.error").addFilter(_NotOurFault())
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening.all_doors]))
            watching = group.create_task(keep_postgres(embedded, clock, node.log)) if embedded else None
            await server.listening.wait()
            if listening.gateway is not None:
                await port.listen(listening.gateway, BACKLOG)
            await ready(node, base_url(config, listening.all_doors))
            await leaving.stop.wait()
            await node.drain(leaving.hurry)
            port.close()
            server.should_exit = True
            if watching:
                watching.cancel()
    finally:
        await node.close()


async def keep_postgres(embedded: EmbeddedPostgres, clock: Clock, log: FilteringBoundLogger) -> None:
    """Start our PostgreSQL again if it dies. On the loop, because it must be a child of the main thread; while it
    starts there is nothing to serve from anyway."""
    while True:
        await clock.sleep(WATCH_S)
        if embedded.poll() is not None:
            log.error("the embedded PostgreSQL has died; starting it again", last_words=embedded.last_words())
            embedded.stop()
            embedded.start()


def _server_config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws=LendingProtocol,
        ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=5,
    )


def _listen(config: Config, roles: frozenset[str]) -> Listening:
    http = config.http
    all_doors = bind(http.host, http.port)
    if http.gateway_port is None or "gateway" not in roles:
        return Listening(all_doors, None)
    return Listening(all_doors, bind(http.host, http.gateway_port, "--gateway-port"))

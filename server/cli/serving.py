"""A node with its HTTP server around it, from ready to gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import uvicorn

from server.cli import memory
from server.cli.process import EXIT_ADDRESS, StartError
from server.cli.roles import only_for
from server.cli.secret_key import load_secret_key
from server.clock import SystemClock
from server.gateway.uvicorn_socket import LendingProtocol
from server.wiring import Node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from server.config import Config
    from server.embedded.postgres import EmbeddedPostgres

    Ready = Callable[[Node, str], Awaitable[None]]

WATCH_S = 0.5
BACKLOG = 2048
MESSAGE_BYTES = 256 * 1024
"""What the WebSocket library takes before it closes with 1009. Above the protocol's own limit (64 KiB), so that a
frame that is only somewhat too large is answered `too_large` and the socket lives."""


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
) -> None:
    """Run until SIGTERM or SIGINT, then drain and leave. `prepare(node)` is called before it listens,
    `ready(node, base_url)` once it does.

    Raises StartError when an address cannot be listened on, and whatever `Node.open` raises.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The first asks to leave in good order, a second one not to wait for it.
        loop.add_signal_handler(number, lambda: (hurry if stop.is_set() else stop).set())
    listening = _listen(config.http.host, config.http.port)
    sockets = None
    if config.http.gateway_port is not None and "gateway" in roles:
        sockets = _listen(config.http.host, config.http.gateway_port, "--gateway-port")
    clock = SystemClock()
    node = await Node.open(config, clock, url, load_secret_key(config), roles)
    try:
        if prepare is not None:
            await prepare(node)
        app = only_for(node.app(version("deskbell"), demo_session), roles)
        memory.settle()
        server, port = _Server(_server_config(app)), node.port(MESSAGE_BYTES)
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.error").addFilter(_NotOurFault())
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listening]))
            watching = group.create_task(_watch(node, embedded)) if embedded else None
            await server.listening.wait()
            if sockets is not None:
                await port.listen(sockets, BACKLOG)
            await ready(node, _base_url(config, listening))
            await stop.wait()
            await node.drain(hurry)
            port.close()
            server.should_exit = True
            if watching:
                watching.cancel()
    finally:
        await node.close()


async def _watch(node: Node, embedded: EmbeddedPostgres) -> None:
    """Start our PostgreSQL again if it dies. On the loop, because it must be a child of the main thread; while it
    starts there is nothing to serve from anyway."""
    while True:
        await node.clock.sleep(WATCH_S)
        if embedded.poll() is not None:
            node.log.error("the embedded PostgreSQL has died; starting it again", last_words=embedded.last_words())
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


def _listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket, before anything else is started: a taken port is one clear line, not half a server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StartError(
            f"cannot listen on {host}:{port} ({reason}). Choose another with {option}, or stop what uses it.",
            EXIT_ADDRESS,
        ) from None
    sock.setblocking(False)
    return sock


def _base_url(config: Config, sock: socket.socket) -> str:
    if config.http.public_url is not None:
        return config.http.public_url
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

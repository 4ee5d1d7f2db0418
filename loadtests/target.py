"""The server under load: one of our own as a subprocess, or one that is there already."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.jwk import OctKey

from loadtests import meters

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

READY_WITHIN_S = 60.0
UNLIMITED = {"DESKBELL_RATE_LIMIT_SENDS": "off", "DESKBELL_ADMIT_SOCKETS": "off"}


@dataclass
class Target:
    """`sockets`: where WebSockets go. `pid`: the server's, 0 if it is not ours to measure. `dsn`: its PostgreSQL."""

    url: str
    sockets: str
    app: str
    server_key: str
    identity: dict[str, str]
    pid: int
    dsn: str
    agent_token: str = ""

    def token(self, external_id: str) -> str:
        """As the app's own server signs it (docs/protocol.md, "Identity")."""
        now = int(time.time())
        claims = {"sub": external_id, "aud": self.app, "iat": now, "exp": now + 6 * 3600}
        header = {"alg": "HS256", "kid": self.identity["kid"]}
        return jwt.encode(header, claims, OctKey.import_key(self.identity["secret"]))

    def cost(self) -> meters.Cost:
        return meters.cost(self.pid) if self.pid else meters.Cost(0.0, 0.0)

    def memory(self) -> int:
        return meters.memory_of(self.pid) if self.pid else 0


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument("--transport", choices=["port", "asgi"], default="port", help="a port of its own, or ASGI")
    group.add_argument("--url", help="a server that runs already, with --app FILE")
    group.add_argument("--sockets-url", help="its dedicated port, if it has one")
    group.add_argument("--app", type=Path, help="what `deskbell app create --json` printed for it")


@contextlib.contextmanager
def running(options: argparse.Namespace, **environ: str) -> Iterator[Target]:
    """The server that `options` ask for. Ours is gone afterwards, with its data."""
    if options.url:
        if options.app is None:
            raise SystemExit("--url needs --app: the file with what `deskbell app create NAME --json` printed")
        app = json.loads(options.app.read_text())
        sockets = (options.sockets_url or options.url).replace("http", "ws", 1)
        yield Target(options.url, sockets, app["app"], app["server_key"], app["identity"], 0, "")
        return
    folder = Path(tempfile.mkdtemp(prefix="deskbell-load-"))
    try:
        with _ours(folder, options.transport, environ) as target:
            yield target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ours(folder: Path, transport: str, environ: dict[str, str]) -> Iterator[Target]:
    port, gateway_port = free_port(), free_port()
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DESKBELL_")},
        "DESKBELL_DATA_DIR": str(folder),
        "DESKBELL_LOG_LEVEL": "warning",
        **UNLIMITED,
        **environ,
    }
    command = [sys.executable, "-m", "server.cli", "serve", "--port", str(port)]
    if transport == "port":
        command += ["--gateway-port", str(gateway_port)]
    process = subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process)
        made = _command(settings, "app", "create", "load", "--json")
        agent = _command(settings, "agent", "create", "load@example.com", "--app", made["app"], "--json")
        sockets = f"ws://127.0.0.1:{gateway_port if transport == 'port' else port}"
        yield Target(
            url,
            sockets,
            made["app"],
            made["server_key"],
            made["identity"],
            process.pid,
            _dsn(folder),
            agent["token"],
        )
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # the second one: do not wait for the drain
            process.wait(30)


def _command(settings: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What a command of `deskbell` prints as JSON."""
    ended = subprocess.run(
        [sys.executable, "-m", "server.cli", *arguments], env=settings, check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/livez", timeout=5):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"the server was not there after {READY_WITHIN_S:.0f} s")
        time.sleep(0.05)


def _dsn(folder: Path) -> str:
    """The embedded PostgreSQL's, by its socket."""
    found = next(folder.rglob(".s.PGSQL.5432"))
    return f"postgresql://deskbell@/deskbell?host={found.parent}&port=5432"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port

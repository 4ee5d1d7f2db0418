"""`deskbell serve --workers` as an operator meets it, and who of its processes has which socket (Linux)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.end_to_end.deskbell_process import DeskbellProcess, command_line, family_of, free_port, run_command
from tests.end_to_end.rawsocket import Rest, sign

if TYPE_CHECKING:
    from tests.end_to_end.rawsocket import RawSocket


class ServingWorkers(DeskbellProcess):
    """`workers` processes with every door on `url` and the sockets once more on `gateway`. After `start` and `set_up`
    there is an app and an agent."""

    def __init__(self, folder: Path, workers: int = 2, **environment: str) -> None:
        self.workers = workers
        self.gateway_port = free_port()
        self.app: dict[str, Any] = {}
        self.agent: dict[str, Any] = {}
        settings = {
            "DESKBELL_DATA_DIR": str(folder / "data"),
            "DESKBELL_LOG_FORMAT": "json",
            "DESKBELL_DRAIN_SECONDS": "0.5",
        }
        super().__init__(folder / "data", free_port(), folder / "serve.log", **settings | environment)

    def arguments(self) -> list[str]:
        ports = ["--port", str(self.port), "--gateway-port", str(self.gateway_port)]
        return ["serve", "--workers", str(self.workers), *ports]

    def understand(self, line: bytes) -> dict[str, Any]:
        return {"said": line.decode()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    def set_up(self) -> None:
        self.app = run_command("app", "create", "Kestrel", "--json", **self.environment)
        self.agent = run_command(
            "agent", "create", "robin@example.com", "--app", self.app["app"], "--json", **self.environment
        )

    def token(self, user: str) -> str:
        return sign(self.app["identity"], self.app["app"], user)

    def sweep(self) -> None:
        """In good order first, so that no folder of the bus stays in the temporary directory."""
        if self._process is not None and self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.send(signal.SIGTERM)
                self.terminate()  # the second signal: without waiting for the drain
        super().sweep()

    # -- its processes -------------------------------------------------------------------------------------

    def children(self, words: str) -> set[int]:
        """Processes below the command whose command line has `words` in it."""
        family = family_of(self.pid)
        self._family |= family
        return {pid for pid, _ in family if pid != self.pid and words in command_line(pid)}

    def pids(self) -> set[int]:
        """Of the workers."""
        return self.children("--as-worker")

    def holder(self, socket: RawSocket) -> int:
        """The worker that has the other end of this connection."""
        port = socket.connection.transport.get_extra_info("sockname")[1]
        found = _holder(port, self.pids())
        assert found is not None, f"no worker has the other end of port {port}"
        return found

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of the log about this event."""
        lines = []
        for line in self.log_path.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if line.get("event") == event]

    async def numbers(self) -> dict[str, float]:
        """A scrape: each sample by its name and labels as they stand on the page."""
        page = (await Rest(self.url)("GET", "/metrics")).text
        samples = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


def _holder(port: int, pids: set[int]) -> int | None:
    """Which of these processes has the accepted end of the connection from our local `port` (proc(5), net/tcp)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(f":{port:04X}") and fields[9] != "0":
            for pid in pids:
                with suppress(OSError):
                    opened = Path(f"/proc/{pid}/fd")
                    for descriptor in opened.iterdir():
                        with suppress(OSError):
                            if os.readlink(descriptor) == f"socket:[{fields[9]}]":
                                return pid
    return None

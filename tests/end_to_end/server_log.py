"""What a server's log must never contain, however rude the other side was."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.end_to_end.rawsocket import RawSocket, Rest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.end_to_end.tenancy import RunningServer

_COMPLAINTS = re.compile(
    r"Traceback \(most recent call last\)"
    r"|\"level\": ?\"(?:error|critical)\""
    r"|\[(?:error|critical) *\]"
    r"|\b(?:ERROR|CRITICAL)\b"
    r"|Internal Server Error"
    r"|exception was never retrieved"
    r"|\b(?:PANIC|FATAL):"
)


class LogWatch:
    """Looks at what a log file gained since this was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = path.stat().st_size

    def complaints(self) -> list[str]:
        """Lines that speak of an error or begin a stack trace, with what surrounds them; at most ten."""
        with self.path.open("rb") as log:
            log.seek(self._start)
            lines = log.read().decode(errors="replace").splitlines()
        places = [number for number, line in enumerate(lines) if _COMPLAINTS.search(line)]
        return ["\n".join(lines[max(place - 2, 0) : place + 25])[:4000] for place in places[:10]]


@asynccontextmanager
async def unmoved(server: RunningServer) -> AsyncIterator[None]:
    """Whatever happens inside leaves no stack trace and no error in the log, and the server healthy."""
    log = LogWatch(server.log_path)
    try:
        yield
    finally:
        await RawSocket.drop_all()
    door = Rest(server.url.rstrip("/"))
    for path in ("/livez", "/readyz"):
        answer = await door("GET", path)
        assert answer.status_code == 200, f"{path}: {answer.text}"
    complaints = log.complaints()
    assert not complaints, "\n---\n".join(complaints)

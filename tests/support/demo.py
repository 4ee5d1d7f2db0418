"""`deskbell demo` running for a whole test session: what its first line says, and where its files are."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.end_to_end.deskbell_process import DeskbellProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DemoServer:
    """`agent`: email, password, token. `users`: external_id, name, token each. `identity`: kid, alg, secret."""

    url: str
    desk_url: str
    phone_url: str
    app: str
    server_key: str
    agent: dict[str, str]
    users: list[dict[str, str]]
    identity: dict[str, str]
    data_dir: Path
    log_path: Path


@contextlib.contextmanager
def running_demo(folder: Path) -> Iterator[DemoServer]:
    """Start it on data of its own in `folder`; at the end stop it and insist that no process is left behind."""
    process = DeskbellProcess(folder / "data", free_port(), folder / "demo.log")
    try:
        ready: dict[str, Any] = process.start()
        known = {field: ready[field] for field in DemoServer.__dataclass_fields__ if field in ready}
        yield DemoServer(**known, data_dir=process.data_dir, log_path=process.log_path)
        assert process.terminate() == 0, process.log_tail()
        assert process.left_behind() == []
    finally:
        process.sweep()

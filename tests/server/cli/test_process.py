"""A process that is told to go while it starts: real processes, because signals belong to them."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from server.embedded.postgres import running_dsn

if TYPE_CHECKING:
    from pathlib import Path

STARTING = """
import asyncio, os, sys
from server.cli.process import load_config, one_line, run_with_database

async def work(url, embedded):
    print("starting", flush=True)
    await asyncio.sleep(60)

with one_line():
    run_with_database(load_config(), work)
"""


@pytest.mark.parametrize("database", ["postgresql://nobody@127.0.0.1:1/none", ""], ids=["external", "embedded"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_told_to_go_while_starting(database: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    environ = {"PATH": "/usr/bin:/bin", "DESKBELL_DATA_DIR": str(folder), "DESKBELL_LOG_LEVEL": "warning"}
    if database:
        environ["DESKBELL_DATABASE_URL"] = database
    with subprocess.Popen(
        [sys.executable, "-c", STARTING], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert errors == ""
    assert running_dsn(folder) is None

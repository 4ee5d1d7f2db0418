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
import asyncio, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is started deaf to it
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


FORKING = """
import os, signal
sent = []

def while_forking():
    if not sent:
        sent.append(True)
        os.kill(os.getpid(), signal.SIGTERM)

os.register_at_fork(after_in_parent=while_forking)
"""


def test_told_to_go_while_forking_is_not_forgotten(tmp_path: Path) -> None:
    """Python ignores exceptions in what it calls around a fork, and with them what a signal handler raised there."""
    folder = tmp_path / "data"
    environ = {"PATH": "/usr/bin:/bin", "DESKBELL_DATA_DIR": str(folder), "DESKBELL_LOG_LEVEL": "warning"}
    ended = subprocess.run(
        [sys.executable, "-c", FORKING + STARTING], env=environ, capture_output=True, text=True, timeout=50, check=False
    )
    assert "Exception ignored" in ended.stderr  # it did arrive there
    assert ended.stdout == ""
    assert ended.returncode == 0
    assert running_dsn(folder) is None

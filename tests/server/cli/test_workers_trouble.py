"""`deskbell serve --workers` that cannot start, or is told to go before it has: one line, one code, nothing left."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.deskbell_process import COMMAND, REPOSITORY, clean_environment, free_port, naming
from tests.support.workers import ServingWorkers

if TYPE_CHECKING:
    from pathlib import Path


def serve(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    settings = {"DESKBELL_DATA_DIR": str(folder / "data"), "DESKBELL_LOG_LEVEL": "warning"} | environ
    return subprocess.run(
        [*COMMAND, "serve", "--workers", "3", *words],
        cwd=REPOSITORY,
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("option", ["--port", "--gateway-port"])
def test_a_taken_port_is_one_line_before_anything_starts(option: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = serve(tmp_path, *(["--port", "0"] if option == "--gateway-port" else []), option, str(port))
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr == (
        f"deskbell: cannot listen on 127.0.0.1:{port} (Address already in use)."
        f" Choose another with {option}, or stop what uses it.\n"
    )
    assert not (tmp_path / "data").exists()


def test_two_installations_do_not_share_a_port(tmp_path: Path, database_url: str) -> None:
    """Though each of them shares its own among its workers, and both are the same user's."""
    first = ServingWorkers(tmp_path, DESKBELL_DATABASE_URL=database_url)
    try:
        first.start()
        done = serve(tmp_path, "--port", str(first.port), DESKBELL_DATABASE_URL=database_url)
        assert done.returncode == 4
        assert f"cannot listen on 127.0.0.1:{first.port}" in done.stderr
    finally:
        first.sweep()


def test_what_only_a_worker_can_find_wrong_is_said_once(tmp_path: Path, database_url: str) -> None:
    done = serve(
        tmp_path, "--port", "0", DESKBELL_DATABASE_URL=database_url, DESKBELL_REDIS_URL="redis://127.0.0.1/0?colour=red"
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("deskbell: DESKBELL_REDIS_URL: its value will not do:")
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away_is_said_once(tmp_path: Path) -> None:
    done = serve(tmp_path, "--port", "0", DESKBELL_DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    assert done.returncode == 3
    assert done.stderr.startswith("deskbell: the database cannot be used:")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("workers", ["0", "-1", "65", "many"])
def test_a_number_of_workers_that_cannot_be(workers: str, tmp_path: Path) -> None:
    done = serve(tmp_path, "--port", "0", "--workers", workers)
    assert done.returncode == 2
    assert "--workers" in done.stderr
    assert not (tmp_path / "data").exists()


def test_as_worker_is_not_for_people(tmp_path: Path) -> None:
    for word in ("1", "1:900:901", "1:2:3:4:5:6", "x:1:2"):
        done = serve(tmp_path, "--as-worker", word)
        assert done.returncode == 2
        assert done.stderr == "deskbell: --as-worker is for deskbell itself: choose --workers\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_go_while_the_workers_start(number: signal.Signals, tmp_path: Path, database_url: str) -> None:
    settings = {"DESKBELL_DATA_DIR": str(tmp_path), "DESKBELL_DATABASE_URL": database_url}
    words = f"--workers 2 --port {free_port()}"
    with subprocess.Popen(
        [*COMMAND, "serve", *words.split()],
        cwd=REPOSITORY,
        env=clean_environment(**settings, DESKBELL_LOG_FORMAT="json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        # The bus is started just before the workers.
        assert any("valkey" in line for line in process.stderr)
        process.send_signal(number)
        said, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert said == ""
    assert "Traceback" not in errors
    deadline = time.monotonic() + 10
    while naming(words):
        assert time.monotonic() < deadline, "something is left"

"""The key that encrypts stored secrets: configured, or made once and kept."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from server.cli.process import StartError
from server.cli.secret_key import load_secret_key
from server.config import Config

if TYPE_CHECKING:
    from pathlib import Path


def config(data_dir: Path, **environ: str) -> Config:
    return Config.load({"DESKBELL_DATA_DIR": str(data_dir), **environ})


def test_a_configured_key_is_the_key(tmp_path: Path) -> None:
    assert load_secret_key(config(tmp_path / "data", DESKBELL_SECRET_KEY="k" * 40)) == "k" * 40
    assert not (tmp_path / "data").exists(), "and nothing is written"


def test_without_one_it_is_made_and_stays_the_same(tmp_path: Path) -> None:
    first = load_secret_key(config(tmp_path / "deep" / "data"))
    path = tmp_path / "deep" / "data" / "secret.key"
    assert len(first) >= 48
    assert load_secret_key(config(tmp_path / "deep" / "data")) == first == path.read_text().strip()
    assert load_secret_key(config(tmp_path / "other")) != first


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        load_secret_key(config(tmp_path / "data"))
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "data" / "secret.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"], "no draft is left"


def test_many_that_start_at_once_agree(tmp_path: Path) -> None:
    for round_ in range(5):
        folder = config(tmp_path / str(round_))
        barrier = threading.Barrier(8)
        keys: set[str] = set()

        def load(folder: Config = folder, barrier: threading.Barrier = barrier, keys: set[str] = keys) -> None:
            barrier.wait()
            keys.add(load_secret_key(folder))

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys) == 1


def test_an_empty_file_is_said_and_not_used(tmp_path: Path) -> None:
    """An empty key would encrypt everything with something everybody knows."""
    (tmp_path / "secret.key").write_text("\n")
    with pytest.raises(StartError, match=r"secret\.key"):
        load_secret_key(config(tmp_path))


def test_a_draft_of_a_process_that_died_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f"secret.key.{os.getpid()}").write_text("half")
    assert len(load_secret_key(config(tmp_path))) >= 48


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        load_secret_key(config(tmp_path / "file" / "data"))

"""Imports point down (architecture.md, "The house"): the contracts of pyproject.toml hold, and could fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLANTED = {
    "server.domain.upwards": "server.storage.rows",
    "server.domain.doing_io": "asyncio",
    "server.services.knowing_frames": "sdk_protocol.frames",
    "server.gateway.knowing_a_neighbour": "server.workers.push_outbox",
    "server.workers.naming_an_adapter": "push.fcm",
    "server.services.naming_an_adapter": "server.outgoing.aiohttp",
    "server.outgoing.knowing_a_neighbour": "server.storage.rows",
    "admin_api.knowing_frames": "sdk_protocol.frames",
    "sdk_protocol.knowing_the_server": "server.clock",
    "push.knowing_the_server": "server.clock",
}
PACKAGES = ("server", "sdk_protocol", "push", "admin_api")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_imports_point_down() -> None:
    answer = lint_imports(ROOT)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is said about a copy of the tree with all of PLANTED in it (one run: reading 200 files takes seconds)."""
    folder = tmp_path_factory.mktemp("planted")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "console"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for module, source in PLANTED.items():
        (folder / f"{module.replace('.', '/')}.py").write_text(f"import {source}\n", "utf-8")
    answer = lint_imports(folder)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    return " ".join(answer.stdout.split())


@pytest.mark.parametrize(("module", "source"), PLANTED.items())
def test_a_planted_wrong_import_is_found(broken: str, module: str, source: str) -> None:
    assert f"{module} -> {source} (l.1)" in broken


def test_a_module_without_a_layer_is_found(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "console"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "server" / "planted.py").write_text("", "utf-8")
    answer = lint_imports(tmp_path)
    assert answer.returncode == 1
    assert "server.planted" in answer.stdout

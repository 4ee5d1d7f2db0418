"""Imports point down (architecture.md, "The house"): the contracts of pyproject.toml hold, and could fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("server", "sdk_protocol", "push", "admin_api")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_imports_point_down() -> None:
    answer = lint_imports(ROOT)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("server/domain/planted.py", "import server.storage", id="upwards"),
        pytest.param("server/services/planted.py", "import sdk_protocol.frames", id="frames-below-the-gateway"),
        pytest.param("server/domain/planted.py", "import asyncio", id="io-in-the-domain"),
        pytest.param("sdk_protocol/planted.py", "import server.clock", id="protocol-knows-server"),
        pytest.param("push/planted.py", "import server.clock", id="push-knows-server"),
        pytest.param("server/planted.py", "", id="a-module-without-a-layer"),
        pytest.param("server/gateway/planted.py", "import server.workers", id="neighbours"),
        pytest.param("server/workers/planted.py", "import push.fcm", id="an-adapter-named-outside-the-wiring"),
        pytest.param("admin_api/planted.py", "import sdk_protocol.frames", id="frames-in-the-http-api"),
    ],
)
def test_a_planted_wrong_import_is_found(tmp_path: Path, module: str, source: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "console"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / module).write_text(source + "\n", "utf-8")
    answer = lint_imports(tmp_path)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "BROKEN" in answer.stdout
    assert "planted" in answer.stdout

"""The scripts say in one line what is missing, whatever the environment they are started from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [".ci/run", *(f"scripts/{name}" for name in ("demo", "test", "check", "lock"))]


# No uv, no pip of the machine's configuration: the way every machine can go.
CLEAN = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}


def prepare(project: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run only the part of the scripts that makes the environment, with nothing inherited."""
    return subprocess.run(
        ["bash", "-c", ". scripts/environment.sh; prepare runtime; echo ready", "scripts/demo"],
        cwd=project,
        env={**CLEAN, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("scripts", "requirements"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_valid_and_can_be_run(script: str) -> None:
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
    assert (ROOT / script).stat().st_mode & 0o111


def test_without_python_it_says_what_to_install(project: Path) -> None:
    answer = prepare(project, PYTHON="/bin/false")
    assert answer.returncode == 1
    assert answer.stderr == (
        "demo: no Python 3.11 or newer found at PYTHON=/bin/false: install python3.11, or set PYTHON=/path/to/python3\n"
    )


def test_a_folder_that_cannot_be_written_is_one_line(project: Path) -> None:
    (project / ".venv").write_text("in the way\n", "utf-8")  # root may write anywhere, but not below a file
    (project / ".venv").rename(project / "file")
    (project / ".venv").symlink_to(project / "file" / "below")
    answer = prepare(project)
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"demo: cannot write to {project}/.venv: copy the project to a folder you own")


def test_a_tampered_pip_is_never_run(project: Path) -> None:
    (pip,) = (project / "scripts" / "vendor").glob("pip-*.whl")
    pip.write_bytes(pip.read_bytes() + b"x")
    answer = prepare(project)
    assert answer.returncode == 1
    assert "scripts/vendor holds another pip than pip.sha256 says" in answer.stderr
    assert not (project / ".venv" / ".deskbell-runtime").exists()


def finished(project: Path) -> Path:
    """An environment as a completed installation leaves it, without the packages."""
    make = '"$(find_python)" -m venv --without-pip "$VENV"; recipe runtime >"$VENV/.deskbell-runtime"'
    program = f". scripts/environment.sh; {make}"
    subprocess.run(["bash", "-c", program, "scripts/demo"], cwd=project, env=CLEAN, check=True)
    return project / ".venv"


def test_the_second_start_installs_nothing(project: Path) -> None:
    finished(project)
    answer = prepare(project)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "ready\n", "")


@pytest.mark.parametrize("change", ["lock", "moved", "interrupted", "python-gone"])
def test_what_is_no_longer_right_is_made_again(project: Path, tmp_path: Path, change: str) -> None:
    environment = finished(project)
    witness = environment / "witness"
    witness.touch()
    if change == "lock":
        (project / "requirements" / "runtime.txt").write_text("# another\n", "utf-8")
    elif change == "moved":
        project = project.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    elif change == "interrupted":
        (environment / ".deskbell-unfinished").touch()
        (environment / ".deskbell-runtime").unlink()
    else:
        (environment / "bin" / "python").unlink()
        (environment / "bin" / "python").symlink_to("/nonexistent/python3")
    (pip,) = (project / "scripts" / "vendor").glob("pip-*.whl")
    pip.write_bytes(b"")  # so that it stops before the network
    answer = prepare(project)
    assert answer.returncode == 1
    assert "Installing the packages of requirements/runtime.txt" in answer.stderr
    kept = (project / ".venv" / "witness").exists()
    assert kept == (change == "lock")
    assert ("Rebuilding .venv" in answer.stderr) == (not kept)

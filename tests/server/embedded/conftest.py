from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.embedded.runner import Runner, code_for, users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def open_place() -> Iterator[Path]:
    """A temporary directory that every user can enter; pytest's own are closed to others."""
    place = Path(tempfile.mkdtemp(prefix="deskbell-embedded-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def code(open_place: Path) -> dict[str, Path]:
    return {name: code_for(name, open_place / f"code-{name}") for name in users()}


@pytest.fixture(params=users())
def runner(request: pytest.FixtureRequest, open_place: Path, code: dict[str, Path]) -> Iterator[Runner]:
    """Each test that takes it runs as ourselves and, when we are root, as an ordinary user too."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir=open_place))
    home.chmod(0o755)
    runner = Runner(request.param, home, code[request.param])
    runner.give(home)
    try:
        yield runner
    finally:
        runner.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def seeds() -> dict[str, Path]:
    return {}


@pytest.fixture
def seeded(runner: Runner, seeds: dict[str, Path], open_place: Path) -> Callable[[], Path]:
    """A data directory that was started and stopped once: a copy each time, cheaper than a cold start."""

    def copy() -> Path:
        if runner.name not in seeds:
            seed = open_place / f"seed-{runner.name}"
            seed.mkdir(mode=0o755)
            runner.give(seed)
            runner.own(seed).started().stop()
            seeds[runner.name] = seed
        target = runner.home / "data"
        subprocess.run(["cp", "-a", seeds[runner.name], target], check=True)
        return target

    return copy

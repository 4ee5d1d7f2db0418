from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from server.embedded.postgres import EmbeddedPostgres
from tests.server.embedded.runner import Runner, code_for, users
from tests.support.postgres import memory_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def open_place() -> Iterator[Path]:
    """A temporary directory that every user can enter; pytest's own are closed to others."""
    place = Path(tempfile.mkdtemp(prefix="deskbell-embedded-", dir=memory_place()))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def code() -> Iterator[dict[str, Path]]:
    place = Path(tempfile.mkdtemp(prefix="deskbell-embedded-code-", dir=memory_place()))
    place.chmod(0o755)
    try:
        yield {name: code_for(name, place / name) for name in users()}
    finally:
        shutil.rmtree(place, ignore_errors=True)


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
    """Makes a data directory that was started and stopped once: a copy each time, cheaper than a cold start."""

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


@pytest.fixture
def mine(seeds: dict[str, Path], open_place: Path) -> Iterator[Path]:
    """A data directory that was started and stopped once, for a server in this very process."""
    name = users()[0]
    if name not in seeds:
        seed = open_place / f"seed-{name}"
        seed.mkdir(mode=0o755)
        with EmbeddedPostgres(seed):
            pass
        seeds[name] = seed
    home = Path(tempfile.mkdtemp(prefix="mine-", dir=open_place))
    home.chmod(0o755)
    subprocess.run(["cp", "-a", seeds[name], home / "data"], check=True)
    try:
        yield home / "data"
    finally:
        shutil.rmtree(home, ignore_errors=True)

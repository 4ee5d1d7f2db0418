"""What holds for the whole suite: which servers it ran on is printed, and a missing browser is said, never skipped."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from server.clock import SystemClock
from server.embedded.binaries import find_binaries
from server.storage.migrate import migrate
from server.telemetry import configure_logging
from tests.support.demo import DemoServer, running_demo
from tests.support.postgres import PostgresForTests, running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("deskbell", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("deskbell")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_configure() -> None:
    """As in production: unconfigured, structlog renders tracebacks with the values of all variables, and slowly."""
    configure_logging("warning", "console")


def pytest_report_header() -> list[str]:
    """Versions of what is not in the lock file, so that a failure elsewhere can be compared."""
    binaries = find_binaries()
    return [f"postgres: {binaries.version} ({binaries.source})", f"browser: {_version(_browser())}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`DESKBELL_TEST_BROWSER=none` (scripts/test sets it where no Chromium can be had) leaves the browser tests out."""
    if os.environ.get("DESKBELL_TEST_BROWSER") != "none":
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("browser")]


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _version(program: str | None) -> str:
    if program is None:
        return "none"
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    return answer.stdout.strip() or f"{program} (says nothing)"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium, for playwright's `executable_path`. Mark such tests `browser`."""
    found = _browser()
    assert found is not None, "no Chromium on PATH: install one, or leave its tests out with DESKBELL_TEST_BROWSER=none"
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """A real PostgreSQL, one for each worker of the run."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def empty_database(postgres: PostgresForTests) -> Iterator[str]:
    """The URL of a database without any table."""
    with postgres.fresh_database() as url:
        yield url


@pytest.fixture
def database_url(postgres: PostgresForTests) -> Iterator[str]:
    """The URL of a migrated database that is this test's alone."""
    with postgres.fresh_database(postgres.template("deskbell_migrated", _migrate)) as url:
        yield url


def _migrate(url: str) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(migrate(url, SystemClock()))


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """`deskbell demo` for the whole session: tests share it, so each brings users of its own."""
    with running_demo(tmp_path_factory.mktemp("demo")) as server:
        yield server

"""What holds for the whole suite: which servers it ran on is printed, and a missing browser is said, never skipped."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_report_header() -> list[str]:
    """Versions of what is not in the lock file, so that a failure elsewhere can be compared."""
    return [f"browser: {_version(_browser())}", f"postgres on PATH: {_version(shutil.which('postgres'))}"]


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

"""A short load on a real server: everything arrives, and what is said of it has its shape."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SHORT = ("--repeat", "1", "--seconds", "1", "--ceiling-seconds", "0.5")


def run(module: str, *arguments: str, figures: Path) -> dict[str, Any]:
    """Run a command that writes JSON; it must end well."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--json", str(figures)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


@pytest.mark.parametrize("transport", ["port", "asgi"])
def test_everything_is_delivered_once_and_in_order(tmp_path: Path, transport: str) -> None:
    found = run(
        "loadtests.deliver",
        *("--transport", transport, "--conversations", "5", "--warm-up", "0.2", *SHORT),
        figures=tmp_path / "figures.json",
    )
    assert (found["mistakes"], found["first mistakes"]) == (0, [])
    assert found["messages"] > 0
    assert set(found["ok ms"]) == set(found["delivery ms"]) == {"p50", "p99", "p99.9", "max"}
    assert found["ceiling: bare rows/s"] > found["messages/s"]
    assert found["ceiling: bare echo per server CPU s"] > 0


def test_a_pace_is_kept(tmp_path: Path) -> None:
    found = run(
        "loadtests.deliver",
        *("--conversations", "5", "--rate", "50", "--warm-up", "0.2", *SHORT),
        figures=tmp_path / "figures.json",
    )
    assert found["mistakes"] == 0
    assert 10 < found["messages"] < 150


def test_the_writer_by_itself(tmp_path: Path) -> None:
    found = run(
        "tests.benchmarks.writer",
        *("--conversations", "10", "--callers", "20", *SHORT),
        figures=tmp_path / "figures.json",
    )
    assert found["messages/s"] > 0
    assert found["messages a commit"] >= 1
    assert found["ceiling: bare rows/s"] > found["messages/s"]


def test_a_server_that_is_there_already_needs_its_app(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "loadtests.deliver", "--url", "http://127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=".",
    )
    assert ended.returncode != 0
    assert "--app" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_everybody_comes_back(tmp_path: Path) -> None:
    found = run(
        "loadtests.storm",
        *("--sockets", "60", "--admit", "20/1", "--ceiling-sockets", "20", "--told", "0.5"),
        figures=tmp_path / "figures.json",
    )
    assert (found["mistakes"], found["first mistakes"]) == (0, [])
    assert found["connected again in the set-up"] == 0
    assert found["knocks refused with 503"] > 0
    assert found["knocks a phone"] > 1


def test_the_cost_by_size_of_history(tmp_path: Path) -> None:
    found = run(
        "loadtests.grow",
        *("--up-to", "10000", "--conversations", "5", "--seconds", "0.3", "--repeat", "1", "--looks", "2"),
        figures=tmp_path / "figures.json",
    )
    assert found["mistakes"] == 0
    assert {"1,000 events", "10,000 events"} <= set(found)
    assert found["10,000 events"]["messages/s"] > 0


def test_growth_of_memory_is_a_mistake(tmp_path: Path) -> None:
    """The only one: all that was said has arrived."""
    figures = tmp_path / "figures.json"
    few = ("--sockets", "10", "--users", "15", "--stay", "0.3", "--every", "0.2")
    short = ("--minutes", "0.06", "--warm-minutes", "0.02", "--window-minutes", "0.02", "--most", "0.01")
    ended = subprocess.run(
        [sys.executable, "-m", "loadtests.churn", *few, *short, "--json", str(figures)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    found = json.loads(figures.read_text())
    assert (ended.returncode, found["mistakes"]) == (1, 1)
    assert "memory grew" in found["first mistakes"][0]
    assert found["visits"] > found["users"]

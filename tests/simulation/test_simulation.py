"""A slice of the simulation in every run of the suite; `python -m tests.simulation` runs as much as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.__main__ import main
from tests.simulation.campaign import Found, chunks
from tests.simulation.faults import planted
from tests.simulation.known import KNOWN
from tests.simulation.shrink import breaks, shrunk
from tests.simulation.weather import DOINGS, MISHAPS, plan_of
from tests.simulation.world import run

if TYPE_CHECKING:
    import pytest

SLICE = 300
EXERCISED = (
    "agents that asked again",
    "apps asleep while they connect",
    "apps killed",
    "batches written again",
    "closed 4000",
    "closed 4002",
    "closed 4003",
    "closed 4400",
    "closed 4401",
    "closed 4409",
    "commits with unknown outcome",
    "duplicates answered",
    "events lost on the way",
    "failed idempotency_conflict",
    "gaps found by the sweep",
    "hellos held up on the way",
    "hellos that came late",
    "hints full",
    "hints gap",
    "hints lost",
    "hints next",
    "hints repeated",
    "hints stale",
    "resumed",
    "row locks waited for",
    "snapshots",
    "sockets gone during hello",
    "sockets of a lost history closed",
    "tokens refreshed",
    "windows full",
)


def test_nothing_is_lost_doubled_or_reordered() -> None:
    counts: dict[str, int] = {}
    found: list[Found] = []
    for chunk in chunks(0, SLICE, jobs=1):
        found += [each for each in chunk.found if not each.known]
        for what, count in chunk.counts.items():
            counts[what] = counts.get(what, 0) + count
    assert found == []
    # A slice in which these never happen would prove little.
    assert [what for what in EXERCISED if not counts.get(what)] == []


def test_a_seed_is_always_the_same_run() -> None:
    one, again = (run(plan_of(17), tracing=True)[1] for _ in range(2))
    assert one.story
    assert one.story == again.story
    assert one.counts == again.counts


def test_a_seed_is_the_same_run_in_another_process() -> None:
    # Strings hash differently there: nothing may depend on the order of a set.
    one, other = (_command("--story", "17", hash_seed=hash_seed) for hash_seed in ("1", "2"))
    assert len(one.stdout.splitlines()) > 100
    assert one.stdout == other.stdout


def test_every_kind_of_act_is_drawn() -> None:
    drawn = {act.kind for seed in range(60) for act in plan_of(seed).acts}
    assert drawn == set(DOINGS) | set(MISHAPS)


def test_a_failing_plan_is_made_smaller_and_still_fails() -> None:
    with planted("resume is off by one"):
        seed = next(seed for seed in range(50) if run(plan_of(seed))[0] is not None)
        plan = plan_of(seed)
        finding, _ = run(plan)
        assert finding is not None
        smaller = shrunk(plan, finding.rule)
        assert len(smaller.acts) < len(plan.acts)
        assert breaks(smaller, finding.rule)
    assert not breaks(smaller, finding.rule)


def test_the_command_prints_what_was_exercised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "20", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "20 seeds from 0" in printed
    assert "gaps found by the sweep" in printed


def test_the_command_tells_the_story_of_a_failing_seed(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("the window is not counted"):
        assert main(["--seeds", "5", "--jobs", "1"]) == 1
    printed = capsys.readouterr().out
    assert "made smaller" in printed
    assert "FOUND S6 window" in printed


def test_the_command_runs_over_several_processes() -> None:
    done = _command("--seeds", "60", "--start", "900", "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 seeds from 900" in done.stdout


def test_what_is_known_has_a_reason() -> None:
    assert all(KNOWN.values())


def _command(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

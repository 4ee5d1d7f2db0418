"""A slice of the campaign in every test run: real processes, little time.

The real thing is a command: `python -m tests.faults.campaign`, `python -m tests.faults.mutations`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.faults.campaign import campaign
from tests.faults.report import add_to
from tests.faults.schedule import FULL, HEAVY, LIGHT, REDIS, SHORT, schedule

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20_000
SCHEDULES = 20


def test_twenty_short_schedules_break_no_promise(tmp_path: Path) -> None:
    report = campaign(SEED, SCHEDULES, size=SHORT, keep=tmp_path)
    assert report.schedules == SCHEDULES
    assert report.failed == {}
    assert report.answers["ok"] > 50, report.table()
    assert report.reconnects > 0, report.table()
    assert report.answers["pushes"] > 0, report.table()
    add_to(tmp_path / "report.json", report)
    add_to(tmp_path / "report.json", report)
    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["schedules"], written["violations"], len(written["runs"])) == (2 * SCHEDULES, 0, 2)


def test_a_schedule_is_a_function_of_its_seed() -> None:
    for seed in range(50):
        plan = schedule(seed, FULL, 3, redis=True)
        assert plan == schedule(seed, FULL, 3, redis=True)
        assert [fault.at for fault in plan.faults] == sorted(fault.at for fault in plan.faults)
        assert all(0 <= fault.target < 3 and fault.seconds <= FULL.longest for fault in plan.faults)
        assert plan.rng("someone").random() == plan.rng("someone").random()
        without = schedule(seed, FULL, 3, redis=False)
        assert not {fault.kind for fault in without.faults} & REDIS


def test_every_kind_of_fault_comes_up() -> None:
    kinds = {fault.kind for seed in range(200) for fault in schedule(seed, FULL, 3, redis=True).faults}
    assert kinds == set(HEAVY) | set(LIGHT)

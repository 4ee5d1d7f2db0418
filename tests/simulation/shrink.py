"""A failing plan made smaller: acts are left out as long as the same rule is still broken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.simulation.world import run

if TYPE_CHECKING:
    from tests.simulation.weather import Act, Plan

BUDGET_S = 20.0


def breaks(plan: Plan, rule: str) -> bool:
    """Whether the plan shows that `rule` is broken."""
    finding, world = run(plan)
    return rule in world.oracle.notes or (finding is not None and finding.rule == rule)


def shrunk(plan: Plan, rule: str) -> Plan:
    """A plan with few acts that breaks `rule`; the smaller it is, the easier it is read. Takes seconds at most."""
    acts: list[Act] = list(plan.acts)
    until = time.monotonic() + BUDGET_S
    size = max(1, len(acts) // 2)
    while acts:
        start = 0
        smaller = False
        while start < len(acts):
            if time.monotonic() > until:
                return plan._replace(acts=tuple(acts))
            rest = acts[:start] + acts[start + size :]
            if breaks(plan._replace(acts=tuple(rest)), rule):
                acts, smaller = rest, True
            else:
                start += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    return plan._replace(acts=tuple(acts))

"""What a campaign did, in numbers: a table for a person, JSON for the record."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults.history import Closed, Fail, Invoke, Observed, Ok, Pushed, Unknown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.run import Outcome


@dataclass
class Report:
    """Counts over schedules. `failed`: by seed, what was found."""

    seed: int
    nodes: int
    versions: dict[str, str]
    schedules: int = 0
    seconds: float = 0.0
    operations: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    stops: int = 0
    failed: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def take(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.seconds += outcome.took
        self.reconnects += outcome.reconnects
        self.stops += outcome.stops
        self.faults.update(fault.kind for fault in outcome.plan.faults)
        for history in outcome.histories:
            for record in history.records:
                self._count(record)
        found = [each.as_json() for each in outcome.findings] + [{"problem": each} for each in outcome.problems]
        if found:
            self.failed[outcome.plan.seed] = found

    def _count(self, record: object) -> None:
        match record:
            case Invoke(op=op):
                self.operations[op] += 1
            case Ok(duplicate=duplicate):
                self.answers["ok"] += 1
                self.answers["of those duplicates"] += duplicate
            case Fail(code=code):
                self.answers["refused"] += 1
                self.refusals[code] += 1
            case Unknown():
                self.answers["unknown"] += 1
            case Observed():
                self.answers["events observed"] += 1
            case Pushed():
                self.answers["pushes"] += 1
            case Closed(code=code):
                self.closes[code] += 1
            case _:
                pass

    @property
    def findings(self) -> int:
        return sum(len(found) for found in self.failed.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "schedules": self.schedules,
            "nodes": self.nodes,
            "seconds": round(self.seconds),
            "versions": self.versions,
            "operations": _sorted(self.operations),
            "answers": dict(self.answers),
            "refusals": _sorted(self.refusals),
            "faults": _sorted(self.faults),
            "reconnects": self.reconnects,
            "close_codes": {str(code): count for code, count in sorted(self.closes.items())},
            "phones_stopped_for_good": self.stops,
            "exits": _sorted(self.exits),
            "logged": _sorted(self.logged),
            "violations": self.findings,
            "failed_schedules": {str(seed): found for seed, found in self.failed.items()},
        }

    def table(self) -> str:
        shown = self.as_json()
        rows = [
            ("schedules", f"{self.schedules}, seeds {self.seed} to {self.seed + self.schedules - 1}"),
            ("time", f"{self.seconds:.0f} s, {self.seconds / max(1, self.schedules):.1f} s each"),
            ("versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())),
            *(
                (name, _row(shown[name]))
                for name in ("operations", "answers", "refusals", "faults", "close_codes", "exits", "logged")
            ),
            ("reconnects", str(self.reconnects)),
            ("stopped for good", f"{self.stops} phones were told a final close code"),
            ("violations", str(self.findings)),
        ]
        return "\n".join(f"{name:<17} {text}" for name, text in rows)


def add_to(path: Path, report: Report) -> None:
    """Add this run to the file: `{"schedules", "violations", "runs": […]}`, totals first."""
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    runs.append(report.as_json())
    totals = {name: sum(run[name] for run in runs) for name in ("schedules", "violations")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**totals, "runs": runs}, indent=1) + "\n")


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(counter.most_common())


def _row(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"

"""What processes cost: read from /proc, so Linux only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """CPU seconds so far, of Deskbell's processes and of PostgreSQL's."""

    server: float
    postgres: float

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(self.server - earlier.server, self.postgres - earlier.postgres)


def family(root: int) -> dict[int, str]:
    """`root` and everything below it: pid → name of the program."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue  # it ended while we looked
        names[int(entry)] = stat[stat.index("(") + 1 : stat.rindex(")")]
        parents[int(entry)] = int(stat.rpartition(") ")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found if pid in names}


def cost(root: int) -> Cost:
    """Of the processes below `root`; what ended before is counted with its parent."""
    server = postgres = 0.0
    for pid, name in family(root).items():
        seconds = cpu_of(pid)
        if name.startswith("postgres"):
            postgres += seconds
        else:
            server += seconds
    return Cost(server, postgres)


def spent(pid: int, before: float) -> float:
    """CPU seconds of a process since `cpu_of` said `before`, at least one tick: a short run may fit between two."""
    return max(cpu_of(pid) - before, 1 / TICK)


def cpu_of(pid: int) -> float:
    """User and system seconds of one process, in ticks of the kernel (10 ms)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_of(root: int) -> int:
    """Bytes that the Deskbell processes below `root` have to themselves, or share of what they share (PSS)."""
    total = 0
    for pid, name in family(root).items():
        if name.startswith("postgres"):
            continue
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
    return total

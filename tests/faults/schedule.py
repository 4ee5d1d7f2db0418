"""What goes wrong when: a schedule is a function of its seed and of the size of the deployment alone."""

from __future__ import annotations

import random
from typing import Literal

import msgspec

FaultKind = Literal[
    "kill node",
    "stop node",
    "drain node",
    "kill postgres",
    "stop postgres",
    "kill redis",
    "stop redis",
    "flush redis",
    "cut connections",
    "black hole",
    "deaf",
    "hold",
    "cut answers",
    "refuse",
    "push trouble",
    "step clock",
]
HEAVY: dict[FaultKind, float] = {
    "kill node": 3,
    "drain node": 2,
    "stop node": 2,
    "kill postgres": 2,
    "stop postgres": 2,
    "kill redis": 2,
    "stop redis": 1.5,
}
LIGHT: dict[FaultKind, float] = {
    "cut connections": 3,
    "black hole": 2,
    "deaf": 1.5,
    "hold": 2,
    "cut answers": 2,
    "refuse": 1,
    "flush redis": 1,
    "push trouble": 2,
    "step clock": 1.5,
}
REDIS = frozenset({"kill redis", "stop redis", "flush redis"})


class Fault(msgspec.Struct, frozen=True):
    """`at`: seconds into the schedule; `seconds`: how long, where that means something; `target`: which node."""

    at: float
    kind: FaultKind
    target: int
    seconds: float


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything. `seconds` of activity; `devices` a user; `calm`: the share of schedules without a heavy
    fault; `longest`: of a stopped process, seconds."""

    seconds: float
    users: int
    devices: int
    heavy: int
    light: int
    calm: float
    longest: float


FULL = Size(seconds=3.0, users=8, devices=3, heavy=2, light=4, calm=0.1, longest=5.0)
SHORT = Size(seconds=0.8, users=3, devices=2, heavy=1, light=2, calm=0.7, longest=0.8)


class Schedule(msgspec.Struct, frozen=True):
    """One run. Whoever acts in it draws from `rng(name)`, so that one behaving otherwise does not change the others."""

    seed: int
    size: Size
    faults: list[Fault]

    def rng(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")


def schedule(seed: int, size: Size, nodes: int, *, redis: bool) -> Schedule:
    """The schedule of this seed."""
    rng = random.Random(f"{seed} faults")
    faults: list[Fault] = []
    heavy = 0 if rng.random() < size.calm else rng.randint(1, size.heavy)
    for count, kinds in ((heavy, HEAVY), (rng.randint(1, size.light), LIGHT)):
        usable = {kind: weight for kind, weight in kinds.items() if redis or kind not in REDIS}
        for kind in rng.choices(list(usable), list(usable.values()), k=count):
            # Most pauses are short; now and then one is as long as a disk that hangs.
            longest = size.longest if rng.random() < 0.15 else min(1.5, size.longest)
            faults.append(
                Fault(
                    at=round(rng.uniform(0.05, 0.85) * size.seconds, 3),
                    kind=kind,
                    target=rng.randrange(nodes),
                    seconds=round(rng.uniform(0.2, longest), 3),
                )
            )
    return Schedule(seed, size, sorted(faults, key=lambda fault: fault.at))

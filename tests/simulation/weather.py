"""What happens in a run: drawn from the seed before it begins, so that a failing run can be made smaller.

An act carries its own dice (`chance`): leaving another act out does not change what it means.
"""

from __future__ import annotations

import random
from typing import NamedTuple

SPANS = (0.1, 1.0, 3.0, 6.0, 12.0)
"""How long a mishap lasts, in seconds."""
MISHAPS = {
    "crash": 3,
    "freeze": 3,
    "drain": 2,
    "cut": 8,
    "half_open": 4,
    "kill_app": 5,
    "flap": 3,
    "suspend": 2,
    "careless": 2,
    "hide_app": 2,
    "slow_reader": 2,
    "slow_sender": 1,
    "database_down": 2,
    "bus_dead": 2,
    "tokens_away": 1,
    "revoke": 1,
    "fail_over": 1,
    "trim": 1,
}
DOINGS = {
    "write": 14,
    "burst": 1,
    "open": 3,
    "again": 2,
    "misuse": 1,
    "read": 3,
    "rate": 1,
    "history": 1,
    "agent_post": 10,
    "agent_burst": 2,
    "agent_note": 2,
    "agent_status": 2,
    "agent_read": 2,
}


class Act(NamedTuple):
    """Something that happens at second `at`. `who` and `chance` are dice in [0, 1), `span` is in seconds."""

    at: float
    kind: str
    who: float
    chance: float
    span: float


class Climate(NamedTuple):
    """What holds for a whole run. Probabilities, counts and seconds."""

    nodes: int
    users: int
    devices: int
    hint_loss: float
    hint_repeat: float
    hint_delay: float
    latency: float
    database: float
    commit_unknown: float
    page: int
    window_events: int
    window_bytes: int
    token_life: float
    node_skew: float
    device_skew: float
    machine_loss: float
    horizon: float


class Plan(NamedTuple):
    seed: int
    climate: Climate
    acts: tuple[Act, ...]


def plan_of(seed: int) -> Plan:
    """The same for the same seed, on any machine."""
    dice = random.Random(seed)
    pick = dice.choice
    horizon = pick((5.0, 8.0, 10.0, 15.0, 30.0))
    climate = Climate(
        nodes=pick((1, 2, 2, 3, 3)),
        users=pick((1, 1, 2)),
        devices=pick((1, 2, 2, 3)),
        hint_loss=pick((0.0, 0.1, 0.3, 0.7, 1.0)),
        hint_repeat=pick((0.0, 0.1, 0.3)),
        hint_delay=pick((0.005, 0.05, 0.5, 3.0)),
        latency=pick((0.005, 0.03, 0.2)),
        database=pick((0.002, 0.01, 0.1, 0.4)),
        commit_unknown=pick((0.0, 0.0, 0.1, 0.3)),
        page=pick((2, 3, 7, 200)),
        window_events=pick((2, 5, 16, 64, 64)),
        window_bytes=pick((900, 4000, 256 * 1024)),
        token_life=pick((35.0, 60.0, 3600.0, 3600.0)),
        node_skew=pick((0.0, 0.0, 0.2, 2.0)),
        device_skew=pick((0.0, 0.0, 0.0, 0.0, 3.0, 3.0, -30.0, -7200.0, 7200.0)),
        machine_loss=pick((0.0, 0.3)),
        horizon=horizon,
    )
    doings = dice.choices(list(DOINGS), list(DOINGS.values()), k=dice.randint(6, 24))
    mishaps = dice.choices(list(MISHAPS), list(MISHAPS.values()), k=dice.choice((0, 1, 2, 4, 7, 10)))
    acts = [
        Act(dice.uniform(0.0, horizon), kind, dice.random(), dice.random(), dice.choice(SPANS))
        for kind in doings + mishaps
    ]
    # Troubles come together: a second mishap soon after a first one is where the interesting order lies.
    for act in [act for act in acts if act.kind in MISHAPS]:
        if dice.random() < 0.3:
            kind = dice.choice(list(MISHAPS))
            acts.append(Act(act.at + dice.random(), kind, act.who, dice.random(), dice.choice(SPANS)))
    return Plan(seed, climate, tuple(sorted(acts)))

"""The simulator is worth something only if it finds what is wrong: each planted fault within some hundred seeds."""

from __future__ import annotations

import pytest

from tests.simulation.campaign import run_chunk
from tests.simulation.faults import FAULTS, planted

# The rules that may say it: another one would mean that it was found by accident.
BY_RULE: dict[str, set[str]] = {
    "near enough is next": {"S1 order"},
    "the window is not counted": {"S6 window"},
    "a full window drops": {"S1 order", "everything arrives"},
    "a phone applies gaps": {"C1 no gap"},
    "the outbox forgets on ok": {"nothing is lost"},
    "resume is off by one": {"S1 order"},
    "the epoch is ignored": {"C1 same log", "C1 hello", "everything arrives"},
    "no sweep": {"everything arrives"},
    "revoked by hint only": {"S5 revocation"},
    "a lost history is kept": {"C1 same log", "everything arrives"},
    "ok before the commit": {"S2 commit, then acknowledge"},
    "ids with a lifetime": {"S2 once"},
    "numbers without the lock": {"dense usn", "dense seq", "S2 once"},
    "chains are ignored": {"S3 order"},
    "repeats get new numbers": {"S2 first result", "nothing is lost"},
    "late hellos take over": {"told 4409 for nothing"},
    "a hello's number is forgotten": {"C6 hello"},
    "one 4400 is the end": {"told 4400 for nothing"},
}
MOST_SEEDS = 1000
AT_A_TIME = 10


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    with planted(fault):
        for start in range(0, MOST_SEEDS, AT_A_TIME):
            found = [each for each in run_chunk(range(start, start + AT_A_TIME)).found if not each.known]
            if found:
                break
        else:
            pytest.fail(f"{MOST_SEEDS} seeds did not find it")
    assert found[0].rule in BY_RULE[fault]
    # Without the fault the same seed has nothing to say.
    seed = found[0].seed
    assert [each for each in run_chunk(range(seed, seed + 1)).found if not each.known] == []

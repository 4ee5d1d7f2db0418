"""Reads what every client of a schedule saw and says which promises were broken (docs/protocol.md, *Promises*).

    findings = check(histories)

Pure functions over lists: no clock, no I/O. The idea is that of Jepsen's checkers (jepsen/tests/kafka.clj): nothing is
asked of the server's insides; only what clients wanted, were told and saw is compared. As a program it judges histories
that a campaign left on disk: `python -m tests.faults.checker FOLDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.agreement import check_agreement
from tests.faults.evidence import Evidence
from tests.faults.findings import Finding, shortest
from tests.faults.history import restore
from tests.faults.pushes import check_pushes
from tests.faults.streams import check_streams
from tests.faults.writes import check_writes

if TYPE_CHECKING:
    from tests.faults.history import History


def check(histories: list[History]) -> list[Finding]:
    """Every broken promise, each place once. Empty: nothing in what the clients saw contradicts the protocol."""
    evidence = Evidence(histories)
    found: dict[tuple[object, ...], Finding] = {}
    for checked in (check_streams, check_writes, check_agreement, check_pushes):
        for each in checked(evidence):
            found.setdefault((each.kind, *each.about), each)
    return list(found.values())


def explain(histories: list[History], most: int = 20) -> list[Finding]:
    """The same, the first `most` of them, each cut down to the shortest history that shows it."""
    return [shortest(each, check) for each in check(histories)[:most]]


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m tests.faults.checker FOLDER    (a folder of *.jsonl histories)", file=sys.stderr)
        return 2
    findings = explain(restore(Path(arguments[0])))
    for each in findings:
        print(each)
    print(f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A broken promise, and the fewest lines of history that show it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tests.faults.history import FIRST_LINE, AnyRecord, Client, History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Kind(StrEnum):
    """What can be wrong. The promise it breaks is in brackets (docs/protocol.md, *Promises*)."""

    LOST = "lost acknowledged write"  # S2: `ok` only after the commit
    MISPLACED = "acknowledged at another place"  # S2
    DUPLICATE = "duplicate"  # S2, S1
    REORDERED = "reordering"  # S3, and real time
    ABORTED = "aborted read"  # refused for good, observed all the same
    PHANTOM = "phantom"  # observed, and nobody wrote it like that
    GAP = "gap in seq or usn"  # S1
    STALE = "non-monotonic read"  # S4, reads come from the primary
    DISAGREE = "devices disagree"  # one log for all
    UNDELIVERED = "not delivered"  # S5: everything committed is offered to everyone
    STUCK = "never answered"  # every write is answered once the faults are over
    RECEIPT = "receipt beyond head"
    PUSH = "missing push-or-ack"  # S7
    STRANGER = "push to a stranger"  # docs/push.md
    EPOCH = "another history"  # nothing here loses commits, so the epoch must not change


class Line(NamedTuple):
    """One line of one client's history."""

    client: Client
    number: int
    record: AnyRecord

    def __str__(self) -> str:
        return f"{self.client.name}:{self.number}  {msgspec.json.encode(self.record).decode()}"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`about` names what is affected (ids, conversations, numbers); the same fault in the same place has the same
    `about`. `lines` show it, in the order in which they happened."""

    kind: Kind
    message: str
    about: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def clients(self) -> list[str]:
        return list(dict.fromkeys(line.client.name for line in self.lines))

    def __str__(self) -> str:
        head = f"{self.kind}: {self.message} ({', '.join(self.about)})"
        return "\n".join([head, *(f"  {line}" for line in self.lines)])

    def as_json(self) -> dict[str, object]:
        """For a report: kind, message, about, clients, and the lines as `client:number record`."""
        return {
            "kind": self.kind.value,
            "message": self.message,
            "about": list(self.about),
            "clients": self.clients,
            "history": [str(line) for line in self.lines],
        }


def finding(kind: Kind, message: str, about: Sequence[object], lines: Iterable[Line]) -> Finding:
    once = {(line.client.name, line.number): line for line in lines}
    ordered = sorted(once.values(), key=lambda line: (line.record.at, line.client.name, line.number))
    return Finding(kind=kind, message=message, about=tuple(map(str, about)), lines=tuple(ordered))


def lines_of(history: History) -> list[Line]:
    return [Line(history.client, number, record) for number, record in enumerate(history.records, FIRST_LINE)]


def histories_of(lines: Iterable[Line]) -> list[History]:
    """Histories that consist of these lines alone; lines of one client keep their order."""
    made: dict[str, History] = {}
    for line in sorted(lines, key=lambda line: line.number):
        made.setdefault(line.client.name, History(client=line.client)).records.append(line.record)
    return list(made.values())


def shortest(found: Finding, check: Callable[[list[History]], list[Finding]]) -> Finding:
    """The same finding with no line that could be left out: `check` still finds it in the lines that stay.

    A line whose loss hides the fault stays; so does everything if the lines alone do not show it.
    """
    kept = list(found.lines)
    for line in found.lines:
        fewer = [each for each in kept if each is not line]
        if any(each.kind is found.kind and each.about == found.about for each in check(histories_of(fewer)) if fewer):
            kept = fewer
    return msgspec.structs.replace(found, lines=tuple(kept))

"""Everything the clients of a schedule saw, arranged so that it can be compared."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tests.faults.findings import Line, lines_of
from tests.faults.history import (
    AnyRecord,
    Fail,
    History,
    Invoke,
    Observed,
    Ok,
    Page,
    Snapshot,
    Unknown,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

R = TypeVar("R", bound=AnyRecord)

IDENTIFIED = frozenset({"send", "open", "note"})
"""Operations whose id the stored event carries. (An `open` without a message is `begin`.)"""
NOTE = "note"
VISIBLE = frozenset({"send", "open", "begin"})
"""Operations whose `ok` names an event that the user may see. (A change of status that changes nothing names the newest
event of the conversation, which may be a note.)"""


class Sighting(NamedTuple):
    """An event in a stream or on a page, and the line on which it stands."""

    event: Observed
    line: Line


class Write(NamedTuple):
    """All that is known about one id, over all clients and attempts."""

    invokes: list[Line]
    oks: list[Line]
    fails: list[Line]
    unknowns: list[Line]

    @property
    def op(self) -> str:
        return next((line.record.op for line in self.invokes if isinstance(line.record, Invoke)), "")


class Known:
    """Numbers that were known to be committed, over time."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int, Line]] = []
        self._best: list[tuple[int, Line]] | None = None

    def note(self, at: float, number: int, line: Line) -> None:
        self._seen.append((at, number, line))
        self._best = None

    def before(self, at: float) -> tuple[int, Line] | None:
        """The greatest number known strictly before `at`, and where."""
        if self._best is None:
            self._seen.sort(key=lambda each: (each[0], each[1], each[2].client.name, each[2].number))
            self._best = []
            for _, number, line in self._seen:
                last = self._best[-1] if self._best else (-1, line)
                self._best.append((number, line) if number > last[0] else last)
        position = bisect_left(self._seen, at, key=lambda each: each[0])
        return self._best[position - 1] if position else None

    @property
    def head(self) -> tuple[int, Line] | None:
        return self.before(float("inf"))


class Evidence:
    """`places`: sightings of each (conversation, seq). `numbers`: of each (user, usn). `by_id`: of each client id."""

    def __init__(self, histories: Iterable[History]) -> None:
        self.histories = [(history, lines_of(history)) for history in histories]
        self.owner: dict[str, tuple[str, Line]] = {}
        """Whose conversation it is, and the line where a device saw it or wrote into it."""
        self.places: dict[tuple[str, int], list[Sighting]] = defaultdict(list)
        self.numbers: dict[tuple[str, int], list[Sighting]] = defaultdict(list)
        self.by_id: dict[str, list[Sighting]] = defaultdict(list)
        self.writes: dict[str, Write] = {}
        self.pages: list[Line] = []
        self.usn_known: dict[str, Known] = defaultdict(Known)
        self.seq_known: dict[str, Known] = defaultdict(Known)
        self.visible_known: dict[str, Known] = defaultdict(Known)
        for history, lines in self.histories:
            for line in lines:
                self._take(history, line)
        for history, lines in self.histories:
            for line in lines:
                if isinstance(line.record, Ok):
                    self._take_ok(history, line, line.record)

    def all(self, kind: type[R]) -> Iterator[tuple[Line, R]]:
        """Every record of one kind."""
        for _, lines in self.histories:
            for line in lines:
                if isinstance(line.record, kind):
                    yield line, line.record

    def stored_at(self, write: Write, id: str) -> tuple[int, Line] | None:
        """The `seq` of what was written under `id`, as seen, else as acknowledged."""
        for sighting in self.by_id.get(id, ()):
            return sighting.event.seq, sighting.line
        for line in write.oks:
            assert isinstance(line.record, Ok)
            return line.record.seq, line
        return None

    def _take(self, history: History, line: Line) -> None:
        record = line.record
        user = history.client.user
        match record:
            case Observed():
                self._sight(user, record, line)
            case Page():
                self.pages.append(line)
                for event in record.events:
                    self._sight(user, event, line)
            case Invoke() | Ok() | Fail() | Unknown():
                self._write(user, record, line)
            case Welcome():
                self.usn_known[user].note(record.at, record.head, line)
            case Snapshot():
                self.usn_known[user].note(record.at, record.usn, line)
            case _:
                pass

    def _sight(self, user: str, event: Observed, line: Line) -> None:
        sighting = Sighting(event, line)
        self.places[(event.conversation, event.seq)].append(sighting)
        if user:
            self.owner.setdefault(event.conversation, (user, line))
        if event.usn:
            self.numbers[(user, event.usn)].append(sighting)
            self.usn_known[user].note(line.record.at, event.usn, line)
        if event.id:
            self.by_id[event.id].append(sighting)
        self.seq_known[event.conversation].note(line.record.at, event.seq, line)
        if event.kind != NOTE:
            self.visible_known[event.conversation].note(line.record.at, event.seq, line)

    def _write(self, user: str, record: Invoke | Ok | Fail | Unknown, line: Line) -> None:
        write = self.writes.setdefault(record.id, Write([], [], [], []))
        match record:
            case Invoke():
                write.invokes.append(line)
                if user:
                    self.owner.setdefault(record.conversation, (user, line))
            case Ok():
                write.oks.append(line)
            case Fail():
                write.fails.append(line)
            case Unknown():
                write.unknowns.append(line)

    def _take_ok(self, history: History, line: Line, ok: Ok) -> None:
        self.seq_known[ok.conversation].note(ok.at, ok.seq, line)
        if self.writes[ok.id].op in VISIBLE or not self.writes[ok.id].invokes:
            self.visible_known[ok.conversation].note(ok.at, ok.seq, line)
        if ok.usn and history.client.user:
            self.usn_known[history.client.user].note(ok.at, ok.usn, line)

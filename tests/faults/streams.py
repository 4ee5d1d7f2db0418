"""One connection at a time: what is offered must begin at the reader's cursor and follow number by number (S1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.findings import Finding, Kind, Line, finding
from tests.faults.history import Closed, Hello, Observed, Snapshot, Synced, Watching, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.evidence import Evidence


def check_streams(evidence: Evidence) -> Iterator[Finding]:
    for history, lines in evidence.histories:
        if history.client.role == "device":
            yield from _device(lines)
        elif history.client.role == "desk":
            yield from _desk(lines)


class _Cursor:
    """`at`: the last number offered; None: not known, whatever comes first sets it. `since`: the line that says so."""

    def __init__(self, at: int | None, since: Line | None) -> None:
        self.at = at
        self.since = since


def _device(lines: list[Line]) -> Iterator[Finding]:
    cursor = _Cursor(None, None)
    for line in lines:
        match line.record:
            case Hello(usn=usn):
                cursor = _Cursor(usn, line)
            case Welcome(head=head, snapshot=snapshot):
                if not snapshot and cursor.at is not None and head < cursor.at:
                    yield _backwards("the log ends before what the device has", cursor, head, line)
            case Snapshot(usn=usn):
                cursor = _Cursor(usn, line)
            case Observed(usn=usn):
                yield from _next("usn", cursor, usn, line)
                cursor = _Cursor(usn, line)
            case Synced(usn=usn):
                if cursor.at is not None and usn > cursor.at:
                    message = f"synced says that usn {usn} was offered; the last offered was {cursor.at}"
                    yield finding(Kind.GAP, message, (line.client.name, "usn", cursor.at, usn), _two(cursor, line))
                elif cursor.at is not None and usn < cursor.at:
                    yield _backwards("synced names an older event than the last one", cursor, usn, line)
            case Closed():
                cursor = _Cursor(None, None)
            case _:
                pass


def _desk(lines: list[Line]) -> Iterator[Finding]:
    cursors: dict[str, _Cursor] = {}
    for line in lines:
        match line.record:
            case Hello() | Closed():
                cursors.clear()
            case Watching(conversation=conversation, seq=seq):
                cursors[conversation] = _Cursor(seq, line)
            case Observed(conversation=conversation, seq=seq):
                yield from _next(f"seq of {conversation}", cursors.get(conversation, _Cursor(None, None)), seq, line)
                cursors[conversation] = _Cursor(seq, line)
            case _:
                pass


def _next(what: str, cursor: _Cursor, number: int, line: Line) -> Iterator[Finding]:
    if cursor.at is None or number == cursor.at + 1:
        return
    about = (line.client.name, what, cursor.at, number)
    if cursor.at < 0:
        yield finding(Kind.GAP, f"{what} {number} came before any snapshot", about, _two(cursor, line))
    elif number > cursor.at:
        yield finding(Kind.GAP, f"{what} {number} was offered after {cursor.at}", about, _two(cursor, line))
    else:
        message = f"{what} {number} was offered again, after {cursor.at}, on one connection"
        yield finding(Kind.DUPLICATE, message, about, _two(cursor, line))


def _backwards(message: str, cursor: _Cursor, number: int, line: Line) -> Finding:
    return finding(
        Kind.STALE, f"{message}: {number} after {cursor.at}", (line.client.name, cursor.at, number), _two(cursor, line)
    )


def _two(cursor: _Cursor, line: Line) -> list[Line]:
    return [line] if cursor.since is None else [cursor.since, line]

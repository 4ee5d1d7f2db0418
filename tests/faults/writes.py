"""What was asked for against what is there: lost, doubled, misplaced, aborted, out of order (S2, S3)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.evidence import IDENTIFIED, NOTE, Evidence, Write
from tests.faults.findings import Finding, Kind, Line, finding
from tests.faults.history import Invoke, Ok, Page

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_writes(evidence: Evidence) -> Iterator[Finding]:
    pages: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.pages:
        assert isinstance(line.record, Page)
        pages[line.record.conversation].append(line)
    for id, write in evidence.writes.items():
        yield from _answers(id, write)
        for line in write.oks:
            assert isinstance(line.record, Ok)
            yield from _kept(evidence, line, line.record, write, pages[line.record.conversation])
            yield from _in_place(evidence, line, line.record, write)
        yield from _aborted(evidence, id, write)
    yield from _doubles(evidence)
    yield from _phantoms(evidence)
    yield from _chains(evidence, pages)
    yield from _real_time(evidence)


def _answers(id: str, write: Write) -> Iterator[Finding]:
    """The first result is the only one; whoever asks again is told that it is a repeat."""
    for first, second in itertools.pairwise(write.oks):
        one, two = first.record, second.record
        assert isinstance(one, Ok)
        assert isinstance(two, Ok)
        if (one.conversation, one.seq) != (two.conversation, two.seq):
            message = f"acknowledged at seq {one.seq} and again at seq {two.seq}"
            yield finding(Kind.DUPLICATE, message, (id,), [first, second])
    firsts = [line for line in write.oks if isinstance(line.record, Ok) and not line.record.duplicate]
    if len(firsts) > 1 and write.op in IDENTIFIED:
        yield finding(Kind.DUPLICATE, "acknowledged twice as new", (id, "new"), [*write.invokes[:1], *firsts[:2]])


def _kept(evidence: Evidence, line: Line, ok: Ok, write: Write, pages: list[Line]) -> Iterator[Finding]:
    """Whoever reads the whole conversation later finds it."""
    if write.op == NOTE:
        return  # a desk's matter; its watch is dense, so the place is checked
    if write.op not in IDENTIFIED and (ok.conversation, ok.seq) in evidence.places:
        return  # it may name a note, which the page does not show
    for page in pages:
        assert isinstance(page.record, Page)
        if page.record.asked <= ok.at:
            continue
        if write.op not in IDENTIFIED or not any(event.id == ok.id for event in page.record.events):
            message = f"acknowledged at seq {ok.seq}, and not in the conversation when it was read later"
            yield finding(Kind.LOST, message, (ok.conversation, ok.id), [*write.invokes[:1], line, page])
            return


def _in_place(evidence: Evidence, line: Line, ok: Ok, write: Write) -> Iterator[Finding]:
    """It is where the answer said."""
    if write.op not in IDENTIFIED:
        return
    there = evidence.places.get((ok.conversation, ok.seq), [])
    if ok.usn and line.client.user:
        there = [*there, *evidence.numbers.get((line.client.user, ok.usn), ())]
    for sighting in there:
        if sighting.event.id != ok.id:
            message = f"acknowledged at seq {ok.seq}, where there is something else"
            yield finding(Kind.MISPLACED, message, (ok.conversation, ok.id), [line, *write.invokes[:1], sighting.line])
            return


def _aborted(evidence: Evidence, id: str, write: Write) -> Iterator[Finding]:
    """Refused every time, and nothing left open: it must not be there."""
    seen = evidence.by_id.get(id)
    if seen and write.fails and not write.oks and not write.unknowns:
        yield finding(Kind.ABORTED, "refused, and observed all the same", (id,), [write.fails[0], seen[0].line])


def _doubles(evidence: Evidence) -> Iterator[Finding]:
    for id, sightings in evidence.by_id.items():
        first = sightings[0]
        for other in sightings:
            if (other.event.conversation, other.event.seq) != (first.event.conversation, first.event.seq):
                message = f"stored at seq {first.event.seq} and at seq {other.event.seq}"
                yield finding(Kind.DUPLICATE, message, (id,), [first.line, other.line])
                break


def _phantoms(evidence: Evidence) -> Iterator[Finding]:
    for id, sightings in evidence.by_id.items():
        write = evidence.writes.get(id)
        wanted = [line for line in write.invokes if isinstance(line.record, Invoke)] if write else []
        texts = {line.record.text for line in wanted if isinstance(line.record, Invoke)}
        for sighting in sightings:
            if sighting.event.text not in texts:
                message = f"{sighting.event.text!r} was observed, which nobody wrote under this id"
                yield finding(Kind.PHANTOM, message, (id,), [*wanted, sighting.line])
                break


def _chains(evidence: Evidence, pages: dict[str, list[Line]]) -> Iterator[Finding]:
    for _, lines in evidence.histories:
        last: dict[str, tuple[int, Line]] = {}
        for line in lines:
            invoke = line.record
            if not isinstance(invoke, Invoke):
                continue
            stored = evidence.stored_at(evidence.writes[invoke.id], invoke.id)
            if stored is None:
                continue
            if invoke.ordered:
                before = last.get(invoke.conversation)
                if before is not None and stored[0] < before[0]:
                    message = f"written after another message of the same device, stored before it (seq {stored[0]})"
                    earlier = evidence.stored_at(evidence.writes[_id(before[1])], _id(before[1]))
                    shown = [before[1], line, stored[1], *([earlier[1]] if earlier else [])]
                    yield finding(Kind.REORDERED, message, (_id(before[1]), invoke.id), shown)
                last[invoke.conversation] = (stored[0], line)
            if invoke.after:
                yield from _followed(evidence, line, invoke, stored, pages)


def _followed(
    evidence: Evidence, line: Line, invoke: Invoke, stored: tuple[int, Line], pages: dict[str, list[Line]]
) -> Iterator[Finding]:
    """What names an `after` is behind it."""
    previous = evidence.writes.get(invoke.after)
    found = evidence.stored_at(previous or Write([], [], [], []), invoke.after)
    about = (invoke.after, invoke.id)
    if found is not None and found[0] > stored[0]:
        message = f"stored at seq {stored[0]}, before the message it follows (seq {found[0]})"
        yield finding(Kind.REORDERED, message, about, [line, stored[1], found[1]])
    elif found is None:
        for page in pages[invoke.conversation]:
            assert isinstance(page.record, Page)
            if any(event.id == invoke.id for event in page.record.events):
                message = "stored, although the message it follows never was"
                yield finding(Kind.REORDERED, message, about, [line, page])
                return


class _Stored(NamedTuple):
    number: int
    invoked: float
    known: float
    invoke: Line
    proof: Line


def _real_time(evidence: Evidence) -> Iterator[Finding]:
    """What was asked for after something else was known to be stored comes after it."""
    by_conversation: dict[str, list[_Stored]] = defaultdict(list)
    by_user: dict[str, list[_Stored]] = defaultdict(list)
    for id, write in evidence.writes.items():
        if not write.invokes or write.op not in IDENTIFIED:
            continue
        invoke = min(write.invokes, key=lambda line: line.record.at)
        proofs = [*write.oks, *(sighting.line for sighting in evidence.by_id.get(id, ()))]
        stored = evidence.stored_at(write, id)
        if not proofs or stored is None:
            continue
        proof = min(proofs, key=lambda line: line.record.at)
        conversation = _conversation(invoke)
        known = _Stored(stored[0], invoke.record.at, proof.record.at, invoke, proof)
        by_conversation[conversation].append(known)
        usn = next((sighting.event.usn for sighting in evidence.by_id.get(id, ()) if sighting.event.usn), 0)
        if usn:
            by_user[evidence.owner[conversation][0]].append(known._replace(number=usn))
    for stream in (*by_conversation.values(), *by_user.values()):
        latest: _Stored | None = None
        for each in sorted(stream, key=lambda each: each.number):
            if latest is not None and each.known < latest.invoked:
                message = f"was there before number {latest.number} was asked for, and has the greater number"
                about = (_id(latest.invoke), _id(each.invoke))
                shown = [latest.invoke, latest.proof, each.invoke, each.proof]
                yield finding(Kind.REORDERED, f"number {each.number} {message}", about, shown)
                break
            if latest is None or each.invoked > latest.invoked:
                latest = each


def _id(line: Line) -> str:
    assert isinstance(line.record, Invoke)
    return line.record.id


def _conversation(line: Line) -> str:
    assert isinstance(line.record, Invoke)
    return line.record.conversation

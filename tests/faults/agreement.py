"""Everybody sees one log: the same event at each number, to the same end, and a state that follows from it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.faults.findings import Finding, Kind, Line, finding
from tests.faults.history import Final, Hello, Invoke, Observed, Page, Snapshot, Standing, Watching, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.evidence import Evidence, Sighting

RECEIPT = "receipt"
MESSAGE = "message"


def check_agreement(evidence: Evidence) -> Iterator[Finding]:
    for (conversation, seq), sightings in evidence.places.items():
        yield from _same(f"{conversation} seq {seq}", sightings)
    for (user, usn), sightings in evidence.numbers.items():
        yield from _same(f"{user} usn {usn}", sightings)
    yield from _orders(evidence)
    yield from _receipts(evidence)
    yield from _histories(evidence)
    yield from _ends(evidence)
    yield from _reads(evidence)
    yield from _snapshots(evidence)


def _same(place: str, sightings: Sequence[Sighting]) -> Iterator[Finding]:
    first = sightings[0]
    for other in sightings[1:]:
        if _content(other.event) != _content(first.event) or 0 != other.event.usn != first.event.usn != 0:
            yield finding(Kind.DISAGREE, "two events under one number", (place,), [first.line, other.line])
            return


def _content(event: Observed) -> tuple[str, int, str, str, str, str]:
    return (event.conversation, event.seq, event.kind, event.author, event.id, event.text)


def _orders(evidence: Evidence) -> Iterator[Finding]:
    """Along a user's `usn` every conversation's `seq` grows; and so it does on a page."""
    by_user: dict[str, list[tuple[int, Sighting]]] = defaultdict(list)
    for (user, usn), sightings in evidence.numbers.items():
        by_user[user].append((usn, sightings[0]))
    for user, numbered in by_user.items():
        last: dict[str, Sighting] = {}
        for usn, sighting in sorted(numbered, key=lambda each: each[0]):
            event = sighting.event
            before = last.get(event.conversation)
            if before is not None and before.event.seq >= event.seq:
                message = f"seq {event.seq} has usn {usn}, seq {before.event.seq} a smaller one"
                about = (user, event.conversation, event.seq)
                yield finding(Kind.REORDERED, message, about, [before.line, sighting.line])
            last[event.conversation] = sighting
    for line in evidence.pages:
        assert isinstance(line.record, Page)
        seqs = [event.seq for event in line.record.events]
        if seqs != sorted(set(seqs)):
            place = (line.client.name, line.record.conversation)
            yield finding(Kind.REORDERED, f"a page out of order: {seqs}", place, [line])


def _receipts(evidence: Evidence) -> Iterator[Finding]:
    """A receipt speaks of what was there before it, and a reader's receipts only grow."""
    read: dict[tuple[str, str], tuple[int, Sighting]] = {}
    for conversation, seq in sorted(evidence.places):
        sightings = evidence.places[(conversation, seq)]
        sighting = sightings[0]
        if sighting.event.kind != RECEIPT:
            continue
        reader, upto = _receipt(sighting.event)
        about: tuple[object, ...] = (conversation, seq, reader)
        if upto >= seq:
            message = f"a receipt for seq {upto} in a conversation that ended at {seq - 1}"
            yield finding(Kind.RECEIPT, message, about, [sighting.line])
        before = read.get((conversation, reader))
        if before is not None and before[0] >= upto:
            message = f"{reader} had read up to {before[0]}, then up to {upto}"
            yield finding(Kind.RECEIPT, message, about, [before[1].line, sighting.line])
        read[(conversation, reader)] = (upto, sighting)


def _receipt(event: Observed) -> tuple[str, int]:
    reader, _, seq = event.text.partition(":")
    return reader, int(seq)


def _histories(evidence: Evidence) -> Iterator[Finding]:
    epochs: dict[str, tuple[str, Line]] = {}
    for line, welcome in evidence.all(Welcome):
        first = epochs.setdefault(line.client.user, (welcome.epoch, line))
        if first[0] != welcome.epoch:
            message = "the epoch changed, though nothing here loses commits"
            yield finding(Kind.EPOCH, message, (line.client.user, welcome.epoch), [first[1], line])


def _ends(evidence: Evidence) -> Iterator[Finding]:
    """Faults healed and time enough: every client has everything there is, and nothing left to say."""
    for line, final in evidence.all(Final):
        name = line.client.name
        if final.waiting:
            open_ = [
                write.invokes[0]
                for write in evidence.writes.values()
                if write.invokes and write.invokes[0].client.name == name and not write.oks and not write.fails
            ]
            yield finding(Kind.STUCK, f"{final.waiting} still wait for an answer", (name,), [*open_[-3:], line])
        head = evidence.usn_known[line.client.user].head if line.client.role == "device" else None
        if head is not None and head[0] > final.usn:
            message = f"the log goes to usn {head[0]}, this device has {final.usn}"
            yield finding(Kind.UNDELIVERED, message, (name, head[0]), [head[1], line])
        for conversation, offered in final.watches.items():
            end = evidence.seq_known[conversation].head
            if end is not None and end[0] > offered:
                message = f"{conversation} goes to seq {end[0]}, this desk has {offered}"
                yield finding(Kind.UNDELIVERED, message, (name, conversation, end[0]), [end[1], line])


def _reads(evidence: Evidence) -> Iterator[Finding]:
    """What is read shows everything that anybody knew to be committed before it was asked for."""
    for _, lines in evidence.histories:
        hello: Line | None = None
        for line in lines:
            match line.record:
                case Hello():
                    hello = line
                case Welcome(head=head) | Snapshot(usn=head) if hello is not None:
                    known = evidence.usn_known[line.client.user].before(hello.record.at)
                    if known is not None and known[0] > head:
                        message = f"a connection was told that the log ends at usn {head}; usn {known[0]} was known"
                        yield finding(Kind.STALE, message, (line.client.name, head), [known[1], hello, line])
                case Watching(asked=asked, conversation=conversation, head=head):
                    known = evidence.seq_known[conversation].before(asked)
                    if known is not None and known[0] > head:
                        message = f"a desk was told that {conversation} ends at {head}; {known[0]} was known"
                        yield finding(Kind.STALE, message, (line.client.name, conversation, head), [known[1], line])
                case Page(asked=asked, conversation=conversation, events=events):
                    head = events[-1].seq if events else 0
                    known = evidence.visible_known[conversation].before(asked)
                    if known is not None and known[0] > head:
                        message = f"a page of {conversation} ends at {head}; {known[0]} was known"
                        yield finding(Kind.STALE, message, (line.client.name, conversation, head), [known[1], line])
                case _:
                    pass


def _snapshots(evidence: Evidence) -> Iterator[Finding]:
    """A snapshot is what the log up to its `usn` amounts to."""
    for line, snapshot in evidence.all(Snapshot):
        log = [evidence.numbers.get((line.client.user, usn)) for usn in range(1, snapshot.usn + 1)]
        events = [sightings[0] for sightings in log if sightings]
        for standing in snapshot.conversations:
            mine = [each for each in events if each.event.conversation == standing.conversation]
            wrong, proof = _differs(standing, mine, whole=len(events) == len(log))
            if wrong:
                about = (line.client.name, standing.conversation)
                # That there is too little of something shows only against the whole log.
                shown = [line, *(each.line for each in (proof or events))]
                yield finding(Kind.DISAGREE, f"a snapshot at usn {snapshot.usn}: {wrong}", about, shown)


def _differs(standing: Standing, log: Sequence[Sighting], *, whole: bool) -> tuple[str, list[Sighting]]:
    """What is wrong, and the events that prove it if a few do. `whole`: the log is known from its beginning."""
    newest = log[-1] if log else None
    if newest is not None and newest.event.seq > standing.seq:
        return f"it ends at seq {standing.seq}, the log at {newest.event.seq}", [newest]
    for reader, said in (("user", standing.user_read), ("agent", standing.agent_read)):
        receipts = [each for each in log if each.event.kind == RECEIPT and _receipt(each.event)[0] == reader]
        furthest = max(receipts, key=lambda each: _receipt(each.event)[1], default=None)
        read = _receipt(furthest.event)[1] if furthest is not None else 0
        if furthest is not None and read > said:
            return f"{reader} has read up to {said}, the log says {read}", [furthest]
        if whole and read < said:
            return f"{reader} has read up to {said}, the log says {read}", []
    unread = [
        each
        for each in log
        if each.event.kind == MESSAGE
        and not each.event.author.startswith("user:")
        and each.event.seq > standing.user_read
    ]
    if len(unread) > standing.unread:
        return f"{standing.unread} unread, the log says {len(unread)}", unread
    if whole and len(unread) < standing.unread:
        return f"{standing.unread} unread, the log says {len(unread)}", []
    return "", []


def invoked_at(lines: Sequence[Line]) -> float:
    """When a write was first asked for."""
    return min(line.record.at for line in lines if isinstance(line.record, Invoke))

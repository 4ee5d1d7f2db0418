"""An agent's message reaches every phone: stored there, read by its user, or pushed to it (S7)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.faults.agreement import MESSAGE, invoked_at
from tests.faults.findings import Finding, Kind, Line, finding
from tests.faults.history import Acked, Away, Back, Hello, Observed, Pushed, Registered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.evidence import Evidence, Sighting


def check_pushes(evidence: Evidence) -> Iterator[Finding]:
    pushed: dict[tuple[str, str], int] = defaultdict(int)
    holders: dict[str, Line] = {}
    for line, registered in evidence.all(Registered):
        holders[registered.token] = line
    for line, push in evidence.all(Pushed):
        key = (push.token, push.conversation)
        pushed[key] = max(pushed[key], push.seq)
        holder = holders.get(push.token)
        owner = evidence.owner.get(push.conversation)
        if holder is not None and owner is not None and holder.client.user != owner[0]:
            message = f"{holder.client.user} was notified of a conversation of {owner[0]}"
            yield finding(Kind.STRANGER, message, (push.token, push.conversation), [holder, owner[1], line])
    said = list(_agents_messages(evidence))
    read = _read(evidence)
    for history, lines in evidence.histories:
        if history.client.role == "device":
            mine = [each for each in said if each[0].line.client.user == history.client.user]
            yield from _device(lines, mine, read, pushed)


def _device(
    lines: list[Line],
    said: list[tuple[Sighting, Line, float]],
    read: dict[str, int],
    pushed: dict[tuple[str, str], int],
) -> Iterator[Finding]:
    token: tuple[Registered, Line] | None = None
    stored = 0
    away: Line | None = None
    for line in lines:
        match line.record:
            case Registered():
                token = (line.record, line)
            case Acked(usn=usn) | Hello(usn=usn):
                stored = max(stored, usn)
            case Away():
                away = line
            case Back(since=since) if token is not None and away is not None:
                for sighting, invoke, invoked in said:
                    event = sighting.event
                    if not token[0].at < invoked or event.usn <= stored or sighting.line.record.at > since:
                        continue
                    got = pushed.get((token[0].token, event.conversation), 0)
                    if got < event.seq and read.get(event.conversation, 0) < event.seq:
                        message = f"an answer at usn {event.usn}: not stored, not read and not pushed (up to seq {got})"
                        shown = [token[1], invoke, sighting.line, away, line]
                        yield finding(Kind.PUSH, message, (line.client.name, event.id), shown)
            case _:
                pass


def _agents_messages(evidence: Evidence) -> Iterator[tuple[Sighting, Line, float]]:
    """Each agent's message as it was first seen under a usn, and when it was asked for."""
    for sightings in evidence.by_id.values():
        numbered = [each for each in sightings if each.event.usn and each.event.kind == MESSAGE]
        if not numbered or not numbered[0].event.author.startswith("agent:"):
            continue
        write = evidence.writes.get(numbered[0].event.id)
        if write is not None and write.invokes:
            first = min(numbered, key=lambda each: each.line.record.at)
            yield first, write.invokes[0], invoked_at(write.invokes)


def _read(evidence: Evidence) -> dict[str, int]:
    """How far the user has read each conversation."""
    read: dict[str, int] = defaultdict(int)
    for sightings in evidence.places.values():
        event: Observed = sightings[0].event
        if event.kind == "receipt" and event.text.startswith("user:"):
            read[event.conversation] = max(read[event.conversation], int(event.text.removeprefix("user:")))
    return read

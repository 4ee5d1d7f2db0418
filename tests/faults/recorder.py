"""The clock that all clients of a schedule share, and how a frame becomes a record."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from tests.faults.history import AnyRecord, Client, History, Observed, Ok, Role, Snapshot, Standing

if TYPE_CHECKING:
    from sdk_protocol import frames


class Stopwatch:
    """Seconds since the schedule began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._began


class Recorder:
    """One client's history while it is made."""

    def __init__(self, clock: Stopwatch, name: str, role: Role, user: str = "") -> None:
        self.history = History(client=Client(name=name, role=role, user=user))
        self.clock = clock

    def add(self, record: AnyRecord) -> None:
        self.history.records.append(record)

    @property
    def now(self) -> float:
        return self.clock()


def observed(at: float, event: frames.Event) -> Observed:
    """An event of a stream or of a page."""
    author = event.author.type if event.author.id is UNSET else f"{event.author.type}:{event.author.id}"
    return Observed(
        at=at,
        conversation=str(event.conversation),
        seq=event.seq,
        usn=0 if event.usn is UNSET else event.usn,
        kind=event.kind,
        author=author,
        id="" if event.id is UNSET else str(event.id),
        text=_text(event.kind, event.body),
    )


def _text(kind: str, body: Any) -> str:
    """Enough of the body to tell it from another: the words, who read how far, or a digest."""
    if kind in ("message", "note"):
        return str(body.get("text", ""))
    if kind == "receipt":
        return f"{body['reader']}:{body['seq']}"
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()[:12]


def snapshot(at: float, frame: frames.Snapshot) -> Snapshot:
    return Snapshot(
        at=at,
        usn=frame.usn,
        conversations=[
            Standing(
                conversation=str(each.id),
                seq=each.seq,
                user_read=each.user_read_seq,
                agent_read=each.agent_read_seq,
                unread=each.unread,
            )
            for each in frame.conversations
        ],
    )


def acknowledged(at: float, conversation: str, id: str, ok: frames.Ok) -> Ok:
    """An `ok` to a write; what it leaves out is 0 or False."""
    return Ok(
        at=at,
        conversation=conversation,
        id=id,
        seq=ok.seq or 0,
        usn=ok.usn or 0,
        duplicate=ok.duplicate is True,
    )

"""What one client of a fault schedule saw, record by record, and the file it is kept in.

A history is one client's: a device of a user, an agent's desk, or the push provider. All clients of a schedule live in
one process and share one monotonic clock, so `at` (seconds since the schedule began) can be compared between them:
if A's `ok` is earlier than B's `invoke`, then it was.

On disk a history is JSON lines: first the client, then its records. A record's line number is what findings name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

Role = Literal["device", "desk", "provider"]
FIRST_LINE = 2
"""The line of a history's first record; the client itself is on line 1."""


class Client(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`user`: whose device it is; empty for desks and the provider."""

    name: str
    role: Role
    user: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="what", tag=str.lower):
    """Base of all records."""

    at: float


class Invoke(Record, frozen=True, kw_only=True):
    """The client wants something written. `ordered`: it is a link of this client's chain in the conversation, so it
    must be stored after the ordered ones before it (S3)."""

    op: str
    conversation: str
    id: str
    text: str = ""
    after: str = ""
    ordered: bool = False


class Ok(Record, frozen=True, kw_only=True):
    """Acknowledged: it is at `seq` of the conversation (and at `usn` of the user, where the answer says so)."""

    conversation: str
    id: str
    seq: int
    usn: int = 0
    duplicate: bool = False


class Fail(Record, frozen=True, kw_only=True):
    """Refused: this attempt has written nothing and never will."""

    conversation: str
    id: str
    code: str


class Unknown(Record, frozen=True, kw_only=True):
    """The connection ended, or the server did not know, before there was an answer: it may have been written."""

    conversation: str
    id: str
    why: str = ""


class Hello(Record, frozen=True, kw_only=True):
    """A connection begins, from this cursor; -1: the device has none."""

    usn: int = -1


class Welcome(Record, frozen=True, kw_only=True):
    epoch: str
    head: int
    snapshot: bool = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in a snapshot. `unread`: messages for the user after `user_read`."""

    conversation: str
    seq: int
    user_read: int
    agent_read: int
    unread: int


class Snapshot(Record, frozen=True, kw_only=True):
    usn: int
    conversations: list[Standing]


class Watching(Record, frozen=True, kw_only=True):
    """A desk's cursor over a conversation begins at `seq`; asked for at `asked`, its newest event is `head`."""

    asked: float
    conversation: str
    seq: int
    head: int


class Observed(Record, frozen=True, kw_only=True):
    """An event as it came over the wire. `usn` 0: on a desk. `author`: `user:…`, `agent:…` or `system`."""

    conversation: str
    seq: int
    usn: int = 0
    kind: str = "message"
    author: str = ""
    id: str = ""
    text: str = ""


class Synced(Record, frozen=True, kw_only=True):
    usn: int


class Acked(Record, frozen=True, kw_only=True):
    """The device said that it has stored everything up to `usn`."""

    usn: int


class Closed(Record, frozen=True, kw_only=True):
    code: int


class Page(Record, frozen=True, kw_only=True):
    """A whole conversation as the log has it, all that its user may see, asked for at `asked`."""

    asked: float
    conversation: str
    events: list[Observed]


class Registered(Record, frozen=True, kw_only=True):
    """From now on this device is to be pushed to under `token`."""

    token: str


class Away(Record, frozen=True, kw_only=True):
    """The device has left and will not look at anything until it is back."""


class Back(Record, frozen=True, kw_only=True):
    """It looks again. What was committed before `since` has had more than enough time to be pushed."""

    since: float


class Pushed(Record, frozen=True, kw_only=True):
    """The provider was asked to notify `token` of the conversation up to `seq`."""

    token: str
    conversation: str
    seq: int


class Final(Record, frozen=True, kw_only=True):
    """How the client stands when every fault is healed and it has had more than enough time.

    `usn`: the newest event of a device; `watches`: the newest event of each conversation a desk watches; `waiting`:
    what it still has to say (an outbox that is not empty).
    """

    usn: int = 0
    watches: dict[str, int] = {}
    waiting: int = 0


AnyRecord = (
    Invoke
    | Ok
    | Fail
    | Unknown
    | Hello
    | Welcome
    | Snapshot
    | Watching
    | Observed
    | Synced
    | Acked
    | Closed
    | Page
    | Registered
    | Away
    | Back
    | Pushed
    | Final
)


class History(msgspec.Struct, kw_only=True):
    """One client and its records in the order in which they happened to it."""

    client: Client
    records: list[AnyRecord] = []


_client = msgspec.json.Decoder(Client)
_record: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)


def dump(history: History) -> bytes:
    """As JSON lines."""
    return b"".join(msgspec.json.encode(line) + b"\n" for line in (history.client, *history.records))


def load(text: bytes) -> History:
    """Back from JSON lines. Raises msgspec.DecodeError (ValidationError for a record nobody knows)."""
    first, *others = text.splitlines()
    return History(client=_client.decode(first), records=[_record.decode(line) for line in others if line.strip()])


def save(histories: list[History], folder: Path) -> None:
    """A file for each client, `<name>.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    for history in histories:
        (folder / f"{history.client.name.replace('/', '.')}.jsonl").write_bytes(dump(history))


def restore(folder: Path) -> list[History]:
    """What `save` wrote, by name."""
    return [load(path.read_bytes()) for path in sorted(folder.glob("*.jsonl"))]

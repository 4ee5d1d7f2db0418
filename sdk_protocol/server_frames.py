"""Frames from the server (docs/protocol.md, *Frames from the server*)."""

from typing import Any
from uuid import UUID

from msgspec import UNSET, UnsetType

from sdk_protocol.errors import BadFrame, ErrorCode
from sdk_protocol.fields import Attempt, Count, EventSeq, Milliseconds, Ref, Resume, Seconds, Seq, Usn
from sdk_protocol.records import AgentInfo, AppInfo, Author, Limits, Summary, Transaction, UserInfo
from sdk_protocol.user_frames import Frame


class Welcome(Frame, tag="welcome", kw_only=True, frozen=True):
    """The answer to `hello`. `head`: the user's newest usn. `ping_interval` in seconds."""

    session: str
    user: UserInfo
    epoch: str
    head: Usn
    resume: Resume
    ping_interval: Seconds
    token_expires_at: str
    limits: Limits
    caps: list[str]


class Snapshot(Frame, tag="snapshot", kw_only=True, frozen=True):
    """The whole state in one consistent read, only after `resume: snapshot`. Replaces what the device had; live events
    follow from `usn` + 1 on."""

    usn: Usn
    conversations: list[Summary]
    transactions: list[Transaction]


class Event(Frame, tag="event", kw_only=True, frozen=True):
    """One event of the log. `usn` is missing on the desk's socket, where `seq` is the cursor.

    `body`, decoded: what JSON or MessagePack holds. On the way out it may also be a `msgspec.Raw` with the body as
    JSON, exactly as the database returned it: JSON frames then carry those bytes verbatim, MessagePack frames
    convert them.
    """

    usn: Usn | UnsetType = UNSET
    conversation: UUID
    seq: EventSeq
    kind: str
    at: str
    author: Author
    id: UUID | UnsetType = UNSET
    body: Any

    def without_usn(self) -> "Event":
        """The same event as the desk sees it."""
        return Event(
            conversation=self.conversation,
            seq=self.seq,
            kind=self.kind,
            at=self.at,
            author=self.author,
            id=self.id,
            body=self.body,
        )


class Synced(Frame, tag="synced", kw_only=True, frozen=True):
    """Everything up to `usn` has been offered."""

    usn: Usn


class Ok(Frame, tag="ok", kw_only=True, frozen=True):
    """Done and committed (S2)."""

    ref: Ref
    conversation: UUID | UnsetType = UNSET
    seq: Seq | UnsetType = UNSET
    usn: Usn | UnsetType = UNSET
    at: str | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET
    token_expires_at: str | UnsetType = UNSET


class Error(Frame, tag="error", kw_only=True, frozen=True):
    """Not done. `message` is for a developer, `field` a dotted path. `events`: the newer ones, with `conflict`.

    `attempt`: with the `conflict` that answers a stale `hello`, the newest one the server knows.
    """

    ref: Ref | UnsetType = UNSET
    code: ErrorCode
    message: str
    retry: bool
    retry_after_ms: Milliseconds | UnsetType = UNSET
    field: str | UnsetType = UNSET
    events: list[Event] | UnsetType = UNSET
    attempt: Attempt | UnsetType = UNSET

    @staticmethod
    def of(bad: BadFrame) -> "Error":
        """The answer to a frame a codec refused."""
        return Error(
            ref=UNSET if bad.ref is None else bad.ref,
            code=bad.code,
            message=bad.message,
            retry=bad.code.retry,
            field=UNSET if bad.field is None else bad.field,
        )


class Page(Frame, tag="page", kw_only=True, frozen=True):
    """The answer to `history`: newest last; `more`: there are older ones."""

    ref: Ref
    conversation: UUID
    events: list[Event]
    more: bool


class Signal(Frame, tag="signal", kw_only=True, frozen=True):
    """Ephemeral, never stored, first to be dropped. Which fields are set depends on `kind`; ignore an unknown one.

    `typing`: conversation, author, on (lapses after 6 s). `presence`: agents_online. `queue`: conversation, position,
    wait_p50_s, wait_p90_s.
    """

    kind: str
    conversation: UUID | UnsetType = UNSET
    author: Author | UnsetType = UNSET
    on: bool | UnsetType = UNSET
    agents_online: Count | UnsetType = UNSET
    position: Count | UnsetType = UNSET
    wait_p50_s: Seconds | UnsetType = UNSET
    wait_p90_s: Seconds | UnsetType = UNSET


class Drain(Frame, tag="drain", kw_only=True, frozen=True):
    """The node is going away: finish, then reconnect after this delay."""

    reconnect_after_ms: Milliseconds


class Pong(Frame, tag="pong", frozen=True):
    """The answer to `ping`."""


class DeskWelcome(Frame, tag="welcome", kw_only=True, frozen=True):
    """The answer to the desk's `hello`. `ping_interval` in seconds."""

    agent: AgentInfo
    apps: list[AppInfo]
    ping_interval: Seconds


class Inbox(Frame, tag="inbox", kw_only=True, frozen=True):
    """The watched list (`full`) or what changed in it (each summary with its `rev`). `ref`: on the full one.

    `left`: conversations that no longer match the filter.
    """

    conversations: list[Summary]
    full: bool
    ref: Ref | UnsetType = UNSET
    app: str | UnsetType = UNSET
    left: list[UUID] | UnsetType = UNSET

"""Frames from an agent's desk (docs/protocol.md, *Agents: `/v1/desk`*). `ping` is the user's."""

from uuid import UUID

from msgspec import UNSET, UnsetType

from sdk_protocol.bodies import AgentBody, NoteBody
from sdk_protocol.fields import EventSeq, Identifier, Presence, Ref, Seq, Status, Time, Token
from sdk_protocol.records import InboxFilter
from sdk_protocol.user_frames import Frame


class DeskHello(Frame, tag="hello", kw_only=True, frozen=True):
    """The first frame. `token`: an agent token (`dba_…`)."""

    token: Token


class Watch(Frame, tag="watch", kw_only=True, frozen=True):
    """Follow a conversation: `ok`, then its events from `seq` + 1 on (from the first when missing), notes included."""

    ref: Ref
    conversation: UUID
    seq: Seq | UnsetType = UNSET


class Unwatch(Frame, tag="unwatch", kw_only=True, frozen=True):
    """Stop following. No answer; an event under way may still arrive."""

    conversation: UUID


class WatchInbox(Frame, tag="watch_inbox", kw_only=True, frozen=True):
    """Follow the list of an app's conversations: one full `inbox`, then deltas. A second one replaces the first."""

    ref: Ref
    app: Identifier
    filter: InboxFilter | UnsetType = UNSET


class DeskSend(Frame, tag="send", kw_only=True, frozen=True):
    """An agent's message. With `expected_seq` older than the newest message of someone else: `error conflict`."""

    ref: Ref
    conversation: UUID
    id: UUID
    body: AgentBody
    expected_seq: Seq | UnsetType = UNSET


class Note(Frame, tag="note", kw_only=True, frozen=True):
    """A private note: in the thread by `seq`, never shown to the user. `id` as in `send`."""

    ref: Ref
    conversation: UUID
    id: UUID
    body: NoteBody


class DeskTyping(Frame, tag="typing", kw_only=True, frozen=True):
    """The agent is (or no longer) typing. No answer."""

    conversation: UUID
    on: bool


class DeskRead(Frame, tag="read", kw_only=True, frozen=True):
    """The desk has seen the conversation up to `seq`. No answer."""

    conversation: UUID
    seq: EventSeq


class SetStatus(Frame, tag="status", kw_only=True, frozen=True):
    """Change the status; `snoozed_until` belongs to `snoozed` (RFC 3339 UTC)."""

    ref: Ref
    conversation: UUID
    status: Status
    snoozed_until: Time | UnsetType = UNSET


class Assign(Frame, tag="assign", kw_only=True, frozen=True):
    """Give the conversation to an agent, or to nobody with null."""

    ref: Ref
    conversation: UUID
    agent: Identifier | None


class SetPresence(Frame, tag="presence", kw_only=True, frozen=True):
    """Whether this agent takes conversations. No answer."""

    state: Presence

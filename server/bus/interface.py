"""The bus wakes; it never carries truth.

What goes over it are *hints*: "this was committed", "somebody types", "this device is connected elsewhere". A bus may
lose any of them, at any time, without saying so; a sweep over PostgreSQL repairs that within two seconds (protocol.md,
S5). It must not deliver a hint before what it speaks of is committed, and it never blocks who publishes.

Delivery: at most once, to every node that is subscribed to the hint's channel, the publishing node included. Hints of
one publisher on one channel arrive in the order in which they were published, if they arrive.

Implementations are siblings named by technology (`memory.py`); each passes `tests/contracts/test_bus.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import msgspec

from server.domain.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Channel = tuple[str, *tuple[UUID, ...]]
"""What it is about, and of whom. Not a text: making one costs more than all else that is done for a hint."""


def user_channel(app_id: UUID, user_id: UUID) -> Channel:
    """What concerns one user's devices."""
    return ("u", app_id, user_id)


def conversation_channel(conversation_id: UUID) -> Channel:
    """What concerns those who watch one conversation."""
    return ("c", conversation_id)


def app_channel(app_id: UUID) -> Channel:
    """What concerns an app's inbox and its agents."""
    return ("a", app_id)


def presence_channel(app_id: UUID) -> Channel:
    """What concerns which of an app's agents are online."""
    return ("p", app_id)


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """Events of one user's log that are committed, in order. `history`: of the database they are committed in; their
    numbers mean nothing to a cursor of another."""

    app_id: UUID
    user_id: UUID
    events: tuple[Event, ...]
    history: str


class Touched(msgspec.Struct, frozen=True, tag="touched"):
    """The summary of a conversation has changed; its newest `rev`."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    rev: int


class Typing(msgspec.Struct, frozen=True, tag="typing"):
    """Somebody types in a conversation, or has stopped. Ephemeral: never stored, first to be dropped."""

    app_id: UUID
    user_id: UUID
    conversation_id: UUID
    author_type: str
    author_id: str
    author_name: str | None
    on: bool


class Replaced(msgspec.Struct, frozen=True, tag="replaced"):
    """A device has said hello: sockets that hold it by less than (`epoch`, `generation`) go (close 4409)."""

    app_id: UUID
    device_id: UUID
    epoch: int
    generation: int


class LoggedOut(msgspec.Struct, frozen=True, tag="logged_out"):
    """A user's log-ins are void from `auth_gen` on: older sockets go (close 4401)."""

    app_id: UUID
    user_id: UUID
    auth_gen: int


class AgentsHere(msgspec.Struct, frozen=True, tag="agents_here"):
    """These agents of an app are online with `node` now. A lease, to be repeated."""

    app_id: UUID
    node: str
    agents: tuple[UUID, ...]


class WhoIsHere(msgspec.Struct, frozen=True, tag="who_is_here"):
    """A node that has customers of an app asks the others for their agents."""

    app_id: UUID


Hint = Committed | Touched | Typing | Replaced | LoggedOut | AgentsHere | WhoIsHere


class Bus(Protocol):
    """You must call `start` before anything else and `close` at the end."""

    async def start(self, receive: Callable[[Channel, Hint], None]) -> None:
        """Call `receive(channel, hint)` on the event loop for each hint on a subscribed channel."""

    def publish(self, hints: Sequence[tuple[Channel, Hint]]) -> None:
        """Send hints on their channels. Never blocks and never raises; may drop."""

    def reaches(self, channel: Channel) -> bool:
        """False if a hint on `channel` would certainly be heard by nobody: then it need not even be made."""

    def subscribe(self, channel: Channel) -> None:
        """Hear `channel` from about now on. Subscribing twice is the same as once."""

    def unsubscribe(self, channel: Channel) -> None:
        """Stop hearing `channel`."""

    @property
    def degraded(self) -> str | None:
        """Why hints may not arrive at the moment, in a few words; None while the bus is well."""

    async def close(self) -> None:
        """Stop. Nothing is received afterwards."""

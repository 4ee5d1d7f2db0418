"""What a `ClientSession` asks of the program around it. Effects are carried out in the order in which they come."""

from uuid import UUID

from msgspec import Struct

from sdk_protocol.frames import Drain, Error, Event, Frame, Ok, Open, Page, Send, Signal, Snapshot, Synced, Welcome


class Transmit(Struct, frozen=True):
    """Send this frame (encode it with the session's codec). Of a `Hello`, write down its `attempt` first: a device that
    says the same one again is refused once before it is welcomed."""

    frame: Frame


class Persist(Struct, frozen=True):
    """C2: write this to the stored outbox, at its end, before anything that follows. `key` names it in `Forget`."""

    key: UUID
    frame: Open | Send


class Forget(Struct, frozen=True):
    """C2: delete it from the stored outbox."""

    key: UUID


class Store(Struct, frozen=True):
    """C1: in one local transaction apply the event, remember `event.usn` and `epoch`. An unknown `event.kind` only
    moves the number."""

    event: Event
    epoch: str


class Replace(Struct, frozen=True):
    """In one local transaction replace everything by the snapshot, remember `snapshot.usn` and `epoch`. The stored
    outbox stays."""

    snapshot: Snapshot
    epoch: str


class Accepted(Struct, frozen=True):
    """The server has committed the entry `key` of the outbox; it stays there until it is seen in the stream."""

    key: UUID
    ok: Ok


class Failed(Struct, frozen=True):
    """The server will never take the entry `key`; a `Forget` follows. Tell the user."""

    key: UUID
    error: Error


class Deliver(Struct, frozen=True):
    """For the application: the start of a connection, answers to its own questions, signals."""

    frame: Welcome | Synced | Ok | Error | Page | Signal | Drain


class NeedToken(Struct, frozen=True):
    """Get a token from the app's server and pass it to `renew`."""


class Disconnect(Struct, frozen=True):
    """Close the socket with 1000, then call `disconnected` as for any close."""

    reason: str


class Reconnect(Struct, frozen=True):
    """Open a socket after that many seconds (at once when the network changes), then call `connect`; if that fails,
    `disconnected`."""

    after: float


class Stop(Struct, frozen=True):
    """A final close code: do not connect again with this session."""

    code: int


Effect = (
    Transmit
    | Persist
    | Forget
    | Store
    | Replace
    | Accepted
    | Failed
    | Deliver
    | NeedToken
    | Disconnect
    | Reconnect
    | Stop
)

"""The server's end of an agent's socket, `/v1/desk` (docs/protocol.md, *Agents*).

A watch is a cursor of its own over one conversation: every event from its `seq` on goes out in order, each once.
The desk does not acknowledge; a desk that does not read is the transport's to notice (its buffer fills).
"""

from collections.abc import Sequence
from uuid import UUID

from sdk_protocol.codec import Codec, EncodedEvent
from sdk_protocol.cursor import Judgement
from sdk_protocol.frames import DeskFrame, DeskHello, DeskWelcome, Ping, Unwatch
from sdk_protocol.server_end import PACE, PONG, Closing, Pace, Reply, ServerEnd
from sdk_protocol.states import DESK_SOCKET, ServerState


class DeskSession(ServerEnd[DeskFrame]):
    """One agent's socket. Handles `ping` itself; `Unwatch` ends the watch and is passed on."""

    __slots__ = ("watches",)
    table = DESK_SOCKET
    hello = DeskHello

    def __init__(self, codec: Codec, now: float, pace: Pace = PACE) -> None:
        super().__init__(codec, now, pace)
        self.watches: dict[UUID, int] = {}
        """The seq offered last, of every watched conversation."""

    def authenticated(self, welcome: DeskWelcome, now: float) -> Sequence[DeskFrame | Reply | Closing]:
        """The token was good. Out come `welcome` and what the frames that waited ask for. Raises `WrongState`."""
        return [Reply(welcome), *self._authenticated(now)]

    def watch(self, conversation: UUID, seq: int = 0) -> None:
        """A `watch` was allowed: offer the conversation from `seq` + 1 on. Watching again moves the cursor there."""
        self.watches[conversation] = seq

    def unwatch(self, conversation: UUID) -> None:
        """Stop offering it, for example because the agent lost access."""
        self.watches.pop(conversation, None)

    def offer(self, event: EncodedEvent) -> tuple[Judgement, str | bytes | None]:
        """An event of a conversation. With `NEXT` come the bytes to send; it is recorded as sent.

        `GAP`: read the conversation from `watches[…]` on. `STALE` also for a conversation that is not watched.
        """
        conversation, seq = event.event.conversation, event.event.seq
        offered = self.watches.get(conversation)
        if offered is None or seq <= offered or self.state is ServerState.CLOSED:
            return Judgement.STALE, None
        if seq > offered + 1:
            return Judgement.GAP, None
        self.watches[conversation] = seq
        return Judgement.NEXT, event.frame(self.codec)

    def _decode(self, data: str | bytes) -> DeskFrame:
        return self.codec.decode_desk(data)

    def _accept(self, frame: DeskFrame, now: float) -> Sequence[DeskFrame | Reply | Closing]:
        if isinstance(frame, Ping):
            return (PONG,)
        if isinstance(frame, Unwatch):
            self.unwatch(frame.conversation)
        return (frame,)

    def _watched(self) -> bool:
        # An agent's page is open or it is not: there is no background for it to be in.
        return True

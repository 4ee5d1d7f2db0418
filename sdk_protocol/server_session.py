"""The server's end of a user's socket, `/v1/chat` (docs/protocol.md).

Obligations of the program around it, besides those in `server_end.py`:
- on a `Hello` frame verify the token, then call `authenticated` (or send an `error` and `close`);
- send nothing that belongs to the log except through `offer`: it keeps S1 and S6;
- after `GAP`, and after an `Ack` while the log is ahead of `cursor.offered`, read the log from there and offer it.
"""

from collections.abc import Sequence

from sdk_protocol.closing import CloseCode
from sdk_protocol.codec import Codec, EncodedEvent
from sdk_protocol.cursor import Judgement, ReadCursor
from sdk_protocol.errors import BadFrame
from sdk_protocol.frames import Ack, Error, Foreground, Hello, Ping, Snapshot, Synced, UserFrame, Welcome
from sdk_protocol.server_end import PACE, PONG, Closing, Pace, Reply, SendPing, ServerEnd
from sdk_protocol.states import USER_SOCKET, ServerInput, ServerState, move

_NOTHING: tuple[Judgement, None] = (Judgement.STALE, None)


class ServerSession(ServerEnd[UserFrame]):
    """One user's socket. Handles `ack`, `ping` and `foreground` itself; `Ack` and `Foreground` are passed on as well,
    because a device's confirmation and attention also decide about push (S7)."""

    __slots__ = ("_token_expires", "cursor", "foreground")
    table = USER_SOCKET
    hello = Hello

    def __init__(self, codec: Codec, now: float, pace: Pace = PACE) -> None:
        super().__init__(codec, now, pace)
        self.cursor: ReadCursor | None = None
        self.foreground = False
        self._token_expires = 0.0

    def authenticated(
        self,
        welcome: Welcome,
        cursor: ReadCursor,
        token_expires: float,
        now: float,
        snapshot: Snapshot | None = None,
    ) -> Sequence[UserFrame | Reply | Closing]:
        """The token is good until `token_expires` (monotonic seconds). Out come `welcome`, the snapshot if there is
        one, then what the frames that waited ask for. `cursor` starts at `hello.usn`, or at the snapshot's.

        Raises `WrongState` unless the session is authenticating.
        """
        self.cursor = cursor
        self._token_expires = token_expires
        waited = self._authenticated(now)
        replies: list[UserFrame | Reply | Closing] = [Reply(welcome)]
        if snapshot is not None:
            replies.append(Reply(snapshot))
        return replies + waited

    def refreshed(self, token_expires: float) -> None:
        """A `refresh` was accepted: the new token is good until then (monotonic seconds)."""
        self._token_expires = token_expires

    def offer(self, event: EncodedEvent, now: float) -> tuple[Judgement, str | bytes | None]:
        """An event of the log, from a hint or read from it. With `NEXT` come the bytes to send; it is recorded as sent.

        Before `welcome` and after the end nothing is offered: `STALE`, the log is read later or never.
        """
        cursor = self.cursor
        if cursor is None or self.state is ServerState.CLOSED:
            return _NOTHING
        usn = event.event.usn
        assert isinstance(usn, int), "an event for a user's device has a usn"
        judgement = cursor.judge(usn, event.size)
        if judgement is not Judgement.NEXT:
            return judgement, None
        cursor.sent(usn, event.size, now)
        return judgement, event.frame(self.codec)

    def synced(self) -> Reply:
        """Everything the log has was offered. Raises `WrongState` before `authenticated`."""
        following = move(self.table, self.state, ServerInput.SYNCED)
        assert self.cursor is not None, "a state that allows `synced` comes after `authenticated`"
        self.state = following
        return Reply(Synced(usn=self.cursor.offered))

    def next_deadline(self) -> float | None:
        deadline = super().next_deadline()
        cursor = self.cursor
        if cursor is None or self.state is ServerState.CLOSED:
            return deadline
        expires = self._token_expires + self.pace.token_grace
        deadline = expires if deadline is None else min(deadline, expires)
        progress_at = cursor.progress_at
        return deadline if progress_at is None else min(deadline, progress_at + self.pace.stalled_after)

    def _decode(self, data: str | bytes) -> UserFrame:
        frame = self.codec.decode_user(data)
        if type(frame) is Hello:
            self.foreground = frame.foreground
        return frame

    def _accept(self, frame: UserFrame, now: float) -> Sequence[UserFrame | Reply | Closing]:
        if isinstance(frame, Ack):
            return self._ack(frame, now)
        if isinstance(frame, Ping):
            return (PONG,)
        if isinstance(frame, Foreground):
            self.foreground = frame.on
        return (frame,)

    def _ack(self, frame: Ack, now: float) -> Sequence[UserFrame | Reply]:
        assert self.cursor is not None, "frames are accepted only after `authenticated`"
        try:
            advanced = self.cursor.ack(frame.usn, now)
        except BadFrame as bad:
            return (Reply(Error.of(bad)),)
        return (frame,) if advanced else ()

    def _watched(self) -> bool:
        return self.foreground

    def _due(self, now: float) -> Sequence[Closing | SendPing]:
        cursor = self.cursor
        if cursor is not None:
            if now >= self._token_expires + self.pace.token_grace:
                return (self._close(CloseCode.TOKEN_EXPIRED, "the token expired: send refresh before it does"),)
            if cursor.stalled(now, self.pace.stalled_after):
                return (self._close(CloseCode.STALLED, f"no ack for {self.pace.stalled_after:g} s"),)
        return super()._due(now)

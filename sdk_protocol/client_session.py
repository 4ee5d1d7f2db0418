"""The device's end of `/v1/chat`: what an SDK in any language has to do, without I/O (docs/protocol.md).

Frames, the caller's wishes and the time go in (`now`: monotonic seconds), effects come out (`effects.py`); carry them
out in their order. Whoever carries out `Persist`, `Forget`, `Store` and `Replace` durably, and writes down a `Hello`'s
`attempt` before sending it, keeps `state()`, and a crash anywhere loses nothing.

One connection: open the socket → `connect` → `receive` for every message, `tick` when `next_deadline` has come →
`disconnected` when it is closed → `Reconnect` says when to begin again.
"""

from typing import Any
from uuid import UUID

from msgspec import UNSET, UnsetType

from sdk_protocol.attempts import Attempts
from sdk_protocol.closing import CloseCode
from sdk_protocol.codec import JSON, Codec
from sdk_protocol.device_state import DeviceState
from sdk_protocol.effects import (
    Accepted,
    Deliver,
    Disconnect,
    Effect,
    Failed,
    Forget,
    NeedToken,
    Persist,
    Reconnect,
    Replace,
    Stop,
    Store,
    Transmit,
)
from sdk_protocol.errors import ErrorCode, Malformed, WrongState
from sdk_protocol.frames import (
    Ack,
    Device,
    Drain,
    Error,
    Event,
    Foreground,
    Frame,
    Hello,
    Ok,
    Open,
    OpeningMessage,
    Page,
    Ping,
    Pong,
    Refresh,
    Send,
    Signal,
    Snapshot,
    Synced,
    UserBody,
    Welcome,
)
from sdk_protocol.outbox import Entry, Outbox, key_of, numbered
from sdk_protocol.pacing import ANSWER_WITHIN, Clocks, backoff
from sdk_protocol.states import DEVICE, ClientInput, ClientState, move

_READY = frozenset({ClientState.SYNCING, ClientState.LIVE, ClientState.DRAINING})


class ClientSession:
    """One device of one user, over any number of connections."""

    def __init__(
        self,
        device: Device,
        token: str,
        *,
        codec: Codec = JSON,
        foreground: bool = True,
        caps: list[str] | None = None,
        keep_log: bool = False,
    ) -> None:
        self.device = device
        self.token = token
        self.codec = codec
        self.caps = caps
        self.showing = foreground
        self.phase = ClientState.OFFLINE
        self.epoch: str | UnsetType = UNSET
        self._announced = ""
        self.usn = 0
        """The last event stored."""
        self.log: dict[UUID, list[Event]] | None = {} if keep_log else None
        """The events of each conversation since the last snapshot, if asked for."""
        self._outbox = Outbox()
        self._attempts = Attempts()
        self._next_ref = 0
        self._token_refused = False
        self._wait: float | None = None
        self._begin(Clocks())

    def _begin(self, clocks: Clocks) -> None:
        """What belongs to one connection."""
        self._clocks = clocks
        self._awaiting: dict[int, Entry] = {}
        self._await_snapshot = False
        self._acked = self.usn
        self._failures = 0
        self._refresh_ref: int | None = None

    def state(self) -> DeviceState:
        """A copy of what has to survive."""
        attempt = self._attempts.newest
        return DeviceState(epoch=self.epoch, usn=self.usn, attempt=attempt, outbox=self._outbox.frames())

    def restore(self, state: DeviceState) -> None:
        """Continue from what was stored. Raises `WrongState` unless offline."""
        if self.phase is not ClientState.OFFLINE:
            raise WrongState("restore the state before connecting")
        self.epoch = state.epoch
        self.usn = state.usn
        self._attempts.know(state.attempt)
        self._outbox = Outbox(state.outbox)

    # What the caller wants.

    def connect(self, now: float, wall: float) -> list[Effect]:
        """The socket is open. `wall`: the time in seconds since 1970, to understand when the token expires."""
        self.phase = move(DEVICE, self.phase, ClientInput.CONNECTED)
        self._begin(Clocks(now, wall))
        self._clocks.deaf_at = now + ANSWER_WITHIN
        known = self.epoch is not UNSET
        hello = Hello(
            token=self.token,
            device=self.device,
            epoch=self.epoch,
            usn=self.usn if known else UNSET,
            foreground=self.showing,
            caps=UNSET if self.caps is None else self.caps,
            attempt=self._attempts.next(),
        )
        return [Transmit(hello)]

    def open(
        self,
        conversation: UUID,
        now: float,
        *,
        topic: str | UnsetType = UNSET,
        transaction: str | UnsetType = UNSET,
        message: OpeningMessage | UnsetType = UNSET,
    ) -> list[Effect]:
        """Open a conversation, now or when connected. The ids are the caller's, made once."""
        return self._write(
            Open(ref=0, conversation=conversation, topic=topic, transaction=transaction, message=message), now
        )

    def send(self, conversation: UUID, id: UUID, body: UserBody, now: float) -> list[Effect]:
        """Send a message, now or when connected. `id` is the caller's, made once for this message.

        Raises `WrongState` if the id is in the outbox for something else.
        """
        return self._write(Send(ref=0, conversation=conversation, id=id, body=body), now)

    def next_ref(self) -> int:
        """A number for a frame given to `ask`."""
        self._next_ref += 1
        return self._next_ref

    def ask(self, frame: Frame) -> list[Effect]:
        """Send a frame that is not kept if the connection breaks: history, read, typing, rate, press, push_token …

        Its answer comes as `Deliver`. Raises `WrongState` unless connected.
        """
        if self.phase not in _READY:
            raise WrongState(f"not connected (`{self.phase}`): ask again after `welcome`")
        return [Transmit(frame)]

    def show(self, foreground: bool, now: float) -> list[Effect]:
        """The app came to the front or left it."""
        self.showing = foreground
        if self.phase not in _READY:
            return []
        self._clocks.ping_at = now + self._clocks.ping_interval if foreground else None
        return [Transmit(Foreground(on=foreground))]

    def renew(self, token: str, now: float) -> list[Effect]:
        """A new token, because of `NeedToken` or not."""
        self.token = token
        self._token_refused = False
        if self.phase in _READY:
            self._refresh_ref = self.next_ref()
            return [Transmit(Refresh(ref=self._refresh_ref, token=token))]
        if self.phase is ClientState.OFFLINE and self._wait is not None:
            after, self._wait = max(0.0, self._wait - now), None
            return [Reconnect(after)]
        return []

    def disconnected(self, code: int, now: float, chance: float, retry_after: float = 0.0) -> list[Effect]:
        """The socket closed (1006 if it never opened). `chance`: a random number in [0, 1). `retry_after`: seconds
        the server asked to wait in its HTTP 503."""
        if self.phase is ClientState.STOPPED:
            return []
        if self._attempts.final(code):
            self.phase = move(DEVICE, self.phase, ClientInput.STOP)
            return [Stop(code)]
        self.phase = move(DEVICE, self.phase, ClientInput.DISCONNECTED)
        if self._clocks.drained_at is not None:
            after = max(0.0, self._clocks.drained_at - now)
        else:
            after = self._attempts.wait(chance, retry_after)
        refused = self._token_refused or code == CloseCode.TOKEN_EXPIRED
        self._begin(Clocks())
        if refused:
            self._wait = now + after
            return [NeedToken()]
        return [Reconnect(after)]

    # What the server sends.

    def receive(self, data: str | bytes, now: float) -> list[Effect]:
        """One WebSocket message. Nothing that the server sends raises."""
        if self.phase is not ClientState.AWAIT_WELCOME and self.phase not in _READY:
            return []
        try:
            frame = self.codec.decode_user_server(data)
        except Malformed as malformed:
            return self._leave(str(malformed))
        self.heard(now)
        if self.phase is ClientState.AWAIT_WELCOME:
            return self._before_welcome(frame, now)
        match frame:
            case Event():
                return self._event(frame, len(data), now)
            case Ok():
                return self._ok(frame, now)
            case Error():
                return self._error(frame, now)
            case Synced():
                return self._synced(frame)
            case Snapshot():
                return self._snapshot(frame)
            case Drain():
                return self._drain(frame, now)
            case Signal() | Page():
                return [Deliver(frame)]
            case Welcome():
                return self._leave("a second welcome")
        return []

    def heard(self, now: float) -> None:
        """Any sign of life, for example a WebSocket ping of the server (its library answers it)."""
        if self.phase in _READY:
            self._clocks.heard(now, self.showing)

    def _before_welcome(self, frame: Any, now: float) -> list[Effect]:
        match frame:
            case Welcome():
                return self._welcome(frame, now)
            case Error():
                self._token_refused = frame.code is ErrorCode.UNAUTHORIZED
                if frame.attempt is not UNSET:
                    self._attempts.know(frame.attempt)
                return [Deliver(frame)]
            case Drain():
                return self._drain(frame, now)
            case None | Pong() | Signal():
                return []
        return self._leave("a frame before welcome")

    def _welcome(self, welcome: Welcome, now: float) -> list[Effect]:
        self._await_snapshot = welcome.resume == "snapshot"
        if not self._await_snapshot and (self.epoch not in (UNSET, welcome.epoch) or welcome.head < self.usn):
            return self._leave("another history, but no snapshot of it")
        self.phase = move(DEVICE, self.phase, ClientInput.WELCOME)
        self._attempts.welcomed()
        self._announced = welcome.epoch
        if not self._await_snapshot:
            self.epoch = welcome.epoch
        # A server that says 0 must not be pinged without end.
        self._clocks.ping_interval = max(1.0, welcome.ping_interval)
        self.heard(now)
        self._clocks.expires(welcome.token_expires_at, now)
        self._outbox.start_over()
        return [Deliver(welcome), *self._flush()]

    def _snapshot(self, snapshot: Snapshot) -> list[Effect]:
        if not self._await_snapshot:
            return self._leave("a snapshot that was not announced")
        self._await_snapshot = False
        # Only now: the epoch says which history `usn` belongs to, so the two change together or not at all.
        self.epoch = self._announced
        self.usn = snapshot.usn
        if self.log is not None:
            self.log.clear()
        forgotten = [Forget(key) for key in self._outbox.covered(self.usn)]
        return [Replace(snapshot, self.epoch), *forgotten, *self._ack()]

    def _event(self, event: Event, size: int, now: float) -> list[Effect]:
        usn = event.usn
        if usn is UNSET or self._await_snapshot or usn > self.usn + 1:
            return self._leave(f"event {usn} after {self.usn}: the ones between are missing")
        if usn <= self.usn:
            return []
        assert self.epoch is not UNSET, "welcome came before"
        self.usn = usn
        if self.log is not None:
            self.log.setdefault(event.conversation, []).append(event)
        effects: list[Effect] = [Store(event, self.epoch)]
        if self._outbox:
            effects += [Forget(key) for key in (*self._outbox.seen(event), *self._outbox.covered(usn))]
        return effects + self._ack() if self._clocks.took(size, now) else effects

    def _synced(self, synced: Synced) -> list[Effect]:
        if self._await_snapshot or synced.usn > self.usn:
            return self._leave(f"synced up to {synced.usn}, but the newest event is {self.usn}")
        self.phase = move(DEVICE, self.phase, ClientInput.SYNCED)
        self._attempts.synced()
        return [*self._ack(), Deliver(synced)]

    def _drain(self, drain: Drain, now: float) -> list[Effect]:
        self.phase = move(DEVICE, self.phase, ClientInput.DRAIN)
        self._clocks.drained_at = now + drain.reconnect_after_ms / 1000
        return [Deliver(drain)]

    def _ok(self, ok: Ok, now: float) -> list[Effect]:
        if ok.ref == self._refresh_ref:
            self._refresh_ref = None
            if ok.token_expires_at is not UNSET:
                self._clocks.expires(ok.token_expires_at, now)
            self._clocks.retry_at = None
            return self._flush()
        entry = self._awaiting.pop(ok.ref, None)
        if entry is None:
            return [Deliver(ok)]
        self._failures = 0
        self._outbox.accept(entry, ok)
        forgotten = [Forget(key) for key in self._outbox.covered(self.usn)]
        return [Accepted(entry.key, ok), *forgotten, *self._flush()]

    def _error(self, error: Error, now: float) -> list[Effect]:
        if error.ref is not UNSET and error.ref == self._refresh_ref:
            self._refresh_ref = None
            self._clocks.refresh_at = now + self._pause(error)
            return [Deliver(error)]
        entry = None if error.ref is UNSET else self._awaiting.pop(error.ref, None)
        if entry is None:
            return [Deliver(error)]
        if not self._outbox.refuse(entry, error):
            if not self._outbox.remove(entry.key):
                return [Deliver(error)]  # it was seen in the stream meanwhile, so it is stored, whatever this says
            return [Failed(entry.key, error), Forget(entry.key), *self._flush()]
        first = self._clocks.retry_at is None
        self._clocks.retry(now + self._pause(error))
        return [NeedToken()] if first and error.code is ErrorCode.UNAUTHORIZED else []

    # The passing of time.

    def next_deadline(self) -> float | None:
        """When `tick` must be called at the latest; None: no need."""
        return self._clocks.next() if self.phase is ClientState.AWAIT_WELCOME or self.phase in _READY else None

    def tick(self, now: float) -> list[Effect]:
        """What the passing of time asks for; empty if nothing is due."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        clocks = self._clocks
        if clocks.deaf_at is not None and now >= clocks.deaf_at:
            return self._leave(f"nothing heard for {ANSWER_WITHIN:.0f} s")
        if clocks.drained_at is not None and now >= clocks.drained_at:
            return self._leave("the node is going away")
        effects: list[Effect] = []
        if clocks.ack_at is not None and now >= clocks.ack_at:
            effects += self._ack()
        if clocks.retry_at is not None and now >= clocks.retry_at:
            clocks.retry_at = None
            effects += self._flush()
        if clocks.refresh_at is not None and now >= clocks.refresh_at:
            clocks.refresh_at = None
            effects.append(NeedToken())
        if clocks.ping_at is not None and now >= clocks.ping_at:
            clocks.ping_at = None
            clocks.deaf_at = now + ANSWER_WITHIN
            effects.append(Transmit(Ping()))
        return effects

    # Inside.

    def _write(self, frame: Open | Send, now: float) -> list[Effect]:
        self._outbox.add(frame)
        return [Persist(key_of(frame), frame), *self._flush()]

    def _flush(self) -> list[Effect]:
        """Send what the outbox has and nothing holds back."""
        if self.phase not in _READY or self._clocks.retry_at is not None:
            return []
        effects: list[Effect] = []
        for entry, after in self._outbox.due():
            entry.under_way = True
            ref = self.next_ref()
            self._awaiting[ref] = entry
            effects.append(Transmit(numbered(entry, ref, after)))
        return effects

    def _ack(self) -> list[Effect]:
        self._clocks.acked()
        if self._acked == self.usn:
            return []
        self._acked = self.usn
        return [Transmit(Ack(usn=self.usn))]

    def _pause(self, error: Error) -> float:
        """Seconds before the next try: what the server says, else doubling."""
        self._failures += 1
        if error.retry_after_ms is not UNSET:
            return error.retry_after_ms / 1000
        return backoff(self._failures - 1)

    def _leave(self, reason: str) -> list[Effect]:
        self.phase = move(DEVICE, self.phase, ClientInput.LEAVE)
        return [Disconnect(reason)]

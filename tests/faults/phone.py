"""A simulated phone: the real `ClientSession` over a real WebSocket, with a disk that survives the app.

It carries out the session's effects literally, keeps what `Persist`, `Forget`, `Store` and `Replace` say on its "disk",
and writes down everything that crosses the wire *before* the session may drop or repair it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import websockets
from msgspec import UNSET

from sdk_protocol import effects, frames
from sdk_protocol.bodies import Text
from sdk_protocol.client_session import ClientSession
from sdk_protocol.errors import ErrorCode
from sdk_protocol.outbox import key_of
from sdk_protocol.records import Device, OpeningMessage
from sdk_protocol.states import ClientState
from tests.faults.disk import Disk
from tests.faults.history import (
    Acked,
    Away,
    Back,
    Closed,
    Fail,
    Final,
    Hello,
    Invoke,
    Page,
    Registered,
    Synced,
    Unknown,
    Welcome,
)
from tests.faults.recorder import Recorder, acknowledged, observed, snapshot
from tests.faults.wire import dial, put

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from sdk_protocol.codec import Codec
    from tests.faults.recorder import Stopwatch

LONGEST_PAUSE_S = 0.4
"""A schedule is short, so these phones are told of a network change before their backoff grows long."""
ANSWER_WITHIN_S = 15.0
OFFLINE = 1006


class Phone:
    """One device of `user`. `urls`: a WebSocket address of each node, through its proxy."""

    def __init__(
        self, name: str, user: str, token: str, urls: list[str], clock: Stopwatch, rng: random.Random, codec: Codec
    ) -> None:
        self.recorder = Recorder(clock, name, "device", user)
        self.urls = urls
        self.node = rng.randrange(len(urls))
        self.seqs: dict[UUID, int] = {}
        """The newest event of each conversation that this phone has heard of."""
        self.push_token = f"phone-{UUID(int=rng.getrandbits(128))}"
        self.reconnects = -1
        self.stops = 0
        self._device = Device(id=UUID(int=rng.getrandbits(128), version=4), platform="android")
        self._token = token
        self._rng = rng
        self._codec = codec
        self._disk = Disk()
        self._session = self._begin()
        self._socket: websockets.ClientConnection | None = None
        self._zombie: websockets.ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._wake = asyncio.Event()
        self._under_way: dict[int, tuple[str, str]] = {}
        self._answers: dict[int, asyncio.Future[Any]] = {}

    def _begin(self) -> ClientSession:
        session = ClientSession(self._device, self._token, codec=self._codec, foreground=True)
        session.restore(self._disk.state())
        return session

    # -- what the person does ------------------------------------------------------------------------------

    def start(self) -> None:
        """The app is opened, for the first time or again."""
        self._task = asyncio.create_task(self._live(), name=self.recorder.history.client.name)

    async def stop(self) -> None:
        """The app is killed: whatever is not on its disk is gone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._session = self._begin()

    @property
    def running(self) -> bool:
        return self._task is not None

    def open(self, conversation: UUID, message: UUID | None, text: str) -> None:
        first = OpeningMessage(id=message, body=Text(text=text)) if message else UNSET
        id = message or conversation
        self._invoke("open" if message else "begin", conversation, id, text if message else "", message is not None)
        self._do(self._session.open(conversation, time.monotonic(), message=first))

    def send(self, conversation: UUID, id: UUID, text: str) -> None:
        self._invoke("send", conversation, id, text, True)
        self._do(self._session.send(conversation, id, Text(text=text), time.monotonic()))

    def read(self, conversation: UUID, seq: int) -> None:
        self._say(frames.Read(conversation=conversation, seq=seq))

    def typing(self, conversation: UUID, on: bool) -> None:
        self._say(frames.Typing(conversation=conversation, on=on))

    def show(self, foreground: bool) -> None:
        self._do(self._session.show(foreground, time.monotonic()))

    def change_network(self, node: int | None = None) -> None:
        """The radio comes back, perhaps elsewhere: no waiting before the next try."""
        if node is not None:
            self.node = node
        self._hurry.set()

    def hang_up(self) -> None:
        """The connection is lost without a goodbye."""
        if self._socket is not None:
            self._socket.transport.abort()

    # -- questions that are asked past the outbox ----------------------------------------------------------

    async def send_raw(
        self, conversation: UUID, id: UUID, text: str, after: UUID | None = None, label: str | None = None
    ) -> str | None:
        """Send a frame that no outbox keeps; the code of the refusal, `ok`, or None if there was no answer.

        `label` names the attempt in the history when it is not a message of its own (a conflict on purpose).
        """
        if not self.live:
            return None
        ref = self._session.next_ref()
        frame = frames.Send(
            ref=ref, conversation=conversation, id=id, body=Text(text=text), after=UNSET if after is None else after
        )
        shown = label or str(id)
        self.recorder.add(
            Invoke(
                at=self.recorder.now,
                op="send",
                conversation=str(conversation),
                id=shown,
                text=text,
                after=str(after) if after else "",
            )
        )
        answer = await self._ask(ref, frame)
        return self._answered(str(conversation), shown, answer)

    async def register(self) -> bool:
        """Give the server this phone's push token."""
        ref = self._session.next_ref()
        answer = await self._ask(ref, frames.PushToken(ref=ref, provider="fcm", token=self.push_token))
        if isinstance(answer, frames.Ok):
            self.recorder.add(Registered(at=self.recorder.now, token=self.push_token))
        return isinstance(answer, frames.Ok)

    async def page(self, conversation: UUID) -> Page | None:
        """The whole conversation as the log has it now; None without an answer. Not recorded."""
        asked, before = self.recorder.now, None
        events: list[frames.Event] = []
        while True:
            ref = self._session.next_ref()
            wanted = frames.History(ref=ref, conversation=conversation, before=before or UNSET, limit=200)
            answer = await self._ask(ref, wanted)
            if isinstance(answer, frames.Error) and answer.code is ErrorCode.NOT_FOUND:
                answer = frames.Page(ref=ref, conversation=conversation, events=[], more=False)
            if not isinstance(answer, frames.Page):
                return None
            events = [*answer.events, *events]
            if not answer.more:
                at = self.recorder.now
                return Page(
                    at=at, asked=asked, conversation=str(conversation), events=[observed(at, each) for each in events]
                )
            before = answer.events[0].seq

    async def _ask(self, ref: int, frame: Any) -> Any:
        if self._session.phase not in (ClientState.LIVE, ClientState.SYNCING, ClientState.DRAINING):
            return None
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        self._do(self._session.ask(frame))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._answers.pop(ref, None)

    def _answered(self, conversation: str, id: str, answer: Any) -> str | None:
        now = self.recorder.now
        if isinstance(answer, frames.Ok):
            self.recorder.add(acknowledged(now, conversation, id, answer))
            return "ok"
        if isinstance(answer, frames.Error) and answer.code is not ErrorCode.UNAVAILABLE:
            self.recorder.add(Fail(at=now, conversation=conversation, id=id, code=answer.code.value))
            return answer.code.value
        self.recorder.add(Unknown(at=now, conversation=conversation, id=id, why="no answer"))
        return None

    # -- how it stands -------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        return self.running and self._session.phase is ClientState.LIVE

    @property
    def usn(self) -> int:
        return self._disk.usn

    @property
    def epoch(self) -> str | None:
        return self._disk.epoch

    @property
    def waiting(self) -> int:
        return len(self._disk.outbox)

    def waits_for(self, id: UUID) -> bool:
        """It is in the outbox: not known to be stored."""
        return id in self._disk.outbox

    def forget_all(self, epoch: str) -> None:
        """Begin again from the first event of this history, as after a restored app."""
        self._disk.epoch, self._disk.usn = epoch, 0
        self._session = self._begin()

    async def put_away(self, frozen: bool) -> None:
        """Nobody looks at this phone any more. `frozen`: the app is suspended, its socket stays open and mute."""
        if frozen and self._socket is not None:
            self._zombie, self._socket = self._socket, None
            self._zombie.transport.pause_reading()
        await self.stop()
        self.recorder.add(Away(at=self.recorder.now))

    def take_up(self, since: float) -> None:
        """Somebody looks again. What was committed before `since` has had more than enough time to be pushed."""
        if self._zombie is not None:
            self._zombie.transport.abort()
            self._zombie = None
        self.recorder.add(Back(at=self.recorder.now, since=since))
        self.start()

    def finish(self) -> None:
        stuck = 0 if self.live else 1
        self.recorder.add(Final(at=self.recorder.now, usn=self.usn, waiting=self.waiting + stuck))

    # -- the connection ------------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            self._hurry.clear()
            pause = await self._connection()
            if self._session.phase is ClientState.STOPPED:
                # A final close code. The person opens the app again; the report says how often that was needed.
                self.stops += 1
                self._session = self._begin()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, LONGEST_PAUSE_S) * (0.5 + self._rng.random() / 2)):
                    await self._hurry.wait()

    async def _connection(self) -> float:
        """One connection, from opening to its end. Returns how long to wait before the next."""
        code = OFFLINE
        try:
            self._socket = await dial(f"{self.urls[self.node]}/v1/chat", self._codec)
            self.reconnects += 1
            code = await self._talk(self._socket)
        except (OSError, TimeoutError, websockets.WebSocketException):
            pass
        finally:
            if self._socket is not None:
                self._socket.transport.abort()
            self._socket = None
            self._lose()
            self.recorder.add(Closed(at=self.recorder.now, code=code))
        pause = LONGEST_PAUSE_S
        for effect in self._session.disconnected(code, time.monotonic(), self._rng.random()):
            if isinstance(effect, effects.Reconnect):
                pause = effect.after
        if self._rng.random() < 0.5:
            self.node = self._rng.randrange(len(self.urls))
        return pause

    async def _talk(self, socket: websockets.ClientConnection) -> int:
        usn = self._disk.usn if self._disk.epoch is not None else -1
        self.recorder.add(Hello(at=self.recorder.now, usn=usn))
        self._do(self._session.connect(time.monotonic(), time.time()))
        ticking = asyncio.create_task(self._tick())
        try:
            async for data in socket:
                self._hear(data)
        except websockets.ConnectionClosed:
            pass
        finally:
            ticking.cancel()
        return socket.close_code or OFFLINE

    async def _tick(self) -> None:
        while True:
            deadline = self._session.next_deadline()
            pause = 60.0 if deadline is None else max(0.0, deadline - time.monotonic())
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._do(self._session.tick(time.monotonic()))

    def _hear(self, data: str | bytes) -> None:
        self._note(self._codec.decode_user_server(data))
        self._do(self._session.receive(data, time.monotonic()))
        self._wake.set()

    def _note(self, frame: Any) -> None:
        """Write down what came, whatever the session makes of it."""
        now = self.recorder.now
        match frame:
            case frames.Event():
                self.recorder.add(observed(now, frame))
            case frames.Welcome():
                self.recorder.add(
                    Welcome(at=now, epoch=frame.epoch, head=frame.head, snapshot=frame.resume == "snapshot")
                )
            case frames.Snapshot():
                self.recorder.add(snapshot(now, frame))
            case frames.Synced():
                self.recorder.add(Synced(at=now, usn=frame.usn))
            case frames.Ok() | frames.Error() if frame.ref in self._under_way:
                self._note_answer(now, frame, *self._under_way.pop(frame.ref))
            case frames.Ok() | frames.Error() | frames.Page() if frame.ref in self._answers:
                answer = self._answers[frame.ref]
                if not answer.done():
                    answer.set_result(frame)
            case _:
                pass

    def _note_answer(self, now: float, frame: frames.Ok | frames.Error, conversation: str, id: str) -> None:
        if isinstance(frame, frames.Ok):
            self.recorder.add(acknowledged(now, conversation, id, frame))
        elif frame.retry or frame.code in (ErrorCode.UNAVAILABLE, ErrorCode.NOT_FOUND, ErrorCode.UNAUTHORIZED):
            self.recorder.add(Unknown(at=now, conversation=conversation, id=id, why=frame.code.value))

    # -- effects -------------------------------------------------------------------------------------------

    def _do(self, todo: Iterable[effects.Effect]) -> None:
        for effect in todo:
            match effect:
                case effects.Transmit(frame=frame):
                    self._transmit(frame)
                case effects.Persist(key=key, frame=frame):
                    self._disk.outbox[key] = frame
                case effects.Forget(key=key):
                    self._disk.outbox.pop(key, None)
                case effects.Store(event=event, epoch=epoch):
                    assert isinstance(event.usn, int)
                    self._disk.usn, self._disk.epoch = event.usn, epoch
                    self.seqs[event.conversation] = event.seq
                case effects.Replace(snapshot=whole, epoch=epoch):
                    self._disk.usn, self._disk.epoch = whole.usn, epoch
                    self.seqs.update({each.id: each.seq for each in whole.conversations})
                case effects.Failed(key=key, error=error):
                    entry = self._disk.outbox[key]
                    self.recorder.add(
                        Fail(
                            at=self.recorder.now,
                            conversation=str(entry.conversation),
                            id=str(key),
                            code=error.code.value,
                        )
                    )
                case effects.Disconnect():
                    self.hang_up()

    def _transmit(self, frame: Any) -> None:
        if isinstance(frame, frames.Ack):
            self.recorder.add(Acked(at=self.recorder.now, usn=frame.usn))
        elif isinstance(frame, frames.Hello):
            self._disk.attempt = frame.attempt or 0
        elif isinstance(frame, frames.Open | frames.Send) and frame.ref not in self._answers:
            self._under_way[frame.ref] = (str(frame.conversation), str(key_of(frame)))
        if self._socket is not None:
            put(self._socket, self._codec.encode(frame))
            self._wake.set()

    def _say(self, frame: Any) -> None:
        if self._session.phase in (ClientState.LIVE, ClientState.SYNCING):
            self._do(self._session.ask(frame))

    def _invoke(self, op: str, conversation: UUID, id: UUID, text: str, ordered: bool) -> None:
        self.recorder.add(
            Invoke(at=self.recorder.now, op=op, conversation=str(conversation), id=str(id), text=text, ordered=ordered)
        )

    def _lose(self) -> None:
        """Whatever had no answer yet has an unknown outcome."""
        for conversation, id in self._under_way.values():
            self.recorder.add(Unknown(at=self.recorder.now, conversation=conversation, id=id, why="disconnected"))
        self._under_way.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(None)

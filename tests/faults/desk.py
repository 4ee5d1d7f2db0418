"""A simulated agent: a plain program on `/v1/desk` that answers, notes, reads, assigns, and asks again when unsure."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import websockets
from msgspec import UNSET

from sdk_protocol import frames
from sdk_protocol.bodies import Text
from sdk_protocol.codec import JSON
from sdk_protocol.errors import ErrorCode
from tests.faults.history import Closed, Fail, Final, Hello, Invoke, Ok, Unknown, Watching
from tests.faults.recorder import Recorder, observed
from tests.faults.wire import dial, put

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

    from tests.faults.recorder import Stopwatch

PAUSE_S = 0.2
ANSWER_WITHIN_S = 15.0


class Desk:
    """One agent's page. It watches every conversation it is told of, from where it left off."""

    def __init__(self, name: str, token: str, urls: list[str], clock: Stopwatch, rng: random.Random) -> None:
        self.recorder = Recorder(clock, name, "desk")
        self.urls = urls
        self.seqs: dict[UUID, int] = {}
        """The newest event of each conversation that this desk has."""
        self.reconnects = -1
        self._node = rng.randrange(len(urls))
        self._token = token
        self._rng = rng
        self._wanted: set[UUID] = set()
        self._watching: set[UUID] = set()
        self._socket: websockets.ClientConnection | None = None
        self._welcomed = False
        self._ref = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._watches: dict[int, tuple[UUID, int, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._live(), name=self.recorder.history.client.name)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            ending = [task, *self._tasks]
            for each in ending:
                each.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    @property
    def connected(self) -> bool:
        return self._welcomed

    @property
    def live(self) -> bool:
        """It is connected and watches everything it wants to."""
        return self._welcomed and self._wanted == self._watching

    def hang_up(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()

    def change_network(self) -> None:
        self._hurry.set()

    def finish(self) -> None:
        watches = {str(each): self.seqs.get(each, 0) for each in self._watching}
        self.recorder.add(Final(at=self.recorder.now, watches=watches, waiting=0 if self.live else 1))

    # -- what the agent does -------------------------------------------------------------------------------

    def follow(self, conversation: UUID) -> None:
        """Watch a conversation from now on, over every reconnect; as soon as it exists."""
        self._wanted.add(conversation)
        if self._welcomed:
            self._background(self._watch(conversation))

    async def say(
        self, conversation: UUID, id: UUID, text: str, *, note: bool = False, expected: int | None = None
    ) -> str | None:
        """A message or a note. The code of the refusal, `ok`, or None when the outcome is unknown."""

        def frame(ref: int) -> Any:
            if note:
                return frames.Note(ref=ref, conversation=conversation, id=id, body=Text(text=text))
            seq = UNSET if expected is None else expected
            return frames.DeskSend(ref=ref, conversation=conversation, id=id, body=Text(text=text), expected_seq=seq)

        return await self._write("note" if note else "send", conversation, id, text, frame)

    async def set_status(self, conversation: UUID, status: str) -> str | None:
        return await self._write(
            "status",
            conversation,
            uuid4(),
            "",
            lambda ref: frames.SetStatus(ref=ref, conversation=conversation, status=status),  # type: ignore[arg-type]  # one of the literal's
        )

    async def assign(self, conversation: UUID, to_me: bool) -> str | None:
        return await self._write(
            "assign",
            conversation,
            uuid4(),
            "",
            lambda ref: frames.Assign(ref=ref, conversation=conversation, agent="me" if to_me else None),
        )

    def read(self, conversation: UUID, seq: int) -> None:
        self._say(frames.DeskRead(conversation=conversation, seq=seq))

    def typing(self, conversation: UUID, on: bool) -> None:
        self._say(frames.DeskTyping(conversation=conversation, on=on))

    async def _write(self, op: str, conversation: UUID, id: UUID, text: str, frame: Callable[[int], Any]) -> str | None:
        if not self._welcomed:
            return None
        place = str(conversation)
        self.recorder.add(Invoke(at=self.recorder.now, op=op, conversation=place, id=str(id), text=text))
        ref = self._next_ref()
        answer = await self._ask(ref, frame(ref))
        now = self.recorder.now
        match answer:
            case frames.Ok():
                self.recorder.add(
                    Ok(
                        at=now,
                        conversation=place,
                        id=str(id),
                        seq=answer.seq or 0,
                        duplicate=answer.duplicate is True,
                    )
                )
                return "ok"
            case frames.Error() if answer.code is not ErrorCode.UNAVAILABLE:
                self.recorder.add(Fail(at=now, conversation=place, id=str(id), code=answer.code.value))
                return answer.code.value
            case _:
                self.recorder.add(Unknown(at=now, conversation=place, id=str(id), why="no answer"))
                return None

    # -- the connection ------------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            self._hurry.clear()
            await self._connection()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S * (0.5 + self._rng.random())):
                    await self._hurry.wait()

    async def _connection(self) -> None:
        code = 1006
        try:
            self._socket = await dial(f"{self.urls[self._node]}/v1/desk", JSON)
            self.reconnects += 1
            self.recorder.add(Hello(at=self.recorder.now))
            self._say(frames.DeskHello(token=self._token))
            async for data in self._socket:
                self._hear(JSON.decode_desk_server(data))
            code = self._socket.close_code or code
        except (OSError, TimeoutError, websockets.WebSocketException):
            pass
        finally:
            if self._socket is not None:
                self._socket.transport.abort()
            self._socket, self._welcomed = None, False
            self._watching.clear()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(None)
            self.recorder.add(Closed(at=self.recorder.now, code=code))
        if self._rng.random() < 0.5:
            self._node = self._rng.randrange(len(self.urls))

    def _hear(self, frame: Any) -> None:
        match frame:
            case frames.DeskWelcome():
                self._welcomed = True
                for conversation in list(self._wanted):
                    self._background(self._watch(conversation))
            case frames.Event():
                self.recorder.add(observed(self.recorder.now, frame))
                self.seqs[frame.conversation] = frame.seq
            case frames.Ok() | frames.Error() if frame.ref in self._answers:
                if isinstance(frame, frames.Ok) and frame.ref in self._watches:
                    self._now_watching(frame, *self._watches[frame.ref])
                answer = self._answers[frame.ref]
                if not answer.done():
                    answer.set_result(frame)
            case _:
                pass

    def _now_watching(self, ok: frames.Ok, conversation: UUID, seq: int, asked: float) -> None:
        """In the very turn in which the answer came: events of the watch may be right behind it."""
        now, head = self.recorder.now, ok.seq or 0
        self.recorder.add(Watching(at=now, asked=asked, conversation=str(conversation), seq=seq, head=head))
        self._watching.add(conversation)

    async def _watch(self, conversation: UUID) -> None:
        """Retried for as long as the connection lives: the conversation may not be there yet, the database away."""
        socket = self._socket
        while socket is not None and socket is self._socket and conversation not in self._watching:
            seq, ref = self.seqs.get(conversation, 0), self._next_ref()
            self._watches[ref] = (conversation, seq, self.recorder.now)
            await self._ask(ref, frames.Watch(ref=ref, conversation=conversation, seq=seq))
            self._watches.pop(ref, None)
            if conversation not in self._watching:
                await asyncio.sleep(PAUSE_S)

    def _next_ref(self) -> int:
        self._ref += 1
        return self._ref

    async def _ask(self, ref: int, frame: Any) -> Any:
        if not self._welcomed:
            return None
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        self._say(frame)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._answers.pop(ref, None)

    def _say(self, frame: Any) -> None:
        if self._socket is not None:
            put(self._socket, JSON.encode(frame))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

"""A node without HTTP around it, and ends of sockets made of nothing: what gateway tests stand on.

Time is the test's: the clock moves when the test says so, the sweep runs when it is called.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from msgspec import UNSET

from sdk_protocol import frames
from sdk_protocol.bodies import Text
from sdk_protocol.codec import JSON
from sdk_protocol.records import Device, OpeningMessage
from server.config import Config
from server.domain.events import Author, AuthorType
from server.domain.intents import Message
from server.domain.message import Text as AgentText
from server.domain.message import from_struct
from server.gateway.desk_connection import DeskConnection
from server.gateway.user_connection import UserConnection
from server.services.directory import Place
from server.wiring import Node
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from sdk_protocol.codec import Codec
    from sdk_protocol.frames import UserFrame
    from server.services.agents import NewAgent

F = TypeVar("F")
SECRET = "a key that is only good for tests, and long enough"
PATIENCE_S = 10.0


class FakeTransport:
    """Keeps what is sent. `closed` is (code, reason) once the server closed it."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.sent: list[Any] = []
        self.pings = self.ticks = 0
        self.paused = False
        self.closed: tuple[int, str] | None = None
        self.buffered = 0
        self.changed = asyncio.Event()
        self.decode = codec.decode_user_server

    def send(self, frame: str | bytes) -> None:
        if self.closed is None:
            self.sent.append(self.decode(frame))
            self.changed.set()

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self.changed.set()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def tick(self) -> None:
        self.ticks += 1


class End:
    """The far end of a socket."""

    def __init__(self, codec: Codec = JSON) -> None:
        self.transport = FakeTransport(codec)
        self.connection: Any = None
        self.ref = 0

    def say(self, frame: Any) -> None:
        self.connection.on_frame(self.transport.codec.encode(frame))

    def hang_up(self) -> None:
        self.connection.on_close()

    def code(self) -> int | None:
        """The close code, once the server has closed the socket."""
        return self.transport.closed[0] if self.transport.closed else None

    def all(self, kind: type[F]) -> list[F]:
        return [frame for frame in self.transport.sent if isinstance(frame, kind)]

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until `true()` holds; an AssertionError shows what has come so far."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not true():
                    self.transport.changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await self.transport.changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"it did not come: {self.transport.sent[-5:]}, closed: {self.transport.closed}"
            ) from None

    async def one(self, kind: type[F], *, ref: int | None = None, past: int = 0) -> F:
        """The first frame of this kind (with this ref) after `past` others of it."""

        def found() -> list[F]:
            return [frame for frame in self.all(kind) if ref is None or getattr(frame, "ref", None) == ref]

        await self.until(lambda: len(found()) > past)
        return found()[past]

    async def ask(self, frame: Callable[[int], Any]) -> Any:
        """Say a frame that has a ref, and return what answers it."""
        self.ref += 1
        ref = self.ref
        self.say(frame(ref))
        await self.until(lambda: any(getattr(answer, "ref", None) == ref for answer in self.transport.sent))
        return next(answer for answer in self.transport.sent if getattr(answer, "ref", None) == ref)


class Phone(End):
    """A device of one user."""

    def __init__(self, house: House, external_id: str, device_id: UUID | None = None, codec: Codec = JSON) -> None:
        super().__init__(codec)
        self.house = house
        self.external_id = external_id
        self.device_id = device_id or uuid4()
        self.connection = UserConnection(house.node.house, self.transport, codec, f"s{uuid4().hex[:6]}")

    async def hello(
        self,
        *,
        usn: int | None = None,
        epoch: str | None = None,
        foreground: bool = True,
        token: str | None = None,
        attempt: int | None = None,
    ) -> frames.Welcome:
        self.say(
            frames.Hello(
                token=token or await self.house.token(self.external_id),
                device=Device(id=self.device_id, platform="android"),
                usn=UNSET if usn is None else usn,
                epoch=UNSET if epoch is None else epoch,
                foreground=foreground,
                attempt=UNSET if attempt is None else attempt,
            )
        )
        return await self.one(frames.Welcome)

    async def synced(self) -> Phone:
        await self.one(frames.Synced)
        return self

    @property
    def events(self) -> list[frames.Event]:
        return self.all(frames.Event)

    async def open(self, conversation: UUID | None = None, text: str | None = "help") -> UUID:
        conversation = conversation or uuid4()
        message = OpeningMessage(id=uuid4(), body=Text(text=text)) if text else UNSET
        answer = await self.ask(lambda ref: frames.Open(ref=ref, conversation=conversation, message=message))
        assert isinstance(answer, frames.Ok), answer
        return conversation

    async def send(self, conversation: UUID, text: str, message_id: UUID | None = None, **more: Any) -> Any:
        message_id = message_id or uuid4()
        return await self.ask(
            lambda ref: frames.Send(ref=ref, conversation=conversation, id=message_id, body=Text(text=text), **more)
        )


class Desk(End):
    """An agent's socket."""

    def __init__(self, house: House, cookie: tuple[str, str] | None = None) -> None:
        super().__init__(JSON)
        self.transport.decode = JSON.decode_desk_server  # type: ignore[assignment]  # the desk's frames
        self.connection = DeskConnection(house.node.house, self.transport, JSON, cookie)

    async def hello(self, token: str) -> frames.DeskWelcome:
        self.say(frames.DeskHello(token=token))
        return await self.one(frames.DeskWelcome)


class House:
    """A node, an app, an agent, and as many customers as are asked for."""

    def __init__(self, node: Node, clock: FakeClock, app_id: UUID) -> None:
        self.node = node
        self.clock = clock
        self.app_id = app_id

    async def agent(self, email: str = "robin@example.com", app_id: UUID | None = None) -> NewAgent:
        """An agent of the app; a new token each time."""
        return await self.node.services.agents.create(
            email, app_id or self.app_id, name=email.partition("@")[0].title()
        )

    async def token(self, external_id: str, hours: float = 1) -> str:
        token, _ = await self.node.services.identity.issue(self.app_id, external_id, timedelta(hours=hours))
        return token

    async def phone(self, external_id: str = "ada", **hello: Any) -> Phone:
        phone = Phone(self, external_id)
        await phone.hello(**hello)
        return await phone.synced()

    async def desk(self, email: str = "robin@example.com") -> Desk:
        desk = Desk(self)
        await desk.hello((await self.agent(email)).token)
        return desk

    def tick(self, seconds: float) -> None:
        """Let time pass and deadlines be looked at."""
        self.clock.move(seconds)
        for connection in tuple(self.node.house.connections):
            connection.tick(self.clock.monotonic())


@contextlib.asynccontextmanager
async def house_on(url: str, folder: Path, **environ: str) -> AsyncIterator[House]:
    clock = FakeClock()
    config = Config.load({"HOME": str(folder), **environ})
    node = await Node.open(config, clock, url, SECRET, frozenset())
    try:
        made = await node.services.apps.create("Kestrel")
        yield House(node, clock, made.app.app_id)
    finally:
        await node.close()


ROBIN = Author(AuthorType.AGENT, str(uuid4()), "Robin")


def place_of(phone: Phone, conversation: UUID) -> Place:
    app_id, user_id = phone.connection.key
    return Place(app_id, user_id, conversation)


async def answer(house: House, phone: Phone, conversation: UUID, body: Any = None) -> int:
    """An agent's message; returns its seq."""
    place = place_of(phone, conversation)
    message = Message(uuid4(), ROBIN, from_struct(body or AgentText(text="answer")))
    numbered = await house.node.services.messaging.post(place, message)
    assert numbered.seq is not None
    return numbered.seq


async def hello_with(phone: Phone, token: str, attempt: int | None = None) -> UserFrame:
    return frames.Hello(
        token=token,
        device=Device(id=phone.device_id, platform="ios"),
        foreground=True,
        attempt=UNSET if attempt is None else attempt,
    )

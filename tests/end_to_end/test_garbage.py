"""Frames no client should send: the server answers or closes that one socket, and nobody else notices."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.end_to_end.device import Device, numbering_faults
from tests.end_to_end.garbage_frames import Garbage, GarbageSource, Verdict
from tests.end_to_end.rawsocket import (
    ANSWERS,
    CODECS,
    MSGPACK,
    Closed,
    Codec,
    Frame,
    RawSocket,
    desk_hello,
    fresh_id,
    hello,
)
from tests.end_to_end.server_log import unmoved
from tests.end_to_end.tenancy import Ids, RunningServer, Tenant, settle, shared_tenant, text_body

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable

SEED = 20260301
FRAMES_PER_SOCKET = 2600
BATCH = 32
# 4400 is the contract's; the others are RFC 6455's own for the same offence one layer below.
PROTOCOL_CLOSES = {4400, 1002, 1003, 1007, 1009}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(demo_server: RunningServer) -> Tenant:
    return await shared_tenant(demo_server)


@pytest.fixture(autouse=True)
async def the_server_is_unmoved(demo_server: RunningServer) -> AsyncIterator[None]:
    """Around every test here: no stack trace, no error in the log, healthy afterwards."""
    async with unmoved(demo_server):
        yield


def customer_frames(ids: Ids) -> Callable[[random.Random], Frame]:
    """Correct frames of a customer about the own conversation."""

    def build(chance: random.Random) -> Frame:
        text = text_body(f"fine {chance.random()}")
        frames: list[Frame] = [
            {
                "t": "open",
                "conversation": ids.conversation,
                "topic": "again",
                "message": {"id": fresh_id(), "body": text},
            },
            {"t": "send", "conversation": ids.conversation, "id": fresh_id(), "body": text},
            {"t": "send", "conversation": ids.conversation, "id": fresh_id(), "body": text, "after": fresh_id()},
            {"t": "ack", "usn": 0},
            {"t": "read", "conversation": ids.conversation, "seq": 1},
            {"t": "typing", "conversation": ids.conversation, "on": True},
            {"t": "foreground", "on": True},
            {"t": "history", "conversation": ids.conversation, "before": 3, "limit": 5},
            {"t": "rate", "conversation": ids.conversation, "score": 5, "comment": "fine"},
            {"t": "press", "conversation": ids.conversation, "seq": 2, "button": "yes"},
            {"t": "push_token", "provider": "fcm", "token": "some-token"},
            {"t": "refresh", "token": "a.b.c"},
        ]
        return chance.choice(frames)

    return build


def agent_frames(ids: Ids) -> Callable[[random.Random], Frame]:
    """Correct frames of an agent about a conversation of the own app."""

    def build(chance: random.Random) -> Frame:
        text = text_body(f"fine {chance.random()}")
        frames: list[Frame] = [
            {"t": "watch", "conversation": ids.conversation, "seq": 1_000_000},
            {"t": "unwatch", "conversation": ids.conversation},
            {"t": "watch_inbox", "app": ids.app, "filter": {"status": "open"}},
            {"t": "send", "conversation": ids.conversation, "id": fresh_id(), "body": text, "expected_seq": 1_000_000},
            {"t": "note", "conversation": ids.conversation, "id": fresh_id(), "body": text},
            {"t": "typing", "conversation": ids.conversation, "on": False},
            {"t": "read", "conversation": ids.conversation, "seq": 1},
            {"t": "status", "conversation": ids.conversation, "status": "pending"},
            {"t": "assign", "conversation": ids.conversation, "agent": None},
            {"t": "presence", "state": "online"},
        ]
        return chance.choice(frames)

    return build


@dataclass
class Fuzzer:
    """Sends garbage over one door and holds every answer against the verdict."""

    name: str
    connect: Callable[[], Awaitable[RawSocket]]
    source: GarbageSource
    sent: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    closes: Counter[int] = field(default_factory=Counter)

    async def run(self, count: int) -> None:
        socket = await self.connect()
        batch: list[Garbage] = []
        for _ in range(count):
            if len(self.faults) > 4:
                break
            garbage = self.source.next()
            self.sent[garbage.kind] += 1
            if garbage.verdict is Verdict.KEPT:
                batch.append(garbage)
                if len(batch) < BATCH:
                    continue
            socket = await self._harmless(socket, batch)
            batch = []
            if garbage.verdict is not Verdict.KEPT:
                socket = await self._dangerous(socket, garbage)
        socket = await self._harmless(socket, batch)
        await socket.close()

    async def _harmless(self, socket: RawSocket, batch: list[Garbage]) -> RawSocket:
        """A batch that must keep the socket; every `ref` in it is answered exactly once."""
        start = len(socket.received)
        due = Counter(garbage.ref for garbage in batch if garbage.ref is not None)
        try:
            for garbage in batch:
                await socket.send_data(garbage.data)
            await socket.ping()
            for ref in due:
                await socket.wait_for(lambda frame, ref=ref: frame.get("ref") == ref, f"ref {ref}", start=start)  # type: ignore[misc]  # bound early on purpose
        except (Closed, TimeoutError) as failure:
            self.faults.append(
                f"{self.name}: {failure} in a batch that must keep the socket; {await self._reduced(batch)}"
            )
            await socket.drop()
            return await self.connect()
        answered = Counter(
            frame["ref"] for frame in socket.received[start:] if frame["t"] in ANSWERS and frame.get("ref") in due
        )
        if answered != due:
            self.faults.append(f"{self.name}: refs due {due - answered}, answered too often {answered - due}")
        return socket

    async def _reduced(self, batch: list[Garbage]) -> str:
        """The frame that did it, found by sending each on a socket of its own."""
        for garbage in batch:
            socket = await self.connect()
            try:
                await socket.send_data(garbage.data)
                await socket.ping()
                if garbage.ref is not None:
                    ref = garbage.ref
                    await socket.wait_for(lambda frame: frame.get("ref") == ref, "its answer", within=3)  # noqa: B023  # awaited here
            except (Closed, TimeoutError) as failure:
                return f"alone it is {garbage.kind} {garbage.data[:400]!r}: {failure}"
            finally:
                await socket.drop()
        return "no single frame does it alone"

    async def _dangerous(self, socket: RawSocket, garbage: Garbage) -> RawSocket:
        """One frame that may or must end the socket, and then only with a code that says why."""
        try:
            await socket.send_data(garbage.data)
            if garbage.verdict is Verdict.BROKEN:
                await socket.wait_closed()
            else:
                await socket.ping()
                return socket
        except TimeoutError as failure:
            self.faults.append(f"{self.name}: {garbage.kind} {garbage.data[:300]!r}: {failure}")
        except Closed:
            pass
        code = socket.close_code
        self.closes[code] += 1
        if code not in PROTOCOL_CLOSES:
            self.faults.append(f"{self.name}: {garbage.kind} {garbage.data[:300]!r} closed with {code}")
        await socket.drop()
        return await self.connect()


class Witness:
    """A well-behaved customer and an agent who talk on while the others misbehave."""

    def __init__(self, tenant: Tenant, ids: Ids) -> None:
        self.tenant = tenant
        self.ids = ids
        self.device = Device(tenant.url, tenant.user_token(ids.user))
        self.slowest = 0.0
        self.sent: list[str] = []
        self._stop = asyncio.Event()

    async def talk(self) -> None:
        desk, _ = await desk_hello(self.tenant.url, self.tenant.agent["token"])
        await desk.call({"t": "watch", "conversation": self.ids.conversation, "seq": 0})
        await self.device.connect()
        while not self._stop.is_set():
            message = {
                "t": "send",
                "conversation": self.ids.conversation,
                "id": fresh_id(),
                "body": text_body("still here"),
            }
            began = time.monotonic()
            answer = await self.device.socket.call(message)
            assert answer["t"] == "ok", f"a bystander's message was answered by {answer}"
            await self.device.event(id=message["id"])
            await desk.wait_for(lambda frame, wanted=message["id"]: frame.get("id") == wanted, "the desk's copy")  # type: ignore[misc]  # bound early on purpose
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.sent.append(str(message["id"]))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.05)
        await desk.close()

    def stop(self) -> None:
        self._stop.set()


def customer_door(tenant: Tenant, ids: Ids, codec: Codec) -> Callable[[], Awaitable[RawSocket]]:
    device = Device(tenant.url, tenant.user_token(ids.user), codec)

    async def connect() -> RawSocket:
        device.log.clear()
        await device.connect()
        return device.socket

    return connect


def agent_door(tenant: Tenant, codec: Codec) -> Callable[[], Awaitable[RawSocket]]:
    async def connect() -> RawSocket:
        return (await desk_hello(tenant.url, tenant.agent["token"], codec=codec))[0]

    return connect


async def test_ten_thousand_frames(tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    silent = await RawSocket.open(tenant.url, "/v1/chat")
    people = [await settle(tenant) for _ in range(4)]
    witness = Witness(tenant, people[3])
    fuzzers = []
    for seed, codec in enumerate(CODECS):
        customer = customer_door(tenant, people[seed], codec)
        source = GarbageSource(SEED + seed, codec, customer_frames(people[seed]))
        fuzzers.append(Fuzzer(f"customer, {codec.subprotocol}", customer, source))
        source = GarbageSource(SEED + 10 + seed, codec, agent_frames(people[2]))
        fuzzers.append(Fuzzer(f"agent, {codec.subprotocol}", agent_door(tenant, codec), source))
    began = time.monotonic()
    talking = asyncio.create_task(witness.talk())
    await asyncio.gather(*(fuzzer.run(FRAMES_PER_SOCKET) for fuzzer in fuzzers))
    witness.stop()
    await talking
    sent = sum((fuzzer.sent for fuzzer in fuzzers), Counter[str]())
    closes = sum((fuzzer.closes for fuzzer in fuzzers), Counter[int]())
    with capsys.disabled():
        print(
            f"\n  {sent.total()} bad frames in {time.monotonic() - began:.1f} s, closes {dict(closes)}, a bystander's "
            f"{len(witness.sent)} messages took {witness.slowest * 1000:.0f} ms at the worst"
        )
    faults = list(itertools.chain.from_iterable(fuzzer.faults for fuzzer in fuzzers))
    assert not faults, "\n".join(faults)
    assert sent.total() >= 10_000
    assert [event["id"] for event in witness.device.log if event.get("id") in witness.sent] == witness.sent
    assert witness.device.faults == []
    await witness.device.close()
    for ids in people:
        reader = Device(tenant.url, tenant.user_token(ids.user), MSGPACK)
        await reader.connect()
        await reader.close()
        await reader.connect(whole_log=True)
        assert reader.log[0]["usn"] == 1
        assert numbering_faults(reader.log, notes=True) == []
        assert reader.faults == []
        await reader.close()
    assert await silent.wait_closed(within=15) == 4400, "a socket that says nothing closes after 10 s"


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.subprotocol)
@pytest.mark.parametrize("path", ["/v1/chat", "/v1/desk"])
async def test_garbage_instead_of_hello(tenant: Tenant, path: str, codec: Codec) -> None:
    """The first frame is a hello or the end: an `error` may come before the close, nothing else."""
    source = GarbageSource(SEED, codec, lambda _: {"t": "hello", "token": "x", "device": {}, "foreground": True})
    for _ in range(60):
        garbage = source.next()
        socket = await RawSocket.open(tenant.url, path, codec)
        await socket.send_data(garbage.data)
        code = await socket.wait_closed()
        assert code in PROTOCOL_CLOSES | {4401, 4406}, f"{garbage.kind} {garbage.data[:200]!r} closed with {code}"
        assert {frame["t"] for frame in socket.received} <= {"error"}


def websocket_frame(
    opcode: int, payload: bytes, *, first: int = 0x80, masked: bool = True, length: int | None = None
) -> bytes:
    """A frame of RFC 6455 section 5.2 with any of its rules broken; ``length`` lies about the payload."""
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    header = bytes([first | opcode])
    if size < 126:
        header += bytes([mask_bit | size])
    elif size < 1 << 16:
        header += bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        header += bytes([mask_bit | 127]) + size.to_bytes(8, "big")
    return header + (b"\0\0\0\0" if masked else b"") + payload


BROKEN_FRAMING = {
    "a reserved opcode": (websocket_frame(0x3, b"{}"), {1002}),
    "a reserved control opcode": (websocket_frame(0xB, b""), {1002}),
    "a reserved bit": (websocket_frame(0x1, b"{}", first=0xC0), {1002}),
    "a continuation of nothing": (websocket_frame(0x0, b"{}"), {1002}),
    "a message inside a message": (websocket_frame(0x1, b"{", first=0) + websocket_frame(0x1, b"}"), {1002}),
    "a fragmented ping": (websocket_frame(0x9, b"x", first=0), {1002}),
    "a ping of 126 bytes": (websocket_frame(0x9, b"x" * 126), {1002}),
    "a frame without a mask": (websocket_frame(0x1, b'{"t":"ping"}', masked=False), {1002}),
    "text that is not UTF-8": (websocket_frame(0x1, b'{"t":"\xff\xfe"}'), {1007}),
    "fragments that are not UTF-8": (websocket_frame(0x1, b"\xc3", first=0) + websocket_frame(0x0, b"\x28"), {1007}),
    "a close of one byte": (websocket_frame(0x8, b"\x03"), {1002}),
    "a close code nobody may send": (websocket_frame(0x8, (1005).to_bytes(2, "big")), {1002}),
    "a gigabyte announced": (websocket_frame(0x2, b"", length=1 << 30), {1009}),
    "a length above all": (websocket_frame(0x2, b"", length=(1 << 64) - 1), {1002, 1009}),
}


@pytest.mark.parametrize("offence", BROKEN_FRAMING)
async def test_broken_framing(tenant: Tenant, offence: str) -> None:
    data, codes = BROKEN_FRAMING[offence]
    bystander, _ = await hello(tenant.url, tenant.user_token("bystander"))
    for greeted in (False, True):
        if greeted:
            socket, _ = await hello(tenant.url, tenant.user_token("offender"))
        else:
            socket = await RawSocket.open(tenant.url, "/v1/chat")
        socket.write_bytes(data)
        assert await socket.wait_closed() in codes
    await bystander.ping()
    await bystander.close()


async def test_a_frame_in_fragments_is_a_frame(tenant: Tenant) -> None:
    socket, _ = await hello(tenant.url, tenant.user_token("fragments"))
    pieces = [websocket_frame(0x0, bytes([byte]), first=0) for byte in b'{"t":"no such frame","ref":77}']
    pieces[0] = websocket_frame(0x1, b"{", first=0)
    pieces.append(websocket_frame(0x0, b""))
    socket.write_bytes(websocket_frame(0x9, b"in between").join(pieces))
    answer = await socket.wait_for(lambda frame: frame.get("ref") == 77, "the answer")
    assert (answer["t"], answer["code"]) == ("error", "bad_request")
    await socket.close()


async def test_a_flood_of_pings(tenant: Tenant) -> None:
    """Five thousand of each kind, nothing read in between; every frame is answered, a bystander is not kept waiting."""
    flood = 5000
    socket, _ = await hello(tenant.url, tenant.user_token("flood"))
    bystander, _ = await hello(tenant.url, tenant.user_token("bystander"))
    for _ in range(flood):
        socket.write_bytes(websocket_frame(0x9, b"flood") + websocket_frame(0x1, b'{"t":"ping"}'))
    began = time.monotonic()
    await bystander.ping()
    assert time.monotonic() - began < 5
    await socket.ping()
    pongs = sum(frame["t"] == "pong" for frame in socket.received)
    assert pongs == flood + 1
    await socket.close()
    await bystander.close()

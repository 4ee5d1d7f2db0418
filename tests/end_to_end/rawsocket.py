"""A raw client of the wire, written from docs/protocol.md and the HTTP contract alone.

It imports nothing of this project on purpose: a mistake that server and SDK share must not be able to hide here. What
it knows of a frame is what the contract prints: one object, its tag in ``t``, ``ref`` echoed in the answer.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import ssl
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

Frame = dict[str, Any]
ANSWERS = ("ok", "error", "page")


@dataclass(frozen=True)
class Codec:
    """One subprotocol of protocol.md "Transport": its name and both directions."""

    subprotocol: str
    encode: Callable[[Frame], str | bytes]
    decode: Callable[[str | bytes], Any]


def _json_text(frame: Frame) -> str:
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


def _from_text(data: str | bytes) -> Any:
    if not isinstance(data, str):
        raise AssertionError("deskbell.v1.json speaks text frames, a binary one came")
    return json.loads(data)


def _from_binary(data: str | bytes) -> Any:
    if not isinstance(data, bytes):
        raise AssertionError("deskbell.v1.msgpack speaks binary frames, a text one came")
    return msgspec.msgpack.decode(data)


JSON = Codec("deskbell.v1.json", _json_text, _from_text)
MSGPACK = Codec("deskbell.v1.msgpack", msgspec.msgpack.encode, _from_binary)
CODECS = (JSON, MSGPACK)


def fresh_id() -> str:
    """A client-made id (RFC 9562; any version is allowed by protocol.md)."""
    return str(uuid.uuid4())


def sign(identity: Mapping[str, str], app: str, subject: str, *, lifetime: int = 3600, **claims: Any) -> str:
    """An HS256 JWT (RFC 7515, RFC 7519) as the app developer's server would sign it, with the standard library alone.

    ``identity`` is what ``deskbell app create --json`` printed: ``kid, alg, secret``. A claim of None is left out.
    """
    now = int(time.time())
    payload = {"sub": subject, "aud": app, "iat": now, "exp": now + lifetime} | claims
    header = {"alg": "HS256", "typ": "JWT", "kid": identity["kid"]}
    body = {key: value for key, value in payload.items() if value is not None}
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, body))
    signature = hmac.new(identity["secret"].encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Refused(Exception):
    """The WebSocket handshake was answered with plain HTTP, with this ``status`` and these ``headers``."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"handshake refused with HTTP {status}")
        self.status = status
        self.headers = headers


class Closed(Exception):
    """The socket closed while something was awaited; ``code`` is the close code (1006: without a close frame)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"socket closed with {code} {reason!r}")
        self.code = code
        self.reason = reason


def socket_port(port: int) -> int:
    """Where the sockets of the server on `port` are: there; with DESKBELL_TEST_SOCKETS_APART=1, which runs all checks
    on `--gateway-port`, on another."""
    return port - 20_000 if os.environ.get("DESKBELL_TEST_SOCKETS_APART") else port


def _socket_url(url: str) -> str:
    address, _, port = url.removeprefix("http").rpartition(":")
    return f"ws{address}:{socket_port(int(port))}" if port.isdecimal() else f"ws{url.removeprefix('http')}"


class RawSocket:
    """One WebSocket. ``received`` keeps every frame in the order it came; nothing is filtered or repaired."""

    _open: ClassVar[set[RawSocket]] = set()

    def __init__(self, connection: ClientConnection, codec: Codec) -> None:
        self.connection = connection
        self.codec = codec
        self.received: list[Frame] = []
        self.on_frame: Callable[[Frame], Awaitable[None]] | None = None
        self._refs = 0
        self._news = asyncio.Event()
        self._failure: Exception | None = None
        self._reader = asyncio.create_task(self._read())
        self._open.add(self)

    @classmethod
    async def open(
        cls, url: str, path: str, codec: Codec = JSON, *, offered: Sequence[str] | None = None, patience: float = 10.0
    ) -> RawSocket:
        """Connect. ``offered`` replaces the subprotocols (an empty list offers none). A 503 is retried, as protocol.md
        "Keeping alive, draining" asks of a client, until ``patience`` seconds are over. Raises :class:`Refused`."""
        names = [codec.subprotocol] if offered is None else offered
        deadline = time.monotonic() + patience
        while True:
            try:
                connection = await connect(
                    _socket_url(url) + path,
                    subprotocols=[Subprotocol(name) for name in names] or None,
                    compression=None,
                    ping_interval=None,
                    max_size=None,
                    max_queue=None,
                    open_timeout=patience,
                    close_timeout=2,
                    proxy=None,
                )
            except InvalidStatus as refusal:
                response = refusal.response
                if response.status_code != 503 or time.monotonic() > deadline:
                    raise Refused(response.status_code, dict(response.headers.raw_items())) from refusal
                await asyncio.sleep(min(float(response.headers.get("Retry-After", "0.2")), 2.0))
            else:
                return cls(connection, codec)

    async def _read(self) -> None:
        try:
            async for data in self.connection:
                frame = self.codec.decode(data)
                if not isinstance(frame, dict) or not isinstance(frame.get("t"), str):
                    raise AssertionError(f"a frame is an object tagged by `t`, came: {data!r:.200}")
                self.received.append(frame)
                if self.on_frame is not None:
                    await self.on_frame(frame)
                self._news.set()
        except ConnectionClosed:
            pass
        except Exception as failure:
            self._failure = failure
        finally:
            self._open.discard(self)
            self._news.set()

    @classmethod
    async def drop_all(cls) -> None:
        """Drop what a failed check left open, so that it does not show up as a leak of the next one."""
        for socket in list(cls._open):
            with suppress(Exception):
                await socket.drop()

    @property
    def is_closed(self) -> bool:
        return self._reader.done()

    @property
    def close_code(self) -> int:
        return self.connection.close_code or 1006

    def _raise_end(self) -> None:
        if self._failure is not None:
            raise self._failure
        raise Closed(self.close_code, self.connection.close_reason or "")

    async def send(self, frame: Frame) -> None:
        await self.send_data(self.codec.encode(frame))

    async def send_data(self, data: str | bytes) -> None:
        """Send one message as it stands: str as a text frame, bytes as a binary one. Raises :class:`Closed`."""
        try:
            await self.connection.send(data)
        except ConnectionClosed:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._reader], timeout=2)
            self._raise_end()

    def write_bytes(self, data: bytes) -> None:
        """Put bytes on the TCP connection beside the WebSocket framing, to break the framing itself."""
        self.connection.transport.write(data)

    async def wait_for(
        self, wanted: Callable[[Frame], bool], what: str, *, within: float = 10.0, start: int = 0
    ) -> Frame:
        """The first ``wanted`` frame of ``received[start:]``. Raises :class:`Closed` or TimeoutError."""
        deadline = time.monotonic() + within
        position = start
        while True:
            self._news.clear()
            while position < len(self.received):
                if wanted(self.received[position]):
                    return self.received[position]
                position += 1
            if self.is_closed:
                self._raise_end()
            try:
                await asyncio.wait_for(self._news.wait(), deadline - time.monotonic())
            except TimeoutError:
                tail = [frame.get("t") for frame in self.received[start:]][-12:]
                raise TimeoutError(f"{what} did not come within {within:g} s; came since: {tail}") from None

    def next_ref(self) -> int:
        self._refs += 1
        return self._refs

    async def call(self, frame: Frame, *, within: float = 12.0) -> Frame:
        """Send with a fresh ``ref``; returns the ``ok``, ``error`` or ``page``, due within 10 s (protocol.md)"""
        ref = self.next_ref()
        start = len(self.received)
        await self.send(frame | {"ref": ref})
        return await self.wait_for(
            # `watch_inbox` is answered by the inbox itself.
            lambda answer: (
                (answer.get("ref") == ref and answer["t"] in ANSWERS)
                or (frame["t"] == "watch_inbox" and answer["t"] == "inbox" and answer["full"])
            ),
            f"the answer to {frame['t']}",
            within=within,
            start=start,
        )

    async def ping(self) -> None:
        """A ``ping`` frame and its ``pong``: everything sent before has been looked at by then."""
        start = len(self.received)
        await self.send({"t": "ping"})
        await self.wait_for(lambda frame: frame["t"] == "pong", "pong", start=start)

    async def wait_closed(self, within: float = 10.0) -> int:
        """Wait until the other side has closed and return the close code. Raises TimeoutError."""
        done, _ = await asyncio.wait([self._reader], timeout=within)
        if not done:
            raise TimeoutError(f"the socket is still open after {within:g} s")
        return self.close_code

    async def drop(self) -> None:
        """Lose the network: no close frame, the TCP connection is simply gone."""
        self.connection.transport.abort()
        await asyncio.wait([self._reader], timeout=2)

    async def close(self) -> None:
        await self.connection.close()
        await asyncio.wait([self._reader], timeout=2)


async def say_hello(
    socket: RawSocket, token: str, *, device: str | None = None, usn: int | None = None, epoch: str | None = None
) -> Frame:
    """The first frame of a customer's socket; returns its ``welcome``.

    Raises AssertionError when something else than a welcome answers, :class:`Closed` when the socket closes instead.
    """
    frame: Frame = {
        "t": "hello",
        "token": token,
        "device": {"id": device or fresh_id(), "platform": "other", "sdk": "blackbox/1"},
        "foreground": True,
    }
    if usn is not None:
        frame |= {"usn": usn, "epoch": epoch}
    await socket.send(frame)
    return await _welcome(socket)


async def hello(url: str, token: str, *, codec: Codec = JSON, device: str | None = None) -> tuple[RawSocket, Frame]:
    """Connect to ``/v1/chat``, say hello, wait for ``synced``; raises like :func:`say_hello`."""
    socket = await RawSocket.open(url, "/v1/chat", codec)
    welcome = await say_hello(socket, token, device=device)
    await socket.wait_for(lambda frame: frame["t"] == "synced", "synced")
    return socket, welcome


async def _welcome(socket: RawSocket) -> Frame:
    first = await socket.wait_for(lambda _: True, "the answer to hello")
    if first["t"] != "welcome":
        raise AssertionError(f"hello is answered by welcome, came: {first}")
    return first


async def desk_hello(url: str, token: str, *, codec: Codec = JSON) -> tuple[RawSocket, Frame]:
    """Connect to ``/v1/desk`` as an agent; returns the socket and its ``welcome``. Raises like :func:`say_hello`."""
    socket = await RawSocket.open(url, "/v1/desk", codec)
    await socket.send({"t": "hello", "token": token})
    return socket, await _welcome(socket)


class Rest:
    """The HTTP doors with one bearer token; answers are plain ``httpx`` responses, nothing is raised on a status.

    A connection a request: nothing is left open, and no answer can depend on the connection it came over.
    """

    _tls = ssl.create_default_context()

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(base_url=self.url, verify=self._tls, timeout=15, trust_env=False) as client:
            if body is None:
                return await client.request(method, path, headers=sent)
            return await client.request(method, path, json=body, headers=sent)

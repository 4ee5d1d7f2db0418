"""A small HTTP server for fake push providers: HTTP/1.1, and HTTP/2 where TLS negotiates it, over real sockets.

It exists because a fake has to misbehave below HTTP: drop a connection after the request arrived, never answer a
stream, allow few streams at a time. Web servers take care that such things do not happen.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h11

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole. `protocol`: `HTTP/1.1` or `HTTP/2`; `connection`: a number per accepted connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    protocol: str
    connection: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; `body` is sent as it is."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


class Drop(Exception):
    """Raised by a handler: cut the whole connection without an answer."""


Handler: TypeAlias = "Callable[[Request], Awaitable[Answer]]"


class ProviderServer:
    """`async with ProviderServer(handler).listening(): …`; `port` is known inside.

    max_streams: how many HTTP/2 streams a connection may have open at a time.
    """

    def __init__(
        self, handler: Handler, *, port: int = 0, tls: ssl.SSLContext | None = None, max_streams: int = 100
    ) -> None:
        self.port = port
        self.connections = 0
        self._handler = handler
        self._tls = tls
        self._max_streams = max_streams
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[ProviderServer]:
        """Serve until the block is left; then everything still open is cut."""
        server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, ssl=self._tls, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._spawn(self._serve(reader, writer, self.connections))

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            tls = writer.get_extra_info("ssl_object")
            if tls is not None and tls.selected_alpn_protocol() == "h2":
                await _Http2(self, reader, writer, number, self._max_streams).run()
            else:
                await self._http1(reader, writer, number)
        except (Drop, ConnectionError, h11.RemoteProtocolError, h2.exceptions.ProtocolError):
            pass  # the client left, or is to be left
        finally:
            writer.transport.abort()

    async def _http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            request = await self._read_http1(http, reader, number)
            if request is None:
                return
            answer = await self._handler(request)
            headers = {**answer.headers, "content-length": str(len(answer.body))}
            writer.write(
                (http.send(h11.Response(status_code=answer.status, headers=list(headers.items()))) or b"")
                + (http.send(h11.Data(data=answer.body)) or b"")
                + (http.send(h11.EndOfMessage()) or b"")
            )
            await writer.drain()
            if http.our_state is h11.MUST_CLOSE:
                return
            http.start_next_cycle()

    async def _read_http1(self, http: h11.Connection, reader: asyncio.StreamReader, number: int) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode(): text.decode("latin-1") for name, text in head.headers}
                return Request(head.method.decode(), head.target.decode(), headers, body, "HTTP/1.1", number)
            else:
                return None


class _Http2:
    """One HTTP/2 connection; every stream is answered by a task of its own."""

    def __init__(
        self,
        server: ProviderServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        max_streams: int,
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._number = number
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._http.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: max_streams}
        )
        self._heads: dict[int, dict[str, str]] = {}
        self._bodies: dict[int, bytes] = {}

    async def run(self) -> None:
        self._http.initiate_connection()
        await self._flush()
        while received := await self._reader.read(65536):
            for event in self._http.receive_data(received):
                self._take(event)
            await self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._heads[event.stream_id] = {str(name): str(text) for name, text in event.headers or []}
            self._bodies[event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data or b""
            self._http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._server._spawn(self._answer(event.stream_id))

    async def _answer(self, stream: int) -> None:
        headers = self._heads.pop(stream)
        request = Request(
            headers[":method"], headers[":path"], headers, self._bodies.pop(stream), "HTTP/2", self._number
        )
        try:
            answer = await self._server._handler(request)
            fields = {":status": str(answer.status), **answer.headers, "content-length": str(len(answer.body))}
            self._http.send_headers(stream, list(fields.items()))
            self._http.send_data(stream, answer.body, end_stream=True)
            await self._flush()
        except Drop:
            self._writer.transport.abort()
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass  # the client gave up on this stream or this connection

    async def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())
        await self._writer.drain()

"""What server/outgoing/interface.py promises, for every implementation, against real sockets with and without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from standardwebhooks import Webhook

from server.clock import SystemClock
from server.config_values import Secret, networks
from server.outgoing.aiohttp import AiohttpOutgoing
from server.outgoing.interface import Answered, Call, Outcome, Outgoing, Refused, Unreachable
from server.outgoing.late import LateOutgoing
from server.outgoing.signing import new_secret
from tests.support.loopback import only_loopback
from tests.support.provider_server import Answer, Drop, ProviderServer, Request
from tests.support.tls import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

SECRET = new_secret()
LOOPBACK = networks("127.0.0.0/8,::1/128")


@dataclass
class Stage:
    """A receiver and what calls it. `handler` is replaced by tests; `made` makes another caller of the same kind."""

    url: str
    server: ProviderServer
    outgoing: Outgoing
    made: Callable[..., Outgoing]
    received: list[Request] = field(default_factory=list)
    answers: list[Answer | Exception] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def handle(self, request: Request) -> Answer:
        self.received.append(request)
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else Answer(200, b'{"fine":true}')
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def post(self, url: str | None = None, **more: Any) -> Outcome:
        return await self.outgoing.post(a_call(url or self.url, **more))


def a_call(url: str, **more: Any) -> Call:
    return Call(**{"url": url, "id": "msg-1", "body": b'{"n":1}', "secrets": (Secret(SECRET),)} | more)


@contextlib.asynccontextmanager
async def aiohttp(folder: Path, *, tls: bool, late: bool = False) -> AsyncIterator[Stage]:
    authority = Authority(folder)
    made: list[Outgoing] = []

    def make(allowed: Any = LOOPBACK, **more: Any) -> Outgoing:
        real = AiohttpOutgoing(SystemClock(), allowed, ca=authority.ca_path, **more)
        made.append(LateOutgoing(lambda: real) if late else real)
        return made[-1]

    stage: Stage | None = None

    async def handle(request: Request) -> Answer:
        assert stage is not None
        return await stage.handle(request)

    server = ProviderServer(handle, tls=authority.server_context("http/1.1") if tls else None)
    async with server.listening():
        stage = Stage(f"http{'s' * tls}://localhost:{server.port}/hook", server, make(), make)
        yield stage
        for each in made:
            await each.close()


STAGES: dict[str, Callable[[Path], AbstractAsyncContextManager[Stage]]] = {
    "aiohttp": functools.partial(aiohttp, tls=False),
    "aiohttp-tls": functools.partial(aiohttp, tls=True),
    "aiohttp-late": functools.partial(aiohttp, tls=False, late=True),
}


@pytest.fixture(autouse=True)
def stay_on_this_machine() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with STAGES[request.param](tmp_path) as made:
        yield made


async def test_a_call_arrives_signed_and_is_answered(stage: Stage) -> None:
    body = '{"text":"grüß dich"}'.encode()
    outcome = await stage.post(body=body, headers={"Idempotency-Key": "k"}, secrets=(Secret(SECRET),))
    assert outcome == Answered(status=200, body=b'{"fine":true}')
    (request,) = stage.received
    assert (request.method, request.path, request.body) == ("POST", "/hook", body)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "k"
    assert Webhook(SECRET).verify(request.body, request.headers) == {"text": "grüß dich"}


async def test_every_secret_signs(stage: Stage) -> None:
    old, new = new_secret(), new_secret()
    await stage.post(secrets=(Secret(new), Secret(old)))
    for secret in (old, new):
        Webhook(secret).verify(stage.received[0].body, stage.received[0].headers)


@pytest.mark.parametrize("status", [204, 400, 404, 410, 429, 500, 503])
async def test_an_error_is_an_answer(stage: Stage, status: int) -> None:
    stage.answers = [Answer(status, b"", {"Retry-After": "120"})]
    assert await stage.post() == Answered(status=status, retry_after=120.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(stage: Stage, status: int) -> None:
    stage.answers = [Answer(status, b"", {"Location": stage.url + "/elsewhere"})]
    assert await stage.post() == Answered(status=status)
    assert len(stage.received) == 1


async def test_a_large_answer_is_not_read_to_its_end(stage: Stage) -> None:
    stage.answers = [Answer(200, b"x" * 5_000_000)]
    assert await stage.post(most_answer_bytes=1000) == Answered(status=200, body=b"x" * 1000, truncated=True)
    assert await stage.post(most_answer_bytes=13) == Answered(status=200, body=b'{"fine":true}')  # exactly as large


async def test_a_call_ends_in_time(stage: Stage) -> None:
    stage.hold = asyncio.Event()
    began = time.monotonic()
    outcome = await stage.post(within_s=0.2)
    assert isinstance(outcome, Unreachable)
    assert outcome.sent
    assert "0.2 s" in outcome.reason
    assert time.monotonic() - began < 5


async def test_a_connection_that_breaks_is_an_outcome(stage: Stage) -> None:
    stage.answers = [Drop()]
    outcome = await stage.post()
    assert isinstance(outcome, Unreachable)
    assert outcome.sent


async def test_nobody_there(stage: Stage) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{taken.getsockname()[1]}/"
        outcome = await stage.post(url)
    assert outcome == Unreachable(reason="the connection was refused", sent=False)


async def test_no_such_name(stage: Stage) -> None:
    def nowhere(_host: str, _port: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "nothing known")

    outcome = await stage.made(lookup=nowhere).post(a_call("https://nowhere.test/"))
    assert outcome == Unreachable(reason="its name has no address", sent=False)


async def test_what_is_not_http_is_an_outcome(stage: Stage) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"220 smtp.example ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        outcome = await stage.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert isinstance(outcome, Unreachable)
    assert outcome.sent


async def test_certificates_are_verified(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = ProviderServer(stage.handle, tls=Authority(tmp_path / "other").server_context("http/1.1"))
    async with stranger.listening():
        outcome = await stage.post(f"https://localhost:{stranger.port}/")
    assert outcome == Unreachable(reason="its certificate is not valid", sent=False)
    assert stage.received == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "2130706433", "0x7f.1", "127.1"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_this_very_machine_is_refused_however_it_is_written(stage: Stage, scheme: str, host: str) -> None:
    outcome = await stage.made(()).post(a_call(f"{scheme}://{host}:{stage.server.port}/"))
    assert isinstance(outcome, Refused)
    assert stage.server.connections == 0


def leading_to(*addresses: str) -> Callable[[str, int], list[tuple[Any, ...]]]:
    """A name that leads there, and to the next ones when it is asked again; the last one stays."""
    left = list(addresses)

    def lookup(_host: str, port: int) -> list[tuple[Any, ...]]:
        address = left.pop(0) if len(left) > 1 else left[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = (address, port, 0, 0) if ":" in address else (address, port)
        return [(family, socket.SOCK_STREAM, 6, "", where)]

    return lookup


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00::1", "fe80::1", "64:ff9b::7f00:1"],
)
async def test_a_name_that_leads_inside_is_refused(stage: Stage, address: str) -> None:
    outgoing = stage.made((), lookup=leading_to(address))
    outcome = await outgoing.post(a_call(f"https://hooks.example.com:{stage.server.port}/"))
    assert isinstance(outcome, Refused)
    assert stage.server.connections == 0


async def test_a_name_that_changes_its_mind_is_refused(stage: Stage) -> None:
    """DNS rebinding: good when it was looked at, bad when it is called."""
    outgoing = stage.made(networks("::1/128"), lookup=leading_to("::1", "127.0.0.1"))
    url = f"http://hooks.example.com:{stage.server.port}/"
    first = await outgoing.post(a_call(url))
    assert isinstance(first, Unreachable)  # allowed, only nobody listens there
    assert isinstance(await outgoing.post(a_call(url)), Refused)
    assert stage.server.connections == 0


async def test_the_guard_is_where_sockets_are_made(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a resolver's answer ever get past the check of names, the connection is still not made."""

    async def unchecked(*_: Any, **__: Any) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr("server.outgoing.names.Names.addresses", unchecked)
    outcome = await stage.made(()).post(a_call(f"https://hooks.example.com:{stage.server.port}/"))
    assert isinstance(outcome, Refused)
    assert stage.server.connections == 0


async def test_of_several_addresses_the_good_one_is_called(stage: Stage) -> None:
    def both(_host: str, port: int) -> list[tuple[Any, ...]]:
        return [*leading_to("10.0.0.1")("", port), *leading_to("127.0.0.1")("", port)]

    outcome = await stage.made(LOOPBACK, lookup=both).post(a_call(stage.url))
    assert isinstance(outcome, Answered)


async def test_http_does_not_leave_the_allowed_networks(stage: Stage) -> None:
    outgoing = stage.made(LOOPBACK, lookup=leading_to("93.184.216.34"))
    outcome = await outgoing.post(a_call("http://hooks.example.com/"))
    assert isinstance(outcome, Refused)
    assert "https" in outcome.reason


async def test_the_environment_is_not_asked(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine localhost login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(await stage.post(), Answered)
    assert "authorization" not in stage.received[0].headers


async def test_cookies_do_not_travel_from_one_call_to_the_next(stage: Stage) -> None:
    stage.answers = [Answer(200, b"", {"Set-Cookie": "who=kestrel; Path=/"})]
    await stage.post()
    await stage.post()
    assert "cookie" not in stage.received[1].headers


async def test_connections_to_a_host_are_bounded_and_used_again(stage: Stage) -> None:
    outgoing = stage.made(LOOPBACK, per_host=3)
    outcomes = await asyncio.gather(*[outgoing.post(a_call(stage.url)) for _ in range(30)])
    assert all(isinstance(outcome, Answered) for outcome in outcomes)
    assert stage.server.connections <= 3


async def test_a_slow_host_does_not_keep_another_waiting(stage: Stage) -> None:
    stage.hold = asyncio.Event()
    slow = [asyncio.ensure_future(stage.post(within_s=30)) for _ in range(40)]

    async def quick(_: Request) -> Answer:
        return Answer(204, b"")

    other = ProviderServer(quick)
    async with other.listening():
        assert await stage.post(f"http://127.0.0.1:{other.port}/", within_s=10) == Answered(status=204)
    stage.hold.set()
    assert all(isinstance(outcome, Answered) for outcome in await asyncio.gather(*slow))


async def test_nothing_that_is_secret_is_said(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    stage.answers = [Answer(200), Drop()]
    with structlog.testing.capture_logs() as lines:
        for body in (b'{"pin":"4711"}', b'{"pin":"4711"}'):
            await stage.post(body=body)
    said = caplog.text + repr(lines) + repr(a_call("https://a.example/?key=4711", body=b'"4711"'))
    assert "4711" not in said
    assert SECRET.removeprefix("whsec_") not in said

"""Requests no client should send: raw bytes, odd handshakes, and schemathesis along `/openapi.json`. Never a 5xx."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.end_to_end.deskbell_process import clean_environment
from tests.end_to_end.rawsocket import RawSocket, Refused, hello
from tests.end_to_end.server_log import unmoved
from tests.end_to_end.tenancy import RunningServer, Tenant, settle, shared_tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SEED = 20260301
HANDSHAKE = (
    b"GET /v1/chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenant(demo_server: RunningServer) -> Tenant:
    created = await shared_tenant(demo_server)
    await settle(created)
    return created


@pytest.fixture(autouse=True)
async def the_server_is_unmoved(demo_server: RunningServer) -> AsyncIterator[None]:
    """Around every test here: no stack trace, no error in the log, healthy afterwards."""
    async with unmoved(demo_server):
        yield


async def raw_answer(url: str, data: bytes) -> bytes:
    """What comes back for these bytes on a bare TCP connection, up to its first line's end or one second of silence."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    answer = b""
    with suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        with suppress(TimeoutError):
            answer = await asyncio.wait_for(reader.read(4096), 1)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answer


def broken_requests(count: int) -> list[bytes]:
    chance = random.Random(SEED)
    requests = [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"POST /admin/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /admin/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        b"POST /admin/v1/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%00%ff%fe/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/users/%00 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /v1/users/x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n",
        HANDSHAKE.replace(b": 13", b": 7"),
        HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        HANDSHAKE.replace(b"GET", b"POST"),
        HANDSHAKE.replace(b"Upgrade: websocket\r\n", b""),
        HANDSHAKE.replace(b"/v1/chat", b"/v1/nowhere"),
        HANDSHAKE + b"\xff" * 500,
    ]
    while len(requests) < count:
        kind = chance.random()
        if kind < 0.5:
            requests.append(chance.randbytes(chance.randint(1, 400)))
        else:
            base = bytearray(chance.choice([HANDSHAKE, requests[5], requests[10]]))
            for _ in range(3):
                base[chance.randrange(len(base))] = chance.randrange(256)
            requests.append(bytes(base))
    return requests


async def test_bytes_that_are_not_http(demo_server: RunningServer) -> None:
    for data in broken_requests(150):
        answer = await raw_answer(demo_server.url, data)
        status = answer.split(b" ", 2)[1:2] if answer.startswith(b"HTTP/") else []
        assert status == [] or status[0] < b"500", f"{data[:200]!r} is answered by {answer[:200]!r}"


async def test_subprotocols(tenant: Tenant) -> None:
    for path in ("/v1/chat", "/v1/desk"):
        with pytest.raises(Refused) as refusal:
            await RawSocket.open(tenant.url, path, offered=["deskbell.v99.json", "soap"])
        assert refusal.value.status == 400
        chosen = {}
        for offered in ([], ["deskbell.v1.json"], ["deskbell.v1.msgpack"], ["soap", "deskbell.v1.msgpack"]):
            socket = await RawSocket.open(tenant.url, path, offered=offered)
            chosen[tuple(offered)] = socket.connection.subprotocol
            await socket.close()
        assert list(chosen.values()) == [None, "deskbell.v1.json", "deskbell.v1.msgpack", "deskbell.v1.msgpack"]
    with pytest.raises(Refused) as refusal:
        await RawSocket.open(tenant.url, "/v1/nowhere")
    assert 400 <= refusal.value.status < 500


CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


@pytest.mark.parametrize(
    ("credential", "paths", "seconds"),
    [("server key", "^/v1/", 11), ("agent token", "^/admin/", 11), ("none", "^/", 4)],
    ids=["server-key", "agent-token", "none"],
)
async def test_schemathesis(tenant: Tenant, tmp_path: Path, credential: str, paths: str, seconds: int) -> None:
    """Requests made from the published schema, right and wrong ones, while a customer stays connected: no 5xx, and no
    answer that the schema does not announce."""
    token = {"server key": tenant.server_key, "agent token": tenant.agent["token"]}.get(credential)
    bystander, _ = await hello(tenant.url, tenant.user_token("bystander"))
    schemathesis = await asyncio.create_subprocess_exec(
        os.path.join(os.path.dirname(sys.executable), "schemathesis"),
        "run",
        f"{tenant.url}/openapi.json",
        *(() if token is None else ("-H", f"Authorization: Bearer {token}")),
        *("--phases", "examples,coverage,fuzzing", "--max-time", str(seconds), "--seed", str(SEED)),
        *("--include-path-regex", paths, "--checks", CHECKS),
        *("--continue-on-failure", "--request-timeout", "15"),
        *("--generation-database", "none", "--warnings", "off", "--no-color"),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(schemathesis.communicate(), seconds + 60)
    finally:
        if schemathesis.returncode is None:
            schemathesis.kill()
            await schemathesis.wait()
    assert schemathesis.returncode == 0, output.decode(errors="replace")[-6000:]
    await bystander.ping()
    await bystander.close()

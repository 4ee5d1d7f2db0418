"""`--gateway-port` as an operator meets it: the sockets on a port of their own, beside the port that has every door.

DESKBELL_TEST_SOCKETS_APART=1 runs all the other checks of this folder on such a port.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.end_to_end.deskbell_process import DeskbellProcess, free_port
from tests.end_to_end.rawsocket import MSGPACK, RawSocket, Refused, desk_hello, fresh_id, hello, sign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Running:
    """A demo; `url`: the port of every door, `gateway`: that of the sockets. It lets in five sockets in an hour."""

    process: DeskbellProcess
    url: str
    gateway: str

    def token(self, user: str) -> str:
        return sign(self.process.ready["identity"], self.process.ready["app"], user)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.delenv("DESKBELL_TEST_SOCKETS_APART", raising=False)
    port, gateway = free_port(), free_port()
    process = DeskbellProcess(
        tmp_path / "data",
        port,
        tmp_path / "demo.log",
        DESKBELL_GATEWAY_PORT=str(gateway),
        DESKBELL_ADMIT_SOCKETS="5/3600",
    )
    try:
        process.start()
        yield Running(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{gateway}")
    finally:
        process.sweep()


async def test_both_ports_are_doors_of_one_node(running: Running) -> None:
    token = running.token("ada")
    here, _ = await hello(running.gateway, token, codec=MSGPACK)
    there, _ = await hello(running.url, token)
    desk, welcome = await desk_hello(running.gateway, running.process.ready["agent"]["token"])
    assert welcome["agent"]["email"] == running.process.ready["agent"]["email"]
    conversation, message = fresh_id(), fresh_id()
    await here.call(
        {
            "t": "open",
            "conversation": conversation,
            "message": {"id": message, "body": {"kind": "text", "text": "Where is my ride? 🚕"}},
        }
    )
    await desk.call({"t": "watch", "conversation": conversation, "seq": 0})
    for socket in (here, there, desk):
        event = await socket.wait_for(lambda frame: frame.get("id") == message, "the message")
        assert event["body"]["text"] == "Where is my ride? 🚕"

    # One admission counts the sockets of both: five have a place, three have come.
    await RawSocket.open(running.url, "/v1/chat")
    await RawSocket.open(running.gateway, "/v1/chat")
    for url in (running.url, running.gateway):
        with pytest.raises(Refused) as refused:
            await RawSocket.open(url, "/v1/chat", patience=1)
        assert refused.value.status == 503
        assert any(name.lower() == "retry-after" for name in refused.value.headers)
    await RawSocket.drop_all()


async def test_the_sockets_port_has_nothing_else(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.gateway, trust_env=False) as client:
        answers = {
            path: (await client.get(path)).status_code for path in ("/v1/chat", "/v1/desk", "/livez", "/desk", "/")
        }
        admin = await client.post("/admin/v1/session", json={})
    assert answers == {"/v1/chat": 426, "/v1/desk": 426, "/livez": 404, "/desk": 404, "/": 404}
    assert admin.status_code == 400


async def test_told_to_go_it_closes_the_sockets_with_4000_and_leaves_nothing(running: Running) -> None:
    greeted, _ = await hello(running.gateway, running.token("ada"))
    silent = await RawSocket.open(running.gateway, "/v1/desk")
    assert await asyncio.to_thread(running.process.terminate) == 0
    assert await greeted.wait_closed() == 4000
    assert await silent.wait_closed() == 4000
    assert any(frame["t"] == "drain" for frame in greeted.received)
    assert running.process.left_behind() == []
    assert "Traceback" not in running.process.log_tail()

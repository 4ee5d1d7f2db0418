"""Handshakes: what is spoken, who is let in, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from server.gateway.doors import Doors
from server.services.rates import Rates
from server.services.vault import WrongKey
from server.wiring import Node

if TYPE_CHECKING:
    from tests.server.gateway.phone import House

HELLO_FIRST = '{"t":"ping"}'


class Handshake:
    """An ASGI server's side of one WebSocket."""

    def __init__(self, *frames: str, subprotocols: tuple[str, ...] = ()) -> None:
        self.scope: dict[str, Any] = {"type": "websocket", "subprotocols": list(subprotocols), "headers": []}
        self.sent: list[dict[str, Any]] = []
        self._received: list[dict[str, Any]] = [
            {"type": "websocket.connect"},
            *({"type": "websocket.receive", "text": frame} for frame in frames),
            {"type": "websocket.disconnect", "code": 1006},
        ]

    async def receive(self) -> dict[str, Any]:
        return self._received.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def doors(house: House, burst: int | None = None) -> Doors:
    return Doors(house.node.house, Rates(house.clock, burst, 1.0, "new sockets"), lambda _scope: None)


@pytest.mark.parametrize(
    ("offered", "accepted"),
    [
        ((), None),
        (("deskbell.v1.json",), "deskbell.v1.json"),
        (("chat", "deskbell.v1.msgpack", "deskbell.v1.json"), "deskbell.v1.msgpack"),
    ],
)
async def test_the_first_subprotocol_we_speak(house: House, offered: tuple[str, ...], accepted: str | None) -> None:
    handshake = Handshake(subprotocols=offered)
    await doors(house).chat(handshake.scope, handshake.receive, handshake.send)

    assert handshake.sent[0] == {"type": "websocket.accept", "subprotocol": accepted}
    assert not house.node.house.connections


async def test_only_unknown_subprotocols_are_refused_before_the_handshake(house: House) -> None:
    handshake = Handshake(subprotocols=("chat", "deskbell.v9.json"))
    await doors(house).desk(handshake.scope, handshake.receive, handshake.send)

    assert (handshake.sent[0]["type"], handshake.sent[0]["status"]) == ("websocket.http.response.start", 400)
    assert b"deskbell.v1.json or deskbell.v1.msgpack" in handshake.sent[1]["body"]


async def test_too_many_at_once_are_told_when_to_come_back(house: House) -> None:
    gate = doors(house, burst=2)
    outcomes = []
    for _ in range(4):
        handshake = Handshake()
        await gate.chat(handshake.scope, handshake.receive, handshake.send)
        outcomes.append(handshake.sent[0])
    house.clock.move(1)
    later = Handshake()
    await gate.chat(later.scope, later.receive, later.send)

    assert [outcome.get("status", 101) for outcome in outcomes] == [101, 101, 503, 503]
    waits = [int(dict(outcome["headers"])[b"retry-after"]) for outcome in outcomes[2:]]
    assert all(1 <= wait <= 7 for wait in waits)
    assert later.sent[0]["type"] == "websocket.accept"


async def test_a_node_that_leaves_takes_nobody_in(house: House) -> None:
    house.node.house.draining = True
    handshake = Handshake()
    await doors(house).chat(handshake.scope, handshake.receive, handshake.send)

    assert handshake.sent[0]["status"] == 503
    assert dict(handshake.sent[0]["headers"])[b"retry-after"] == b"5"


async def test_a_refusal_goes_out_with_its_close_code(house: House) -> None:
    handshake = Handshake(HELLO_FIRST)
    original = handshake.receive

    async def receive() -> dict[str, Any]:
        message = await original()
        if message["type"] == "websocket.disconnect":
            while not any(sent["type"] == "websocket.close" for sent in handshake.sent):
                await house.clock.sleep(0)
        return message

    await doors(house).chat(handshake.scope, receive, handshake.send)

    assert handshake.sent[-1]["type"] == "websocket.close"
    assert handshake.sent[-1]["code"] == 4400


async def test_a_node_with_another_secret_key_does_not_start(house: House, database_url: str) -> None:
    with pytest.raises(WrongKey, match="DESKBELL_SECRET_KEY"):
        await Node.open(
            house.node.config, house.clock, database_url, "another key, as long as it has to be", frozenset()
        )

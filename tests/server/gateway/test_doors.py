"""Who may come in: what is spoken, and how many at once (over the wire: `tests/contracts/test_gateway_*.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk_protocol.codec import JSON
from server.gateway.doors import CHAT, DESK, Doors, Entry, Refusal
from server.services.rates import Rates
from server.services.vault import WrongKey
from server.wiring import Node
from tests.server.gateway.phone import FakeTransport

if TYPE_CHECKING:
    from tests.server.gateway.phone import House


def doors(house: House, burst: int | None = None) -> Doors:
    return Doors(
        house.node.house,
        Rates(house.clock, burst, 1.0, "new sockets"),
        lambda headers: ("secret", "csrf") if ("cookie", "c") in headers else None,
    )


@pytest.mark.parametrize(
    ("offered", "accepted", "spoken"),
    [
        ((), None, "deskbell.v1.json"),
        (("deskbell.v1.json",), "deskbell.v1.json", "deskbell.v1.json"),
        (("chat", "deskbell.v1.msgpack", "deskbell.v1.json"), "deskbell.v1.msgpack", "deskbell.v1.msgpack"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, DESK])
async def test_the_first_subprotocol_we_speak(
    house: House, path: str, offered: tuple[str, ...], accepted: str | None, spoken: str
) -> None:
    entry = doors(house).enter(path, offered, [])
    assert isinstance(entry, Entry)
    assert entry.subprotocol == accepted
    assert not house.node.house.connections, "only a socket makes a connection"
    connection = entry.connect(FakeTransport(JSON))
    assert (connection.codec.subprotocol, connection.door) == (spoken, path.removeprefix("/v1/"))
    connection.on_close()


def test_only_unknown_subprotocols_are_refused(house: House) -> None:
    refusal = doors(house).enter(DESK, ("chat", "deskbell.v9.json"), [])
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert "deskbell.v1.json or deskbell.v1.msgpack" in refusal.detail


@pytest.mark.parametrize("path", ["/", "/v1/chat/", "/v1/chats", "/v2/chat"])
def test_there_are_two_doors(house: House, path: str) -> None:
    refusal = doors(house, burst=1).enter(path, (), [])
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404


def test_too_many_at_once_are_told_when_to_come_back(house: House) -> None:
    gate = doors(house, burst=2)
    outcomes = [gate.enter(CHAT, (), []) for _ in range(4)]
    house.clock.move(1)
    later = gate.enter(CHAT, (), [])

    assert [outcome.status if isinstance(outcome, Refusal) else 101 for outcome in outcomes] == [101, 101, 503, 503]
    waits = [int(outcome.headers["Retry-After"]) for outcome in outcomes if isinstance(outcome, Refusal)]
    assert all(1 <= wait <= 7 for wait in waits)
    assert isinstance(later, Entry)


def test_a_node_that_leaves_takes_nobody_in(house: House) -> None:
    house.node.house.draining = True
    refusal = doors(house).enter(CHAT, (), [])
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.headers) == (503, {"Retry-After": "5"})


async def test_a_node_with_another_secret_key_does_not_start(house: House, database_url: str) -> None:
    with pytest.raises(WrongKey, match="DESKBELL_SECRET_KEY"):
        await Node.open(
            house.node.config, house.clock, database_url, "another key, as long as it has to be", frozenset()
        )

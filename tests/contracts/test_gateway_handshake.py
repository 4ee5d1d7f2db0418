"""How a handshake is judged before there is a socket, for every implementation of server/gateway/transport.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidStatus

from admin_api.auth import cookie_of
from server.gateway.doors import Refusal
from tests.contracts.socket_stage import handshake

if TYPE_CHECKING:
    from tests.contracts.socket_stage import Stage

SECRET = "dbc_" + "s" * 43


@pytest.mark.parametrize(
    ("offered", "accepted"),
    [
        ((), None),
        (("deskbell.v1.json",), "deskbell.v1.json"),
        (("chat", "deskbell.v1.msgpack", "deskbell.v1.json"), "deskbell.v1.msgpack"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat", "/v1/desk"])
async def test_the_first_subprotocol_we_speak(
    stage: Stage, path: str, offered: tuple[str, ...], accepted: str | None
) -> None:
    client, receiver = await stage.connect(path, offered=offered)

    assert client.subprotocol == accepted
    assert receiver.path == path
    assert client.response is not None
    assert "Sec-WebSocket-Extensions" not in client.response.headers
    await client.close()


async def test_a_subprotocol_list_may_come_in_several_lines(stage: Stage) -> None:
    lines = ("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: other,deskbell.v1.msgpack")
    status, headers, _ = await stage.ask(handshake(*lines))

    assert (status, headers["sec-websocket-protocol"]) == (101, "deskbell.v1.msgpack")


async def test_only_unknown_subprotocols_are_refused(stage: Stage) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await stage.connect(offered=("chat",))

    assert refused.value.response.status_code == 400
    assert b"deskbell.v1.json" in (refused.value.response.body or b"")
    assert not stage.hall.receivers


async def test_who_is_over_admission_is_told_when_to_come_back(stage: Stage) -> None:
    stage.hall.refusal = Refusal(503, "Too many are connecting at once.", {"Retry-After": "7"})
    status, headers, body = await stage.ask(handshake())

    assert (status, headers["retry-after"]) == (503, "7")
    assert headers["content-type"].startswith("text/plain")
    assert body == b"Too many are connecting at once."
    assert not stage.hall.receivers


async def test_what_is_no_websocket_gets_a_plain_answer(stage: Stage) -> None:
    page, _, _ = await stage.ask(b"GET /v1/chat HTTP/1.1\r\nHost: desk.example\r\n\r\n")
    elsewhere, _, _ = await stage.ask(b"GET /v1/users HTTP/1.1\r\nHost: desk.example\r\n\r\n")
    socket_elsewhere, _, _ = await stage.ask(handshake(path="/v1/other"))

    assert (page, elsewhere) == (426, 404)
    assert socket_elsewhere in (403, 404)
    assert stage.hall.asked == 0


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 7"),
        (b"Sec-WebSocket-Key: dGhl", b"Sec-WebSocket-Key: dG"),
        (b"Sec-WebSocket-Key", b"X-Key"),
        (b"Sec-WebSocket-Version", b"X-Version"),
    ],
)
async def test_a_broken_handshake_takes_no_place_in_the_admission(stage: Stage, found: bytes, instead: bytes) -> None:
    status, _, _ = await stage.ask(handshake().replace(found, instead))

    assert 400 <= status <= 426
    assert stage.hall.asked == 0


async def test_the_handshake_of_firefox(stage: Stage) -> None:
    request = handshake("Connection: keep-alive, Upgrade", "Upgrade: websocket", usual=False)
    assert (await stage.ask(request))[0] == 101


async def test_a_query_is_not_part_of_the_path(stage: Stage) -> None:
    client, receiver = await stage.connect("/v1/desk?x=1")
    assert receiver.path == "/v1/desk"
    await client.close()


@pytest.mark.parametrize(
    ("origin", "counts"),
    [("https://desk.example", True), ("https://evil.example", False), ("null", False), (None, True)],
)
async def test_the_console_cookie_counts_on_pages_of_our_own_origin_alone(
    stage: Stage, origin: str | None, counts: bool
) -> None:
    headers = [f"COOKIE: a=b; deskbell_session={SECRET}", *([f"origin: {origin}"] if origin else [])]
    peer, receiver = await stage.peer(*headers, path="/v1/desk")
    found = cookie_of(receiver.headers)

    assert (found is not None and found[0] == SECRET) is counts
    peer.cut()

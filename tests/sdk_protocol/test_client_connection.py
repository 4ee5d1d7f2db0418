"""The device's end: tokens, closing, reconnecting, draining, silence."""

import msgspec
import pytest
from msgspec import UNSET

from sdk_protocol.client_session import ClientSession
from sdk_protocol.effects import (
    Deliver,
    Disconnect,
    NeedToken,
    Reconnect,
    Stop,
    Transmit,
)
from sdk_protocol.errors import ErrorCode, WrongState
from sdk_protocol.fields import MAX_INTEGER
from sdk_protocol.frames import (
    Drain,
    Error,
    Ok,
    Ping,
    Refresh,
    Synced,
)
from sdk_protocol.states import ClientState
from tests.sdk_protocol.device import connected, give, live, refusal, transmitted
from tests.sdk_protocol.samples import CONVERSATION, DEVICE, WALL, message_id, text, welcome


def test_an_expired_token_never_drops_a_queued_send() -> None:
    session = live()
    session.send(CONVERSATION, message_id(1), text(), 0.0)
    session.send(CONVERSATION, message_id(2), text(), 0.0)
    assert give(session, refusal(1, ErrorCode.UNAUTHORIZED), 0.0) == [NeedToken()]
    assert give(session, refusal(2, ErrorCode.UNAUTHORIZED), 0.0) == []
    assert transmitted(session.renew("new", 0.1)) == [Refresh(ref=3, token="new")]
    again = give(session, Ok(ref=3, token_expires_at="2026-03-01T14:00:00Z"), 0.2)
    assert [frame.id for frame in transmitted(again)] == [message_id(1), message_id(2)]


def test_a_token_is_renewed_before_it_expires() -> None:
    session = ClientSession(DEVICE, "jwt", foreground=False)
    session.connect(0.0, WALL)
    give(session, welcome(expires="2026-03-01T12:10:00Z"))
    assert session.next_deadline() == pytest.approx(540.0)
    assert session.tick(541.0) == [NeedToken()]
    assert session.tick(542.0) == []
    session.renew("new", 542.0)
    refused = refusal(1, ErrorCode.UNAVAILABLE)
    assert give(session, refused, 543.0) == [Deliver(refused)]
    assert session.tick(543.5) == [NeedToken()]
    session.renew("newer", 544.0)
    assert give(session, Ok(ref=2), 544.0) == []


def test_close_4003_asks_for_a_token_before_reconnecting() -> None:
    session = live()
    assert session.disconnected(4003, 1.0, 0.5) == [NeedToken()]
    assert session.renew("new", 1.125) == [Reconnect(0.125)]
    assert session.renew("newer", 1.2) == []
    assert transmitted(session.connect(1.3, WALL))[0].token == "newer"


def test_a_token_refused_at_hello_is_replaced_before_the_next_try() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    unauthorized = Error(code=ErrorCode.UNAUTHORIZED, message="expired", retry=False)
    assert give(session, unauthorized) == [Deliver(unauthorized)]
    assert session.renew("other", 0.1) == []
    session.disconnected(4003, 0.2, 0.0)
    other = ClientSession(DEVICE, "jwt")
    other.connect(0.0, WALL)
    give(other, unauthorized)
    assert other.disconnected(1006, 0.2, 0.0) == [NeedToken()]


@pytest.mark.parametrize("code", [4400, 4401, 4406, 4409])
def test_final_close_codes_stop(code: int) -> None:
    session = live()
    assert session.disconnected(code, 1.0, 0.5) == [Stop(code)]
    assert session.disconnected(code, 1.0, 0.5) == []
    assert session.next_deadline() is None
    with pytest.raises(WrongState):
        session.connect(2.0, WALL)


def test_backoff_is_jittered_grows_and_starts_again_after_synced() -> None:
    session = ClientSession(DEVICE, "jwt")
    assert [session.disconnected(1006, 0.0, 0.5)[0] for _ in range(3)] == [
        Reconnect(0.25),
        Reconnect(0.5),
        Reconnect(1.0),
    ]
    assert session.disconnected(1006, 0.0, 0.5, retry_after=20.0) == [Reconnect(20.0)]
    connected(session)
    assert session.disconnected(1006, 0.0, 1.0) == [Reconnect(8.0)]
    connected(session)
    give(session, Synced(usn=0))
    assert session.disconnected(1006, 0.0, 1.0) == [Reconnect(0.5)]


def test_drain_is_followed_by_a_reconnect_after_its_delay() -> None:
    session = live()
    assert give(session, Drain(reconnect_after_ms=3000), 10.0) == [Deliver(Drain(reconnect_after_ms=3000))]
    assert len(session.send(CONVERSATION, message_id(1), text(), 10.1)) == 2
    assert session.disconnected(4000, 11.0, 0.9) == [Reconnect(2.0)]


def test_a_drained_node_that_does_not_close_is_left() -> None:
    session = live()
    give(session, Drain(reconnect_after_ms=3000), 10.0)
    (leave,) = session.tick(13.0)
    assert isinstance(leave, Disconnect)
    assert session.disconnected(1000, 13.5, 0.9) == [Reconnect(0.0)]


def test_drain_may_overtake_welcome() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    give(session, Drain(reconnect_after_ms=3000))
    assert session.phase is ClientState.AWAIT_WELCOME
    assert session.disconnected(4000, 1.0, 0.9) == [Reconnect(2.0)]


def test_silence_is_pinged_in_the_foreground_and_then_left() -> None:
    session = live()
    assert session.next_deadline() == 25.0
    assert session.tick(25.0) == [Transmit(Ping())]
    assert session.next_deadline() == 35.0
    session.heard(30.0)
    assert session.next_deadline() == 55.0
    session.tick(55.0)
    (leave,) = session.tick(65.0)
    assert isinstance(leave, Disconnect)
    assert session.next_deadline() is None


def test_a_server_that_does_not_welcome_is_left() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    session.heard(9.0)
    assert session.next_deadline() == 10.0
    (leave,) = session.tick(10.0)
    assert isinstance(leave, Disconnect)


def test_a_server_that_wants_no_pings_is_not_flooded() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    give(session, msgspec.structs.replace(welcome(), ping_interval=0.0))
    assert session.next_deadline() == 1.0


def test_a_device_counted_to_the_end_says_hello_without_a_number() -> None:
    session = ClientSession(DEVICE, "jwt")
    session.connect(0.0, WALL)
    give(session, Error(code=ErrorCode.CONFLICT, message="stale", retry=True, attempt=MAX_INTEGER), 0.1)
    for _ in range(3):
        session.disconnected(4000, 0.2, 0.0)
        assert transmitted(session.connect(1.0, WALL))[0].attempt is UNSET
